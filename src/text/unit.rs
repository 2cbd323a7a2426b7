//! The syntax of systemd's units.

use std::fmt::Write;

/// What systemd can restrict for a program without privileges of its own, also for a user's.
pub(crate) const UNPRIVILEGED: &str = "\
LockPersonality=yes
MemoryDenyWriteExecute=yes
NoNewPrivileges=yes
RestrictAddressFamilies=AF_INET AF_INET6 AF_UNIX AF_NETLINK
RestrictNamespaces=yes
RestrictRealtime=yes
RestrictSUIDSGID=yes
SystemCallArchitectures=native
SystemCallFilter=@system-service
SystemCallFilter=~@privileged @resources
UMask=0077
";

/// What the system's own systemd can restrict besides, for a program that needs the network and no device.
pub(crate) const ISOLATED: &str = "\
CapabilityBoundingSet=
DevicePolicy=closed
KeyringMode=private
PrivateDevices=yes
PrivateUsers=yes
ProcSubset=pid
ProtectClock=yes
ProtectControlGroups=yes
ProtectHostname=yes
ProtectKernelLogs=yes
ProtectKernelModules=yes
ProtectKernelTunables=yes
ProtectProc=invisible
";

/// A value in which nothing is a specifier. `None` if it cannot be the value of a line.
pub(crate) fn value(text: &str) -> Option<String> {
    let is_whole = !text.contains(char::is_control) && text.trim() == text && !text.ends_with('\\');
    is_whole.then(|| text.replace('%', "%%"))
}

/// The program of a command line. `None` if it contains a control character.
pub(crate) fn program(text: &str) -> Option<String> {
    if text.contains(char::is_control) {
        return None;
    }
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "/._-:=@+,".contains(c);
    if !text.is_empty() && text.chars().all(is_plain) {
        return Some(text.to_owned());
    }
    Some(quoted(text))
}

/// A word in quotes, in which nothing is a specifier.
pub(crate) fn quoted(text: &str) -> String {
    let text = text.replace('\\', "\\\\").replace('"', "\\\"").replace('%', "%%");
    format!("\"{text}\"")
}

/// An argument of a command line. `None` if it contains a control character.
pub(crate) fn argument(text: &str) -> Option<String> {
    // Unlike those of the program's name, variables of arguments are expanded.
    program(text).map(|word| word.replace('$', "$$"))
}

/// A unit's name without its type, in which other characters than those of such names are escaped as systemd-escape does.
pub(crate) fn name(text: &str) -> String {
    let mut name = String::new();
    for byte in text.bytes() {
        if byte == b'\\' || !is_name(&char::from(byte).to_string()) {
            let _ = write!(name, "\\x{byte:02x}");
        } else {
            name.push(char::from(byte));
        }
    }
    name
}

/// Whether `text` has only the characters of a unit's name, without an instance.
pub(crate) fn is_name(text: &str) -> bool {
    !text.is_empty() && text.chars().all(|c| c.is_ascii_alphanumeric() || ":-_.\\".contains(c))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_quoted_where_systemd_would_split_or_expand_them() {
        for (text, word) in [
            ("/usr/bin/iotstream", "/usr/bin/iotstream"),
            ("", "\"\""),
            ("a b", "\"a b\""),
            ("50%", "\"50%%\""),
            ("a\"b\\c", "\"a\\\"b\\\\c\""),
            (";", "\";\""),
            ("$HOME", "\"$HOME\""),
            ("Line(3),Prässe", "\"Line(3),Prässe\""),
        ] {
            assert_eq!(program(text).as_deref(), Some(word));
        }
        assert_eq!(argument("$HOME ${x}").as_deref(), Some("\"$$HOME $${x}\""));
        assert_eq!((program("a\nb"), argument("a\nb")), (None, None));
    }

    #[test]
    fn a_value_is_on_one_line_as_it_is() {
        assert_eq!(value("/run/50%.sock").as_deref(), Some("/run/50%%.sock"));
        for text in ["a\nb", "a\\", " a", "a ", "\u{7}"] {
            assert_eq!(value(text), None, "{text:?}");
        }
    }

    #[test]
    fn names_are_escaped_as_systemd_escape_does() {
        for (text, escaped) in [
            ("gw-07.factory_1:a", "gw-07.factory_1:a"),
            ("a/b@c", "a\\x2fb\\x40c"),
            ("Line(3) \\ü", "Line\\x283\\x29\\x20\\x5c\\xc3\\xbc"),
        ] {
            assert_eq!(name(text), escaped);
            assert!(is_name(&name(text)));
        }
        for wrong in ["", "a@b", "a b", "a/b"] {
            assert!(!is_name(wrong), "{wrong}");
        }
    }
}
