//! TOML with line numbers.

use std::path::Path;

use serde::de::DeserializeOwned;

use crate::error::{Error, Result};

/// Parses the text of the TOML file at `path`.
///
/// # Errors
/// Returns [`Error::File`] with the problem and its line number, without the line itself, and with `hint` unless the
/// problem is an unknown key.
pub(crate) fn parse_toml<T: DeserializeOwned>(path: &Path, text: &str, hint: &str) -> Result<T> {
    toml::from_str(text).map_err(|error| {
        let message = error.message().lines().next().unwrap_or_default();
        let (problem, hint) = unknown_key(message).unwrap_or_else(|| (message.to_owned(), hint.to_owned()));
        let line = error.span().map(|span| line_of(text, span.start));
        // toml's error is not kept as the source: it shows the line.
        Error::File { path: path.to_owned(), line, problem: problem.into(), hint: Some(hint) }
    })
}

/// Translates serde's message about an unknown key. The hint names the most similar key.
fn unknown_key(message: &str) -> Option<(String, String)> {
    let (key, expected) = message.strip_prefix("unknown field `")?.rsplit_once("`, expected ")?;
    let known: Vec<&str> = expected.split('`').skip(1).step_by(2).collect();
    let near = known.iter().map(|known| (strsim::jaro_winkler(key, known), known));
    let nearest = near.filter(|(nearness, _)| *nearness > 0.7).max_by(|a, b| a.0.total_cmp(&b.0));
    let hint = match nearest {
        Some((_, nearest)) => format!("did you mean '{nearest}'?"),
        None => format!("the keys here are {}", known.join(", ")),
    };
    Some((format!("there is no key '{key}'"), hint))
}

/// The line of a byte position in `text`, from 1.
pub(crate) fn line_of(text: &str, position: usize) -> usize {
    text.as_bytes().iter().take(position).filter(|&&b| b == b'\n').count() + 1
}
