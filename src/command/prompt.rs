//! Questions at the terminal: for a secret, which is not shown, and for consent.

use std::io::{IsTerminal, Read, Write};

use zeroize::Zeroizing;

use crate::error::{Error, Result};
use crate::platform::terminal::ask_secret;
use crate::secret::Secret;
use crate::text::content::{self, BLANK};

/// The longest secret, in bytes: far longer than any connection string.
const LONGEST: u64 = 64 * 1024;

/// Reads a secret from stdin; `what` names it in the prompt. On a terminal it ends with the line that makes it complete.
///
/// # Errors
/// When there is none, or the user cancels.
pub(super) fn secret(what: &str, is_complete: impl Fn(&str) -> bool) -> Result<Secret> {
    let text = if std::io::stdin().is_terminal() {
        ask_secret(&format!("{what} (not shown): "), is_complete).map_err(Error::local_io("the terminal"))?
    } else {
        read()?
    };
    let text = content::text(&text).map_err(|problem| {
        Error::usage(
            format!("the {what} on stdin: {problem}"),
            format!("pipe it in, or run the command in a terminal and paste the {what}"),
        )
    })?;
    match text.expose().trim_matches(BLANK) {
        "" => Err(Error::usage(
            format!("there is no {what} on stdin"),
            format!("pipe it in, or run the command in a terminal and paste the {what}"),
        )),
        text => Ok(Secret::new(text)),
    }
}

/// Asks on the terminal whether to go on; `None` where there is no terminal. Anything but y or yes is a no.
///
/// # Errors
/// When the terminal cannot be read or written.
pub(super) fn consent(question: &str) -> Result<Option<bool>> {
    let mut stderr = std::io::stderr();
    if !(std::io::stdin().is_terminal() && stderr.is_terminal()) {
        return Ok(None);
    }
    write!(stderr, "{question} [y/N] ").map_err(Error::local_io("the terminal"))?;
    let mut answer = String::new();
    std::io::stdin().read_line(&mut answer).map_err(Error::local_io("the terminal"))?;
    Ok(Some(matches!(answer.trim().to_ascii_lowercase().as_str(), "y" | "yes")))
}

fn read() -> Result<Zeroizing<Vec<u8>>> {
    let mut text = Zeroizing::new(Vec::new());
    std::io::stdin().take(LONGEST).read_to_end(&mut text).map_err(Error::local_io("stdin"))?;
    Ok(text)
}
