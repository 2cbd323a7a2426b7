//! Extracts a connection string from text that users paste from portals, tools, files and terminals.

use zeroize::Zeroizing;

use super::malformed::Malformed;
use crate::secret::Secret;
use crate::text::content::{self, BLANK};

/// The form of a service's connection strings.
#[derive(Debug)]
pub(crate) struct Form {
    /// A part of every one, in lower case and with its `=`.
    pub mark: &'static str,
    /// The names of its parts.
    pub parts: &'static [&'static str],
    /// What it is, for messages.
    pub name: &'static str,
}

/// Quotes around a value, including a word processor's.
const QUOTES: [char; 10] = ['"', '\'', '`', '“', '”', '„', '‘', '’', '«', '»'];

/// Extracts the connection string from `text`: removes JSON, assignment, quotes and comments around it, and joins its
/// lines. `reads` parses a candidate. Other text is returned unchanged, and the parser reports its problem.
///
/// # Errors
/// Returns [`Malformed`] for content of another kind, or several connection strings.
pub(crate) fn connection_string(
    text: &str,
    form: &Form,
    reads: impl Fn(&str) -> bool,
) -> Result<Secret, Malformed> {
    let text = text.trim_matches(BLANK);
    if text.is_empty() {
        return Err(Malformed::new("the connection string is empty"));
    }
    // A section of an INI or TOML file also starts with '['.
    let is_section = text.starts_with('[')
        && text.lines().next().is_some_and(|line| line.trim_end().ends_with(']'))
        && serde_json::from_str::<serde::de::IgnoredAny>(text).is_err();
    if text.starts_with(['{', '[']) && !is_section {
        return in_json(text, form);
    }
    let text = if is_section { text.split_once('\n').map_or("", |(_, rest)| rest) } else { text };
    let decoded = percent_decoded(text, form);
    let text = decoded.as_ref().map_or(text, |decoded| decoded.expose());
    if !is_marked(text, form) {
        return match content::kind(text.as_bytes()) {
            // The parser reports the missing part.
            None | Some("a connection string") => Ok(Secret::new(text)),
            Some(kind) => Err(Malformed::new(format!("it is {kind}, not {}", form.name))),
        };
    }
    let lines = text.lines().map(|line| line.trim_matches(BLANK));
    let lines: Vec<&str> =
        lines.filter(|line| !line.is_empty() && !line.starts_with('#') && !line.starts_with("//")).collect();
    if lines.iter().filter(|line| is_marked(line, form)).count() > 1 {
        return Err(Malformed::new("there is more than one connection string: keep one"));
    }
    // A terminal or a mail may have broken the line; a secret store may have notes below it.
    let joined = unquoted(&lines.concat(), form);
    let alone = || lines.iter().find(|line| is_marked(line, form)).map(|line| unquoted(line, form));
    Ok(match joined {
        joined if lines.len() == 1 || reads(joined.expose()) => joined,
        joined => alone().filter(|alone| reads(alone.expose())).unwrap_or(joined),
    })
}

/// The values of a connection string's parts, in the order of `names`. Splits at `;`, then at the first `=`, because base64
/// keys end in `=` \[S]\[D]. Ignores empty parts, surrounding white space and the case of names.
///
/// # Errors
/// Returns which part is empty, duplicate or unknown, and never its value.
pub(crate) fn values<'t, const N: usize>(
    text: &'t str,
    names: &[&'static str; N],
) -> Result<[Option<&'t str>; N], Malformed> {
    let mut values = [None; N];
    for part in text.trim().split(';').map(str::trim).filter(|part| !part.is_empty()) {
        // A part without '=' may belong to a key, so the error does not contain it.
        let (name, value) = part
            .split_once('=')
            .ok_or_else(|| Malformed::new("the connection string has a part without '='"))?;
        let known = names.iter().position(|known| known.eq_ignore_ascii_case(name.trim()));
        let Some(at) = known else { return Err(Malformed::new(unknown_part(name))) };
        let name = names[at];
        if value.trim().is_empty() {
            return Err(Malformed::new(format!("{name} is empty in the connection string")));
        }
        if values[at].replace(value.trim()).is_some() {
            return Err(Malformed::new(format!("{name} is in the connection string twice")));
        }
    }
    Ok(values)
}

