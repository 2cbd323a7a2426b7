//! TOML with line numbers.

use std::path::Path;

use serde::de::DeserializeOwned;

use crate::error::{Error, Result};

/// Reads the text of a TOML file.
///
/// # Errors
/// What is wrong with it and on which line, without the line itself.
pub fn parse_toml<T: DeserializeOwned>(path: &Path, text: &str, hint: &str) -> Result<T> {
    toml::from_str(text).map_err(|error| {
        let message = error.message().lines().next().unwrap_or_default();
        let (problem, hint) = unknown_key(message).unwrap_or_else(|| (message.to_owned(), hint.to_owned()));
        let line = error.span().map(|span| line_of(text, span.start));
        // toml's error is not kept as the source: it shows the line.
        Error::File { path: path.to_owned(), line, problem: problem.into(), hint: Some(hint) }
    })
}

/// serde's message for an unknown key, as a problem and a hint at the nearest key.
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

/// The line of a byte's position, from 1.
fn line_of(text: &str, position: usize) -> usize {
    text.as_bytes().iter().take(position).filter(|&&b| b == b'\n').count() + 1
}
