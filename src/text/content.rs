//! The content of a file or a paste: text in any common encoding, and names for content that is not what was expected.

use data_encoding::BASE64;
use zeroize::Zeroizing;

use crate::secret::Secret;

/// Decodes UTF-8, or UTF-16 as Windows PowerShell writes it, without the byte-order mark.
///
/// # Errors
/// Returns the kind of content if it is not text, and never the bytes.
pub(crate) fn text(bytes: &[u8]) -> Result<Secret, String> {
    let wide = |bytes: &[u8], unit: fn([u8; 2]) -> u16| {
        let units =
            Zeroizing::new(bytes.chunks_exact(2).map(|pair| unit([pair[0], pair[1]])).collect::<Vec<_>>());
        let text = String::from_utf16(&units).ok().filter(|_| bytes.len().is_multiple_of(2));
        text.map(Secret::new).ok_or_else(|| "it begins as UTF-16 but is not valid UTF-16".to_owned())
    };
    match bytes {
        [0xff, 0xfe, rest @ ..] => wide(rest, u16::from_le_bytes),
        [0xfe, 0xff, rest @ ..] => wide(rest, u16::from_be_bytes),
        // UTF-16 without a mark: every second byte of ASCII is zero.
        [1..=255, 0, 1..=255, 0, ..] => wide(bytes, u16::from_le_bytes),
        [0, 1..=255, 0, 1..=255, ..] => wide(bytes, u16::from_be_bytes),
        _ => {
            let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
            match std::str::from_utf8(bytes) {
                Ok(text) if !text.contains('\0') => Ok(Secret::new(text)),
                _ => Err(match kind(bytes) {
                    Some(_) if std::str::from_utf8(bytes).is_ok() => "it contains zero bytes".into(),
                    Some(kind) => format!("it is {kind}, not text"),
                    None => "it is not text (UTF-8 or UTF-16)".into(),
                }),
            }
        }
    }
}

/// The name of the content of `bytes`, if it is of a kind that users often mistake for another.
pub(crate) fn kind(bytes: &[u8]) -> Option<&'static str> {
    if let Some(kind) = der_kind(bytes) {
        return Some(kind);
    }
    match bytes {
        [0xfe, 0xed, 0xfe, 0xed, ..] => return Some("a Java key store"),
        [b'P', b'K', 3, 4, ..] => return Some("a ZIP archive"),
        [0x1f, 0x8b, ..] => return Some("a gzip archive"),
        [0x7f, b'E', b'L', b'F', ..] => return Some("a program"),
        _ => {}
    }
    let text = std::str::from_utf8(bytes).ok()?.trim_start_matches(BLANK).trim_end_matches(BLANK);
    let lower = Zeroizing::new(text.get(..4096).unwrap_or(text).to_ascii_lowercase());
    let is = |part: &str| lower.contains(part);
    Some(match text {
        "" => "empty",
        _ if is("begin openssh private key") => "a private key of ssh",
        _ if is("private key-----") => "a private key",
        _ if is("begin certificate request") || is("begin new certificate request") => {
            "a certificate request (CSR)"
        }
        _ if is("begin pkcs7") => "a PKCS#7 bundle",
        _ if is("begin certificate") || is("begin trusted certificate") => "a certificate",
        _ if is("begin public key") || lower.starts_with("ssh-") => "a public key",
        _ if is("endpoint=sb://") => "a connection string of Event Hubs or Service Bus",
        _ if is("defaultendpointsprotocol=") => "a connection string of a storage account",
        _ if is("hostname=") => "a connection string",
        _ if lower.starts_with("sharedaccesssignature sr=") => "a shared access signature alone",
        _ if lower.starts_with("<!doctype html") || lower.starts_with("<html") => "an HTML page",
        _ if lower.starts_with("eyj") && text.split('.').count() == 3 => "a token (JWT)",
        _ if serde_json::from_str::<serde::de::IgnoredAny>(text).is_ok() && text.starts_with(['{', '[']) => {
            "JSON"
        }
        _ if lower.starts_with("https://") || lower.starts_with("http://") => "a URL",
        _ if is_key(text) => "a key alone",
        _ if text.lines().count() == 1 && (text.starts_with(['/', '~']) || text.starts_with("./")) => {
            "a file's path"
        }
        _ => return None,
    })
}

/// White space and invisible characters.
pub(crate) const BLANK: fn(char) -> bool =
    |c| c.is_whitespace() || matches!(c, '\u{feff}' | '\u{200b}'..='\u{200f}' | '\u{2060}' | '\0');

/// Whether a text is a key as hubs generate them: 32 or 64 bytes in base64.
fn is_key(text: &str) -> bool {
    matches!(text.len(), 44 | 88) && BASE64.decode(text.as_bytes()).is_ok()
}

/// The kind of a DER file, by its first bytes.
fn der_kind(bytes: &[u8]) -> Option<&'static str> {
    let inside = sequence(bytes)?;
    Some(match inside {
        // An INTEGER first: a version.
        [2, 1, 3, 0x30, ..] => "a PKCS#12 file (.pfx, .p12)",
        [2, 1, 0, 0x30, ..] => "a private key in DER",
        [2, 1, 0, 2, ..] => "a private key in DER",
        [2, 1, 1, 4, ..] => "a private key in DER",
        // The OBJECT IDENTIFIER of signed data.
        [6, 9, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 7, 2, ..] => "a PKCS#7 bundle",
        // A SEQUENCE: the signed part, or an algorithm and its parameters.
        [0x30, ..] => match sequence(inside)? {
            [6, ..] if matches!(after(inside)?, [4, ..]) => "an encrypted private key in DER",
            [6, ..] => "a public key in DER",
            [2, 1, 0, 0x30, ..] => "a certificate request (CSR)",
            [0xa0 | 2, ..] => "a certificate in DER",
            _ => return None,
        },
        _ => return None,
    })
}

