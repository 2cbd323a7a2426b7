//! The in-band error: the helper disconnects as an ssh server would, so that ssh prints why the stream failed.

use super::packet::{self, SSH_DISCONNECT_BY_APPLICATION};
use crate::error::{Error, Exit, escape};

/// The length of the text in bytes that ssh prints.
const MAX_TEXT: usize = 400;

/// The first bytes of an ssh client (RFC 4253, section 4.2).
const IDENTIFICATION: &[u8] = b"SSH-";

/// Whether `opening`, the first bytes on stdin, comes from an ssh client.
pub(crate) fn is_ssh(opening: &[u8]) -> bool {
    opening.starts_with(IDENTIFICATION)
}

/// Whether `opening` is too short to tell.
pub(crate) fn is_beginning(opening: &[u8]) -> bool {
    opening.len() < IDENTIFICATION.len() && IDENTIFICATION.starts_with(opening)
}

/// An identification line and one unencrypted SSH_MSG_DISCONNECT (RFC 4253, sections 4.2, 6 and 11.1).
///
/// Send it to an ssh client only, and only before any byte from the device.
pub(crate) fn message(error: &Error) -> Vec<u8> {
    let mut message = b"SSH-2.0-iotstream\r\n".to_vec();
    message.extend_from_slice(&packet::disconnect(reason(error), &text(error)));
    message
}

/// The error and, if it fits, the hint.
fn text(error: &Error) -> String {
    // ssh prints non-ASCII bytes as octal numbers.
    let plain = |text: &str| escape(text).replace('…', "...");
    let mut text = plain(&format!("iotstream: {error}"));
    if let Some(hint) = error.hint().map(|hint| format!("; hint: {}", plain(&hint)))
        && text.len() + hint.len() <= MAX_TEXT
    {
        text += &hint;
    }
    if text.len() > MAX_TEXT {
        let cut = (0..=MAX_TEXT).rev().find(|&at| text.is_char_boundary(at)).unwrap_or(0);
        text.truncate(cut);
    }
    text
}

/// The closest reason code of RFC 4253.
fn reason(error: &Error) -> u32 {
    const HOST_NOT_ALLOWED_TO_CONNECT: u32 = 1;
    const SERVICE_NOT_AVAILABLE: u32 = 7;
    const CONNECTION_LOST: u32 = 10;
    const TOO_MANY_CONNECTIONS: u32 = 12;
    if error.retry().is_some_and(|retry| retry.is_throttled) {
        return TOO_MANY_CONNECTIONS;
    }
    match error.exit() {
        Exit::Denied => HOST_NOT_ALLOWED_TO_CONNECT,
        Exit::Unavailable => SERVICE_NOT_AVAILABLE,
        Exit::Temporary => CONNECTION_LOST,
        _ => SSH_DISCONNECT_BY_APPLICATION,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn recognises_an_ssh_client() {
        for (opening, ssh, beginning) in [
            (&b""[..], false, true),
            (b"S", false, true),
            (b"SSH-", true, false),
            (b"SSH-2.0-OpenSSH_9.2\r\n", true, false),
            (b"GET / HTTP/1.1", false, false),
            (b"SSL", false, false),
            (b"\x16\x03\x01", false, false),
        ] {
            assert_eq!((is_ssh(opening), is_beginning(opening)), (ssh, beginning), "{opening:?}");
        }
    }

    #[test]
    fn a_hint_s_own_words_are_ascii() {
        let error = Error::usage("HostName=…", "SharedAccessKey=…");
        assert_eq!(text(&error), "iotstream: HostName=...; hint: SharedAccessKey=...");
    }

    proptest! {
        /// RFC 4253, section 6.
        #[test]
        fn the_packet_is_well_formed(problem in "\\PC{0,600}") {
            let error = Error::Cut { problem: problem.into() };
            let message = message(&error);
            let packet = message.strip_prefix(b"SSH-2.0-iotstream\r\n").unwrap();
            prop_assert_eq!(packet.len() % 8, 0);
            let field = |at: usize| u32::from_be_bytes(packet[at..at + 4].try_into().unwrap());
            prop_assert_eq!(field(0) as usize, packet.len() - 4);
            let padding = usize::from(packet[4]);
            prop_assert!((4..=255).contains(&padding));
            prop_assert_eq!((packet[5], field(6)), (1, 10));
            let length = field(10) as usize;
            prop_assert!(length <= 400);
            let said = std::str::from_utf8(&packet[14..14 + length]).unwrap();
            prop_assert!(said.starts_with("iotstream: the stream was cut"));
            prop_assert!(!said.chars().any(char::is_control));
            prop_assert_eq!(field(14 + length), 0);
            prop_assert_eq!(packet.len(), 14 + length + 4 + padding);
        }
    }
}