/// The error of an unknown part. It contains the name only if that cannot be part of a key.
fn unknown_part(name: &str) -> String {
    if name.len() <= 32 && name.bytes().all(|b| b.is_ascii_alphabetic()) {
        format!("{name} is no part of a connection string")
    } else {
        "the connection string has a part with an unknown name".into()
    }
}

/// Refuses the placeholder of a key, as documentation and portals write it.
///
/// # Errors
/// Returns [`Malformed`] for a placeholder.
pub(crate) fn check_key(key: &str) -> Result<(), Malformed> {
    if key.starts_with(['<', '{', '[']) || key.chars().all(|c| "*.…•".contains(c)) {
        return Err(Malformed::new("SharedAccessKey is a placeholder in the connection string"));
    }
    Ok(())
}

/// Whether `text` contains the mark, possibly broken over two lines.
fn is_marked(text: &str, form: &Form) -> bool {
    let seen = text.chars().filter(|&c| !BLANK(c)).map(|c| c.to_ascii_lowercase());
    Zeroizing::new(seen.collect::<String>()).contains(form.mark)
}

/// Decodes a connection string from a URL or a form.
fn percent_decoded(text: &str, form: &Form) -> Option<Secret> {
    let encoded = !text.contains([';', ' '])
        && Zeroizing::new(text.to_ascii_lowercase()).contains(&form.mark.replace('=', "%3d"));
    let decoded = encoded.then(|| percent_encoding::percent_decode_str(text).decode_utf8().ok()).flatten()?;
    Some(Secret::new(decoded.into_owned()))
}

/// Removes the assignment before a connection string (`X="…"`, `export X=…`, `$env:X = '…'`, `X: …`,
/// `--connection-string …`) and the quotes. Ids may contain quotes and commas, which stay unless the value starts with a
/// quote.
fn unquoted(line: &str, form: &Form) -> Secret {
    let line = Zeroizing::new(line.replace("&amp;", "&"));
    let first = line.split(';').next().unwrap_or_default();
    let after_signs = first.match_indices(['=', ':', ' ']).map(|(at, sign)| at + sign.len());
    let begins = |&at: &usize| {
        let rest = first[at..].trim_start_matches(BLANK).trim_start_matches(QUOTES);
        let name = rest.split_once('=').map(|(name, _)| name.trim());
        name.is_some_and(|name| form.parts.iter().any(|part| part.eq_ignore_ascii_case(name)))
    };
    let start = std::iter::once(0).chain(after_signs).find(begins).unwrap_or_default();
    let value = line[start..].trim_matches(BLANK);
    Secret::new(match value.strip_prefix(QUOTES) {
        Some(inner) => {
            inner.trim_end_matches(|c| BLANK(c) || matches!(c, ',' | ';')).trim_end_matches(QUOTES)
        }
        None => value,
    })
}

/// The connection string in JSON, as `az … connection-string show` prints it: the first of several that differ only in
/// their keys.
fn in_json(text: &str, form: &Form) -> Result<Secret, Malformed> {
    let value: serde_json::Value = serde_json::from_str(text).map_err(|error| {
        Malformed::new(if error.is_eof() {
            "it begins as JSON but is incomplete"
        } else {
            "it begins as JSON but is not valid JSON"
        })
    })?;
    let mut found = Vec::new();
    strings(&value, form, &mut found);
    let public = |text: &str| {
        let parts =
            text.split(';').filter(|part| !part.trim().to_ascii_lowercase().starts_with("sharedaccesskey="));
        parts.map(str::to_owned).collect::<Vec<_>>()
    };
    match found.split_first() {
        None => Err(Malformed::new("it is JSON without a connection string")),
        Some((first, others)) if others.iter().all(|other| public(other) == public(first)) => {
            Ok(Secret::new(*first))
        }
        Some(_) => Err(Malformed::new("there is more than one connection string: keep one")),
    }
}

fn strings<'a>(value: &'a serde_json::Value, form: &Form, found: &mut Vec<&'a str>) {
    match value {
        serde_json::Value::String(text) if is_marked(text, form) => found.push(text.trim_matches(BLANK)),
        serde_json::Value::Array(values) => values.iter().for_each(|value| strings(value, form, found)),
        serde_json::Value::Object(values) => values.values().for_each(|value| strings(value, form, found)),
        _ => {}
    }
}
