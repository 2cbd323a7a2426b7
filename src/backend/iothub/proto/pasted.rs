//! Extracts a connection string from text that users paste from portals, tools, files and terminals.

use std::borrow::Cow;

use zeroize::Zeroizing;

use super::Malformed;
use crate::secret::Secret;
use crate::text::content::{self, BLANK};

/// A part of every connection string of a hub, in lower case.
const MARK: &str = "hostname=";

/// The names of a connection string's parts.
const PARTS: [&str; 8] = [
    "HostName",
    "GatewayHostName",
    "SharedAccessKeyName",
    "SharedAccessKey",
    "SharedAccessSignature",
    "DeviceId",
    "ModuleId",
    "x509",
];

/// Quotes around a value, including a word processor's.
const QUOTES: [char; 10] = ['"', '\'', '`', '“', '”', '„', '‘', '’', '«', '»'];

/// Extracts the connection string from `text`: removes JSON, assignment, quotes and comments around it, and joins its
/// lines. `reads` parses a candidate. Other text is returned unchanged, and the parser reports its problem.
///
/// # Errors
/// Returns [`Malformed`] for content of another kind, or several connection strings.
pub(crate) fn unwrap(text: &str, reads: impl Fn(&str) -> bool) -> Result<Secret, Malformed> {
    let text = text.trim_matches(BLANK);
    if text.is_empty() {
        return Err(Malformed::new("the connection string is empty"));
    }
    // A section of an INI or TOML file also starts with '['.
    let is_section = text.starts_with('[')
        && text.lines().next().is_some_and(|line| line.trim_end().ends_with(']'))
        && serde_json::from_str::<serde::de::IgnoredAny>(text).is_err();
    if text.starts_with(['{', '[']) && !is_section {
        return in_json(text);
    }
    let text = if is_section { text.split_once('\n').map_or("", |(_, rest)| rest) } else { text };
    let decoded = percent_decoded(text);
    let text = decoded.as_ref().map_or(text, |decoded| decoded.expose());
    if !is_marked(text) {
        return match content::kind(text.as_bytes()) {
            // The parser reports the missing HostName.
            None | Some("a connection string") => Ok(Secret::new(text)),
            Some(kind) => Err(Malformed::new(format!("it is {kind}, not a hub's connection string"))),
        };
    }
    let lines = text.lines().map(|line| line.trim_matches(BLANK));
    let lines: Vec<&str> =
        lines.filter(|line| !line.is_empty() && !line.starts_with('#') && !line.starts_with("//")).collect();
    if lines.iter().filter(|line| is_marked(line)).count() > 1 {
        return Err(Malformed::new("there is more than one connection string: keep one"));
    }
    // A terminal or a mail may have broken the line; a secret store may have notes below it.
    let joined = unquoted(&lines.concat());
    let alone = || lines.iter().find(|line| is_marked(line)).map(|line| unquoted(line));
    Ok(match joined {
        joined if lines.len() == 1 || reads(joined.expose()) => joined,
        joined => alone().filter(|alone| reads(alone.expose())).unwrap_or(joined),
    })
}

/// Whether `text` contains the mark, possibly broken over two lines.
fn is_marked(text: &str) -> bool {
    let seen = text.chars().filter(|&c| !BLANK(c)).map(|c| c.to_ascii_lowercase());
    Zeroizing::new(seen.collect::<String>()).contains(MARK)
}

/// Decodes a connection string from a URL or a form.
fn percent_decoded(text: &str) -> Option<Secret> {
    let encoded =
        !text.contains([';', ' ']) && Zeroizing::new(text.to_ascii_lowercase()).contains("hostname%3d");
    let decoded = encoded.then(|| percent_encoding::percent_decode_str(text).decode_utf8().ok()).flatten()?;
    Some(Secret::new(decoded.into_owned()))
}

