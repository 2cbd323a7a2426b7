//! The byte count in the reason of a normal Close. It reveals bytes that a gateway has lost: one that answers a Close itself
//! loses what the other side still sends \[C].

use std::fmt;

use super::frame::Close;

/// A direction of a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Direction {
    /// From the user to the device.
    Up,
    /// From the device to the user.
    Down,
}

/// The payload bytes sent in one direction: `iotstream up N` or `iotstream down N`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct ByteCount {
    pub(super) direction: Direction,
    pub(super) bytes: u64,
}

impl ByteCount {
    /// The count in the reason of `close`, if it has one.
    pub(super) fn of(close: &Close) -> Option<Self> {
        let (direction, digits) = close.reason.strip_prefix("iotstream ")?.split_once(' ')?;
        let direction = match direction {
            "up" => Direction::Up,
            "down" => Direction::Down,
            _ => return None,
        };
        let is_number = digits.bytes().all(|byte| byte.is_ascii_digit());
        Some(Self { direction, bytes: digits.parse().ok().filter(|_| is_number)? })
    }
}

impl fmt::Display for ByteCount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let direction = match self.direction {
            Direction::Up => "up",
            Direction::Down => "down",
        };
        write!(f, "iotstream {direction} {}", self.bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_an_exact_count_is_one() {
        let count = |reason: &str| ByteCount::of(&Close::new(Close::NORMAL, reason));
        for (reason, direction, bytes) in [
            ("iotstream up 0", Direction::Up, 0),
            ("iotstream down 18446744073709551615", Direction::Down, u64::MAX),
        ] {
            let expected = ByteCount { direction, bytes };
            assert_eq!((count(reason), expected.to_string()), (Some(expected), reason.to_owned()));
        }
        for reason in [
            "",
            "Shutdown",
            "iotstream",
            "iotstream up",
            "iotstream up ",
            "iotstream up +1",
            "iotstream up -1",
            "iotstream up 1 ",
            "iotstream up 1.5",
            "iotstream up 18446744073709551616",
            "iotstream sideways 1",
            "iotstream: no target named up 1",
            "Iotstream up 1",
        ] {
            assert_eq!(count(reason), None, "{reason}");
        }
    }
}
