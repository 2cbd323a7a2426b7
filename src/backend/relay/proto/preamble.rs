//! azbridge's preamble: the sender names a port, and the listener answers with three bytes \[B].

/// The bytes of a proposal before the name: the version, the mode, and the length of the name.
pub(crate) const HEAD: usize = 4;
/// The bytes of an answer.
pub(crate) const ANSWER: usize = 3;

const VERSION: [u8; 2] = [1, 0];
const STREAM: u8 = 0;
const DATAGRAM: u8 = 1;

/// The proposal of a stream to the port `name`, or `None` if the name is longer than 255 bytes.
pub(crate) fn proposal(name: &str) -> Option<Vec<u8>> {
    let length = u8::try_from(name.len()).ok()?;
    Some([&VERSION[..], &[STREAM, length], name.as_bytes()].concat())
}

/// The length of the name in a proposal.
///
/// # Errors
/// Returns the answer to a proposal that is not understood.
pub(crate) fn name_length(head: [u8; HEAD]) -> Result<usize, Answer> {
    let [major, minor, mode, length] = head;
    if [major, minor] != VERSION || mode > DATAGRAM {
        return Err(Answer::UnknownVersion);
    }
    Ok(length.into())
}

/// Whether the proposal asks for datagrams.
pub(crate) fn is_of_datagrams(head: [u8; HEAD]) -> bool {
    head[2] == DATAGRAM
}

/// The listener's answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    /// The stream begins.
    Go,
    /// The listener does not understand the version.
    UnknownVersion,
    /// A stream was asked for, and the port takes datagrams.
    TakesDatagrams,
    /// Datagrams were asked for, and the port takes a stream.
    TakesStream,
}

impl Answer {
    const ALL: [Self; 4] = [Self::Go, Self::UnknownVersion, Self::TakesDatagrams, Self::TakesStream];

    pub(crate) fn bytes(self) -> [u8; ANSWER] {
        match self {
            Self::Go => [1, 0, STREAM],
            Self::UnknownVersion => [0, 0, 0],
            Self::TakesDatagrams => [0, 0, 1],
            Self::TakesStream => [0, 0, 0xff],
        }
    }

    /// The answer in `bytes`, or `None` for other bytes.
    pub(crate) fn of(bytes: [u8; ANSWER]) -> Option<Self> {
        Self::ALL.into_iter().find(|answer| answer.bytes() == bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_proposal_names_a_port() {
        // What a sender sends to `azbridge -T hyco:22` [B].
        assert_eq!(proposal("22").unwrap(), [1, 0, 0, 2, b'2', b'2']);
        assert_eq!((name_length([1, 0, 0, 2]), name_length([1, 0, 1, 2])), (Ok(2), Ok(2)));
        assert_eq!(proposal(&"é".repeat(127)).unwrap().len(), HEAD + 254);
        assert_eq!(proposal(&"é".repeat(128)), None);
    }

    #[test]
    fn other_versions_and_modes_are_not_understood() {
        for head in [[0, 0, 0, 2], [2, 0, 0, 2], [1, 1, 0, 2], [1, 0, 2, 2], *b"SSH-"] {
            assert_eq!(name_length(head), Err(Answer::UnknownVersion), "{head:?}");
        }
        assert!(is_of_datagrams([1, 0, 1, 2]) && !is_of_datagrams([1, 0, 0, 2]));
    }

    #[test]
    fn answers_are_those_of_azbridge() {
        for (bytes, answer) in [
            ([1, 0, 0], Some(Answer::Go)),
            ([0, 0, 0], Some(Answer::UnknownVersion)),
            ([0, 0, 1], Some(Answer::TakesDatagrams)),
            ([0, 0, 0xff], Some(Answer::TakesStream)),
            ([1, 0, 1], None),
            (*b"SSH", None),
        ] {
            assert_eq!(Answer::of(bytes), answer);
        }
    }
}
