//! What fuzzing runs of this room: the configuration file.

use std::path::Path;

use super::config::Document;
use crate::config::parse_toml;

/// Reads a configuration file. Errors are returned.
pub fn config(text: &str) -> Option<String> {
    match parse_toml::<Document>(Path::new("/etc/agent.toml"), text, "a hint") {
        Ok(document) => {
            assert!(document.holds_secret() || !document.holds_credential());
            for target in document.target {
                let lines = text.bytes().filter(|&byte| byte == b'\n').count() + 1;
                assert!(crate::config::line_of(text, target.span().start) <= lines);
                let _ = super::config::target(target.into_inner(), [None; 3]);
            }
            None
        }
        Err(error) => Some(format!("{error}\n{}\n{error:?}", error.hint().unwrap_or_default())),
    }
}
