//! Text formats.

use crate::text::ports::Ports;
use crate::text::public_key::PublicKey;
use crate::text::{content, duration, pattern, ports, size, unit};

/// A duration, in milliseconds.
pub fn milliseconds(text: &str) -> Option<u128> {
    let parsed = duration::parse(text).ok()?;
    assert_eq!(duration::parse(&duration::show(parsed)), Ok(parsed));
    Some(parsed.as_millis())
}

/// A number of bytes.
pub fn bytes(text: &str) -> Option<u64> {
    let parsed = size::parse(text).ok()?;
    assert!(parsed > 0 && size::show(parsed).len() < 30);
    Some(parsed)
}

/// Whether a pattern matches a name.
pub fn matches(pattern: &str, name: &str) -> bool {
    pattern::matches(pattern, name)
}

/// A list of ports, and whether it includes that of a stream.
pub fn ports(list: &str, stream: &str) {
    let Some(parsed) = Ports::parse(list) else { return };
    assert_eq!(Ports::parse(&parsed.to_string()).as_ref(), Some(&parsed));
    let port = ports::of_stream(stream);
    assert!(!parsed.include(stream) || port.is_some());
    // A long list has 65,535 streams.
    assert_eq!(parsed.streams().take(100).all(|name| parsed.include(&name)), true);
}

/// A public key.
pub fn public_key(text: &str) {
    if let Some(key) = PublicKey::parse(text) {
        assert_eq!(PublicKey::parse(&key.to_string()).as_ref(), Some(&key));
        assert_eq!(PublicKey::of_blob(key.blob()).as_ref(), Some(&key));
        assert!(text.starts_with(&key.to_string()) && key.fingerprint().len() == 50);
    }
}

/// The content of a file or a paste.
pub fn content(bytes: &[u8]) {
    let kind = content::kind(bytes);
    match content::text(bytes) {
        Ok(text) => assert!(
            text.expose().len() <= 3 * bytes.len() && !text.expose().contains('\0')
                || bytes.len() < 4
                || is_wide(bytes)
        ),
        Err(problem) => assert!(problem.len() < 80, "the problem is no text of ours"),
    }
    assert!(kind.is_none_or(|kind| kind.len() < 80));
}

fn is_wide(bytes: &[u8]) -> bool {
    matches!(bytes, [0xff, 0xfe, ..] | [0xfe, 0xff, ..] | [_, 0, ..] | [0, ..])
}

/// A value of a systemd unit, and a word of a command line.
pub fn unit(text: &str) {
    for line in [unit::value(text), unit::program(text), unit::argument(text)].into_iter().flatten() {
        assert!(!line.contains(char::is_control));
        // Every specifier is escaped.
        assert!(!line.replace("%%", "").contains('%'), "{line}");
    }
    assert!(unit::name(text).is_empty() || unit::is_name(&unit::name(text)));
}