/// The content of the SEQUENCE at the start of `bytes`.
fn sequence(bytes: &[u8]) -> Option<&[u8]> {
    let (length, start) = length(bytes)?;
    bytes.get(start..)?.get(..length).filter(|_| bytes.first() == Some(&0x30))
}

/// The DER element at the start of `bytes`.
pub(crate) fn first_element(bytes: &[u8]) -> Option<&[u8]> {
    let (length, start) = length(bytes)?;
    bytes.get(..start.checked_add(length)?)
}

/// The tag and the content of the DER element at the start of `bytes`, and the bytes behind it.
pub(crate) fn element(bytes: &[u8]) -> Option<(u8, &[u8], &[u8])> {
    let (length, start) = length(bytes)?;
    let (content, rest) = bytes.get(start..)?.split_at_checked(length)?;
    Some((*bytes.first()?, content, rest))
}

/// The bytes behind the element at the start of `bytes`.
fn after(bytes: &[u8]) -> Option<&[u8]> {
    let (length, start) = length(bytes)?;
    bytes.get(start.checked_add(length)?..)
}

/// The length and the position of the content of the element at the start of `bytes`.
fn length(bytes: &[u8]) -> Option<(usize, usize)> {
    match *bytes.get(1)? {
        short @ 0..=0x7f => Some((short.into(), 2)),
        long @ 0x81..=0x84 => {
            let count = usize::from(long & 0x7f);
            let digits = bytes.get(2..2 + count)?;
            Some((digits.iter().fold(0, |number, &digit| number << 8 | usize::from(digit)), 2 + count))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn reads_the_encodings_of_windows() {
        let wide = |unit: fn(u16) -> [u8; 2], mark: bool| -> Vec<u8> {
            let text = if mark { "\u{feff}Grün\r\n" } else { "Grun\r\n" };
            text.encode_utf16().flat_map(unit).collect()
        };
        for bytes in [
            "Grün\r\n".as_bytes().to_vec(),
            "\u{feff}Grün\r\n".into(),
            wide(u16::to_le_bytes, true),
            wide(u16::to_be_bytes, true),
            wide(u16::to_le_bytes, false),
            wide(u16::to_be_bytes, false),
        ] {
            let text = text(&bytes).unwrap();
            assert_eq!(text.expose().replace('ü', "u"), "Grun\r\n", "{bytes:?}");
        }
        for (bytes, problem) in [
            (&b"gr\xfcn"[..], "it is not text (UTF-8 or UTF-16)"),
            (b"\xff\xfea", "it begins as UTF-16 but is not valid UTF-16"),
            (b"PK\x03\x04\xff", "it is a ZIP archive, not text"),
            (b"\x30\x05\x02\x01\x03\x30\x00\xff", "it is a PKCS#12 file (.pfx, .p12), not text"),
        ] {
            assert_eq!(text(bytes).unwrap_err(), problem);
        }
        assert_eq!(text(b"").unwrap().expose(), "");
    }

    #[test]
    fn names_content_that_users_mistake() {
        let key = BASE64.encode(&[7; 32]);
        for (text, name) in [
            (" \r\n\u{feff}", Some("empty")),
            ("-----BEGIN RSA PRIVATE KEY-----\nx", Some("a private key")),
            ("-----BEGIN OPENSSH PRIVATE KEY-----\nx", Some("a private key of ssh")),
            ("text\n-----BEGIN CERTIFICATE-----\nx", Some("a certificate")),
            ("-----BEGIN CERTIFICATE REQUEST-----\nx", Some("a certificate request (CSR)")),
            ("ssh-ed25519 AAAA me", Some("a public key")),
            (
                "Endpoint=sb://x/;SharedAccessKeyName=y",
                Some("a connection string of Event Hubs or Service Bus"),
            ),
            ("HostName=h;DeviceId=d", Some("a connection string")),
            ("SharedAccessSignature sr=h&sig=x&se=1", Some("a shared access signature alone")),
            (&key, Some("a key alone")),
            ("<!DOCTYPE html><p>", Some("an HTML page")),
            ("{\"a\": 1}", Some("JSON")),
            ("https://contoso.azure-devices.net", Some("a URL")),
            ("/etc/iotstream/dev.conn", Some("a file's path")),
            ("something else", None),
        ] {
            assert_eq!(kind(text.as_bytes()), name, "{text}");
        }
    }

    proptest! {
        #[test]
        fn never_panics(bytes in any::<Vec<u8>>(), start in "[0\u{1}\u{2}\u{3}\u{6}]{0,8}") {
            let _ = (text(&bytes), kind(&bytes));
            let bytes = [start.as_bytes(), &bytes].concat();
            let _ = (kind(&bytes), kind(&[&[0x30, 0x82][..], &bytes].concat()));
        }
    }
}