/// Removes the assignment before a connection string (`X="…"`, `export X=…`, `$env:X = '…'`, `X: …`,
/// `--connection-string …`) and the quotes. Ids may contain quotes and commas, which stay unless the value starts with a
/// quote.
fn unquoted(line: &str) -> Secret {
    let line = Zeroizing::new(line.replace("&amp;", "&"));
    let first = line.split(';').next().unwrap_or_default();
    let after_signs = first.match_indices(['=', ':', ' ']).map(|(at, sign)| at + sign.len());
    let begins = |&at: &usize| {
        let rest = first[at..].trim_start_matches(BLANK).trim_start_matches(QUOTES);
        let name = rest.split_once('=').map(|(name, _)| name.trim());
        name.is_some_and(|name| PARTS.iter().any(|part| part.eq_ignore_ascii_case(name)))
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
fn in_json(text: &str) -> Result<Secret, Malformed> {
    let value: serde_json::Value = serde_json::from_str(text).map_err(|error| {
        Malformed::new(if error.is_eof() {
            "it begins as JSON but is incomplete"
        } else {
            "it begins as JSON but is not valid JSON"
        })
    })?;
    let mut found = Vec::new();
    strings(&value, &mut found);
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

fn strings<'a>(value: &'a serde_json::Value, found: &mut Vec<&'a str>) {
    match value {
        serde_json::Value::String(text) if is_marked(text) => found.push(text.trim_matches(BLANK)),
        serde_json::Value::Array(values) => values.iter().for_each(|value| strings(value, found)),
        serde_json::Value::Object(values) => values.values().for_each(|value| strings(value, found)),
        _ => {}
    }
}

/// Removes white space from a broken line, and adds the final `=` that a double click does not select. A key that is
/// neither 32 nor 64 bytes long gets no `=`.
pub(crate) fn key(text: &str) -> Cow<'_, str> {
    if !text.contains(BLANK) && text.len().is_multiple_of(4) {
        return Cow::Borrowed(text);
    }
    let key: String = text.split(BLANK).collect();
    let missing = key.len().next_multiple_of(4) - key.len();
    let whole = key.clone() + &"=="[..missing.min(2)];
    let decoded = data_encoding::BASE64.decode(whole.as_bytes()).map(Zeroizing::new);
    let as_hubs_make_it = decoded.is_ok_and(|decoded| matches!(decoded.len(), 32 | 64));
    Cow::Owned(if as_hubs_make_it { whole } else { key })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::{ConnectionString, Key};

    const KEY: &str = "aHVudGVyMmh1bnRlcjJodW50ZXIyaHVudGVyMmh1bnQ=";

    fn string() -> String {
        format!("HostName=contoso.azure-devices.net;DeviceId=dev=1;SharedAccessKey={KEY}")
    }

    #[track_caller]
    fn is_taken(text: &str) {
        let parsed = ConnectionString::parse(text).unwrap_or_else(|problem| panic!("{text:?}: {problem}"));
        assert_eq!(parsed.hub.name, "contoso.azure-devices.net", "{text}");
        assert_eq!(parsed.identity.unwrap().device(), "dev=1", "{text}");
        assert!(matches!(parsed.key, Key::Shared(key) if key.expose() == KEY), "{text}");
    }

    #[test]
    fn accepts_pasted_forms() {
        let s = string();
        let middle = s.len() / 2;
        for text in [
            format!("\u{feff}{s}\r\n"),
            format!("\u{200b} {s}\u{a0}"),
            format!("\"{s}\""),
            format!("'{s}',"),
            format!("“{s}”"),
            format!("`{s}`;"),
            format!("connection-string = \"{s}\""),
            format!("connection-string-file = '{s}'"),
            format!("export IOTHUB_DEVICE_CONNECTION_STRING=\"{s}\""),
            format!("X={s}"),
            format!("set X={s}"),
            format!("$env:X = '{s}'"),
            format!("connectionString: {s}"),
            format!("\"connectionString\": \"{s}\","),
            format!("--connection-string \"{s}\""),
            format!("# of the hub in Zürich\n\n{s}\n"),
            format!("{s}\nuser: me\nurl: https://portal.azure.com"),
            format!("{}\n{}", &s[..middle], &s[middle..]),
            format!("{}\r\n   {}\r\n", &s[..s.len() - 20], &s[s.len() - 20..]),
            format!("X=\"{}\n{}\"", &s[..middle], &s[middle..]),
            format!("{}\n{}\n{}", &s[..4], &s[4..middle], &s[middle..]),
            s.replace(';', " ; ").replace("HostName=", "HostName = "),
            s.replace(KEY, KEY.trim_end_matches('=')),
            s.replace(KEY, &KEY.replace("aHVu", "aHVu ")),
            s.replace('=', "%3D").replace(';', "%3B"),
            s.replace('=', "%3d").replace(';', "%3b"),
            s.replacen("contoso", "https://contoso", 1).replacen(".net", ".net/", 1),
            format!("{{\n  \"connectionString\": \"{s}\"\n}}"),
            format!("[{{\"connectionString\": [\"{s}\", \"{}\"]}}]", s.replace(KEY, "AAAA")),
            s.replace("HostName", "hostname"),
            format!("SharedAccessKey={KEY};DeviceId=dev=1;HostName=contoso.azure-devices.net;"),
            format!("X=SharedAccessKey={KEY};DeviceId=dev=1;HostName=contoso.azure-devices.net;"),
        ] {
            is_taken(&text);
        }
    }

    #[test]
    fn ids_keep_trailing_punctuation() {
        for id in ["'", "a,", "#", "it's"] {
            let parsed = ConnectionString::parse(&format!("HostName=h;SharedAccessKey=AAAA;DeviceId={id}"));
            assert_eq!(parsed.unwrap().identity.unwrap().device(), id);
        }
    }

    #[test]
    fn errors_name_other_content() {
        let s = string();
        for (text, problem) in [
            ("", "the connection string is empty"),
            (" \r\n\u{feff}", "the connection string is empty"),
            (KEY, "it is a key alone, not a hub's connection string"),
            (
                "SharedAccessSignature sr=h&sig=AAAA&se=1",
                "it is a shared access signature alone, not a hub's connection string",
            ),
            (
                "Endpoint=sb://x.servicebus.windows.net/;SharedAccessKeyName=a;SharedAccessKey=AAAA",
                "it is a connection string of Event Hubs or Service Bus, not a hub's connection string",
            ),
            ("-----BEGIN CERTIFICATE-----\nAAAA", "it is a certificate, not a hub's connection string"),
            ("https://contoso.azure-devices.net", "it is a URL, not a hub's connection string"),
            ("/etc/iotstream/dev.conn", "it is a file's path, not a hub's connection string"),
            ("{\"deviceId\": \"dev-1\"}", "it is JSON without a connection string"),
            ("{\"connectionString\": \"HostName=h", "it begins as JSON but is incomplete"),
            (&format!("{s}\n{s}"), "there is more than one connection string: keep one"),
            (
                &format!("[\"{s}\", \"{}\"]", s.replace("contoso", "fabrikam")),
                "there is more than one connection string: keep one",
            ),
            (
                "HostName=h;SharedAccessKey=<your key>",
                "SharedAccessKey is a placeholder in the connection string",
            ),
            ("HostName=h;SharedAccessKey=****", "SharedAccessKey is a placeholder in the connection string"),
            (
                "HostName=x.azure-devices-provisioning.net;SharedAccessKey=AAAA",
                "HostName is that of a provisioning service, not of a hub",
            ),
        ] {
            assert_eq!(ConnectionString::parse(text).unwrap_err().0, problem, "{text}");
        }
    }

    proptest! {
        #[test]
        fn parsing_never_panics(text in "([a-zA-Z\"'“= ;:{}\\[\\]\n\u{feff}]{0,6}(HostName=|SharedAccessKey=|hostname%3D)?){0,4}") {
            let _ = ConnectionString::parse(&text);
        }
    }
}
