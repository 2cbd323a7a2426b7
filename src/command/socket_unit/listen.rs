//! Where a socket unit listens.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use crate::text::unit;

/// The longest path of a Unix socket on Linux, in bytes.
const LONGEST_PATH: usize = 107;

/// An address that a socket unit listens on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Listen {
    Tcp(SocketAddr),
    /// The path of a Unix socket.
    Unix(String),
}

impl Listen {
    /// Parses `ADDR:PORT`, an address for `port`, or an absolute path; by default, `port` on 127.0.0.1.
    ///
    /// # Errors
    /// Returns the problem.
    pub(super) fn parse(text: Option<&str>, port: u16) -> Result<Self, String> {
        let Some(text) = text else { return Ok(Self::Tcp((Ipv4Addr::LOCALHOST, port).into())) };
        if text.starts_with('/') {
            return match unit::value(text) {
                Some(_) if text.len() <= LONGEST_PATH => Ok(Self::Unix(text.to_owned())),
                Some(_) => {
                    Err(format!("'{text}' has more than the {LONGEST_PATH} bytes of a Unix socket's path"))
                }
                None => Err(format!("'{}' cannot be written in a unit", text.escape_debug())),
            };
        }
        let address = text.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>();
        let address = address.map(|address| SocketAddr::new(address, port)).or_else(|_| text.parse());
        match address {
            Ok(address) if address.port() != 0 => Ok(Self::Tcp(address)),
            _ => Err(format!("'{text}' is neither ADDR:PORT, nor an address, nor an absolute path")),
        }
    }

    /// Who can connect to it.
    pub(super) fn who_connects(&self, user: Option<&str>) -> String {
        match (self, user) {
            (Self::Tcp(address), _) if address.ip().is_loopback() => {
                "Every user of this machine can connect.".into()
            }
            (Self::Tcp(address), _) if address.ip().is_unspecified() => {
                "Every host that reaches this machine can connect.".into()
            }
            (Self::Tcp(address), _) => format!("Every host that reaches {} can connect.", address.ip()),
            (Self::Unix(_), None) => "Only the user can connect.".into(),
            (Self::Unix(_), Some(user)) => format!("Only the user {user} can connect."),
        }
    }

    /// Whether other machines can connect to it.
    pub(super) fn is_open_to_others(&self) -> bool {
        matches!(self, Self::Tcp(address) if !address.ip().is_loopback())
    }
}

impl fmt::Display for Listen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => address.fmt(f),
            Self::Unix(path) => f.write_str(path),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_or_a_path() {
        for (text, shown, is_open) in [
            (None, "127.0.0.1:80", false),
            (Some("127.0.1.7"), "127.0.1.7:80", false),
            (Some("127.0.0.1:8080"), "127.0.0.1:8080", false),
            (Some("::1"), "[::1]:80", false),
            (Some("[::1]"), "[::1]:80", false),
            (Some("[::1]:8080"), "[::1]:8080", false),
            (Some("0.0.0.0:8080"), "0.0.0.0:8080", true),
            (Some("[fd00::7]:8080"), "[fd00::7]:8080", true),
            (Some("/run/user/1000/50% web.sock"), "/run/user/1000/50% web.sock", false),
        ] {
            let listen = Listen::parse(text, 80).unwrap();
            assert_eq!((listen.to_string().as_str(), listen.is_open_to_others()), (shown, is_open));
        }
        let long = format!("/{}", "x".repeat(107));
        for wrong in ["", "8080", "host:80", "127.0.0.1:0", "web.sock", "/a\nb", "/a ", "/a\\", &long] {
            assert!(Listen::parse(Some(wrong), 80).is_err(), "{wrong:?}");
        }
    }
}
