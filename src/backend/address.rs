//! A service's host name with an optional port.

use std::fmt;

use super::malformed::Malformed;

/// Parses `HOST`, `HOST:PORT` or `[IPV6]:PORT`. Errors name the text as `part`.
///
/// # Errors
/// Returns [`Malformed`] if the host is neither `[a-zA-Z0-9_\-.]+` nor an IPv6 literal, or the port is invalid.
pub(crate) fn parse(text: &str, part: &str) -> Result<(String, Option<u16>), Malformed> {
    let wrong = |problem: &str| Malformed::new(format!("{part} {problem}"));
    if text.contains("://") {
        return Err(wrong("is a URL: write the host name alone"));
    }
    let (name, port) = if let Some(rest) = text.strip_prefix('[') {
        let (name, after) = rest.split_once(']').ok_or_else(|| wrong("lacks a ']'"))?;
        if name.parse::<std::net::Ipv6Addr>().is_err() {
            return Err(wrong("has no IPv6 address between its brackets"));
        }
        match after {
            "" => (name, None),
            _ => (name, Some(after.strip_prefix(':').ok_or_else(|| wrong("has text after ']'"))?)),
        }
    } else {
        let (name, port) = text.split_once(':').map_or((text, None), |(name, port)| (name, Some(port)));
        let allowed = |b: u8| b.is_ascii_alphanumeric() || b"-_.".contains(&b);
        let has_empty_label = name.strip_suffix('.').unwrap_or(name).split('.').any(str::is_empty);
        if has_empty_label || name.len() > 253 || !name.bytes().all(allowed) {
            return Err(wrong("is not a host name: letters, digits, '-', '_' and '.' make one"));
        }
        (name, port)
    };
    let port = port
        .map(|port| match port.parse() {
            Ok(number @ 1u16..) if port.bytes().all(|b| b.is_ascii_digit()) => Ok(number),
            _ => Err(wrong("has a ':' but no port number after it")),
        })
        .transpose()?;
    Ok((name.to_owned(), port))
}

/// Writes an address as [`parse`] reads it.
pub(crate) fn write(f: &mut fmt::Formatter<'_>, name: &str, port: Option<u16>) -> fmt::Result {
    if name.contains(':') {
        write!(f, "[{name}]")?;
    } else {
        f.write_str(name)?;
    }
    port.map_or(Ok(()), |port| write!(f, ":{port}"))
}
