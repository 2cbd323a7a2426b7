//! Text of the server in errors.

use crate::error::escape;

/// The longest text that is quoted, in bytes.
const LONGEST: usize = 200;

/// The start of foreign text, in quotation marks.
pub(super) fn quoted(text: &[u8]) -> String {
    let text = String::from_utf8_lossy(&text[..text.len().min(LONGEST)]);
    format!("'{}'", escape(text.trim_end()))
}
