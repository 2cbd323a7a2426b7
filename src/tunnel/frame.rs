//! WebSocket framing of a client (RFC 6455). Outgoing frames are masked in place, incoming ones decoded in place, however
//! reads split them.

use std::fmt::Display;
use std::ops::Range;

/// The largest payload in bytes that a gateway accepts in one frame. Microsoft's C sample has this constant, and was
/// disconnected beyond it \[S]\[I].
pub(crate) const MAX_PAYLOAD: usize = 65_536;

/// Room that [`seal`] needs in front of a payload.
pub(super) const HEADER_ROOM: usize = 14;

/// The bit of a message's last frame.
const FINAL: u8 = 0x80;

/// The longest payload of a control frame in bytes (RFC 6455, section 5.5).
const MAX_CONTROL: usize = 125;

/// A WebSocket Close frame. Code 1000 and no code are a stream's normal end. A device received 1011 when the service's
/// side had vanished \[I].
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Close {
    /// The status code; `None` for a Close without a payload.
    pub code: Option<u16>,
    /// The reason, which may be empty.
    pub reason: String,
}

impl Close {
    /// The sender has no more data.
    pub(crate) const NORMAL: u16 = 1000;
    /// The sender leaves before the stream's end.
    pub(crate) const GOING_AWAY: u16 = 1001;
    /// The receiver broke the protocol.
    pub(crate) const PROTOCOL: u16 = 1002;
    /// The sender or its target failed.
    pub(crate) const FAILURE: u16 = 1011;

    /// The first words of a helper's reason to hang up: the user's side has not ended in order.
    const HANG_UP: &str = "the user's ";

    /// The reason of a gateway's 1011 after the other side's connection was lost \[I].
    pub(crate) const LOST: &str = "WS disconnected";

    /// A Close with a code and a reason.
    pub(crate) fn new(code: u16, reason: impl Into<String>) -> Self {
        Self { code: Some(code), reason: reason.into() }
    }

    /// The Close of a helper that leaves before the stream's end. `what` follows "the user's" in the reason.
    pub(crate) fn hang_up(what: impl Display) -> Self {
        Self::new(Self::GOING_AWAY, format!("{}{what}", Self::HANG_UP))
    }

    /// Whether this is a stream's normal end.
    pub(crate) fn is_normal(&self) -> bool {
        matches!(self.code, None | Some(Self::NORMAL))
    }

    /// Whether this ends a stream in order. Code 1001 is an end only to a receiver for which it means that the sender left,
    /// and only if no helper hung up.
    pub(super) fn is_end(&self, going_away_is_end: bool) -> bool {
        let has_left = self.code == Some(Self::GOING_AWAY) && !self.reason.starts_with(Self::HANG_UP);
        self.is_normal() || going_away_is_end && has_left
    }

    /// The frame's payload, with a long reason cut to fit.
    pub(super) fn payload(&self) -> Vec<u8> {
        let Some(code) = self.code else { return Vec::new() };
        let mut end = self.reason.len().min(MAX_CONTROL - 2);
        while !self.reason.is_char_boundary(end) {
            end -= 1;
        }
        [&code.to_be_bytes(), &self.reason.as_bytes()[..end]].concat()
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Opcode {
    Binary = 2,
    Close = 8,
    Ping = 9,
    Pong = 10,
}

/// Masks `buffer[payload]` in place and writes the header in front of it. Returns the range of the whole frame. `payload`
/// must start at least [`HEADER_ROOM`] bytes into the buffer.
pub(super) fn seal(buffer: &mut [u8], payload: Range<usize>, opcode: Opcode, key: [u8; 4]) -> Range<usize> {
    const MASKED: u8 = 0x80;
    let length = payload.len();
    debug_assert!(payload.start >= HEADER_ROOM && length <= MAX_PAYLOAD);
    mask(&mut buffer[payload.clone()], key);
    let mut header = [0; HEADER_ROOM];
    header[0] = FINAL | opcode as u8;
    let used = match u16::try_from(length) {
        Ok(short) if length <= MAX_CONTROL => {
            header[1] = MASKED | short.to_be_bytes()[1];
            2
        }
        Ok(medium) => {
            header[1] = MASKED | 126;
            header[2..4].copy_from_slice(&medium.to_be_bytes());
            4
        }
        Err(_) => {
            header[1] = MASKED | 127;
            header[2..10].copy_from_slice(&(length as u64).to_be_bytes());
            10
        }
    };
    header[used..used + 4].copy_from_slice(&key);
    let start = payload.start - used - 4;
    buffer[start..payload.start].copy_from_slice(&header[..used + 4]);
    start..payload.end
}

/// XORs `payload` with the repeated key, in blocks that compile to wide instructions even when optimizing for size.
fn mask(payload: &mut [u8], key: [u8; 4]) {
    let wide = u128::from_ne_bytes(std::array::from_fn(|i| key[i % 4]));
    let (blocks, rest) = payload.as_chunks_mut::<64>();
    for block in blocks {
        for word in block.as_chunks_mut::<16>().0 {
            *word = (u128::from_ne_bytes(*word) ^ wide).to_ne_bytes();
        }
    }
    for (byte, key) in rest.iter_mut().zip(key.iter().cycle()) {
        *byte ^= key;
    }
}

/// A decoded part of the input. Ranges are within the input of [`Decoder::next`].
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Piece {
    /// Payload of a data frame, or a part of it.
    Data(Range<usize>),
    /// The end of an empty message.
    Empty,
    Ping(Range<usize>),
    Pong,
    /// The status code, if any, and the reason.
    Close(Option<u16>, Range<usize>),
}

/// Why a frame breaks the protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Violation(pub(super) &'static str);

/// Decodes a server's frames. Message boundaries, and whether messages are text or binary, have no meaning on a stream
/// and are dropped \[S].
#[derive(Debug, Default)]
pub(super) struct Decoder {
    /// Payload bytes of the current data frame that are missing.
    remaining: u64,
    /// The current message is fragmented and unfinished.
    fragmented: bool,
    /// The current message has payload.
    filled: bool,
}

impl Decoder {
    /// Whether the input so far ends within a message. An unfinished header or control frame does not count.
    pub(super) fn is_within_message(&self) -> bool {
        self.remaining > 0 || self.fragmented
    }

    /// Whether payload of the current data frame is missing.
    pub(super) fn is_within_frame(&self) -> bool {
        self.remaining > 0
    }

    /// The header with which another decoder decodes the rest of the current message, if it is unfinished.
    pub(super) fn rest_of_message(&self) -> Option<[u8; 10]> {
        let mut header =
            [Opcode::Binary as u8 | if self.fragmented { 0 } else { FINAL }, 127, 0, 0, 0, 0, 0, 0, 0, 0];
        header[2..].copy_from_slice(&self.remaining.to_be_bytes());
        self.is_within_message().then_some(header)
    }

    /// Decodes the next piece of `input`. Returns the number of bytes used and the piece, if any. `(0, None)` asks for more
    /// input: the longest header and a control frame's payload are 135 bytes together.
    pub(super) fn next(&mut self, input: &[u8]) -> Result<(usize, Option<Piece>), Violation> {
        if self.remaining > 0 {
            let here = usize::try_from(self.remaining).unwrap_or(usize::MAX).min(input.len());
            self.remaining -= here as u64;
            return Ok((here, (here > 0).then_some(Piece::Data(0..here))));
        }
        let Some((header, length)) = parse_header(input)? else { return Ok((0, None)) };
        let final_frame = input[0] & FINAL != 0;
        match input[0] & 0x0f {
            opcode @ 0..=2 => {
                if (opcode == 0) != self.fragmented {
                    return Err(Violation("a continuation frame out of place"));
                }
                self.filled = length > 0 || (opcode == 0 && self.filled);
                self.fragmented = !final_frame;
                self.remaining = length;
                Ok((header, (final_frame && !self.filled).then_some(Piece::Empty)))
            }
            opcode @ 8..=10 => {
                let length = usize::try_from(length).unwrap_or(usize::MAX);
                if !final_frame || length > MAX_CONTROL {
                    return Err(Violation("a control frame that is fragmented or too long"));
                }
                let end = header + length;
                if input.len() < end {
                    return Ok((0, None));
                }
                let piece = match opcode {
                    8 => Piece::Close(close_code(&input[header..end])?, (header + 2).min(end)..end),
                    9 => Piece::Ping(header..end),
                    _ => Piece::Pong,
                };
                Ok((end, Some(piece)))
            }
            _ => Err(Violation("a frame of an unknown kind")),
        }
    }
}

/// The code in a Close frame's payload (RFC 6455, sections 5.5.1 and 7.4), or `None` for an empty payload.
fn close_code(payload: &[u8]) -> Result<Option<u16>, Violation> {
    match payload.first_chunk().map(|code| u16::from_be_bytes(*code)) {
        None if payload.is_empty() => Ok(None),
        Some(1004..=1006 | 1015) | None => Err(Violation("a Close with a code that is never sent")),
        Some(code @ 1000..=4999) => Ok(Some(code)),
        Some(_) => Err(Violation("a Close with a code that is never sent")),
    }
}

/// The lengths of the header and of the payload, or `None` for an unfinished header.
fn parse_header(input: &[u8]) -> Result<Option<(usize, u64)>, Violation> {
    let [first, second, ..] = *input else { return Ok(None) };
    if first & 0x70 != 0 {
        return Err(Violation("a frame with an extension that was not asked for"));
    }
    if second & 0x80 != 0 {
        return Err(Violation("a masked frame"));
    }
    let rest = &input[2..];
    Ok(match second {
        126 => rest.first_chunk().map(|length| (4, u64::from(u16::from_be_bytes(*length)))),
        127 => match rest.first_chunk().map(|length| u64::from_be_bytes(*length)) {
            Some(length) if length >> 63 != 0 => return Err(Violation("a frame of impossible length")),
            length => length.map(|length| (10, length)),
        },
        length => Some((2, u64::from(length))),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use tokio_tungstenite::tungstenite::protocol::frame::{
        Frame, FrameSocket,
        coding::{Data, OpCode},
    };

    fn sealed(payload: &[u8], opcode: Opcode, key: [u8; 4]) -> Vec<u8> {
        let mut buffer = vec![0; HEADER_ROOM];
        buffer.extend_from_slice(payload);
        let range = HEADER_ROOM..buffer.len();
        let frame = seal(&mut buffer, range, opcode, key);
        buffer[frame].to_vec()
    }

    /// Decodes `input` in pieces of the given sizes. Returns the data and the control frames.
    fn decoded(
        input: &[u8],
        mut sizes: impl Iterator<Item = usize>,
    ) -> Result<(Vec<u8>, Vec<String>), Violation> {
        let (mut decoder, mut data, mut control) = (Decoder::default(), Vec::new(), Vec::new());
        let (mut start, mut end) = (0, 0);
        while end < input.len() {
            end = (end + sizes.next().unwrap_or(1).max(1)).min(input.len());
            loop {
                let here = &input[start..end];
                let (used, piece) = decoder.next(here)?;
                match piece {
                    Some(Piece::Data(range)) => data.extend_from_slice(&here[range]),
                    Some(Piece::Ping(range)) => control.push(format!("ping {:?}", &here[range])),
                    Some(Piece::Pong) => control.push("pong".into()),
                    Some(Piece::Empty) => control.push("empty".into()),
                    Some(Piece::Close(code, reason)) => {
                        control.push(format!("close {code:?} {:?}", &here[reason]));
                    }
                    None => {}
                }
                start += used;
                if used == 0 {
                    break;
                }
            }
        }
        Ok((data, control))
    }

    /// RFC 6455, section 5.7: a masked "Hello" (as text there), and an unmasked ping with its masked pong.
    #[test]
    fn matches_the_rfcs_examples() {
        let hello = sealed(b"Hello", Opcode::Binary, [0x37, 0xfa, 0x21, 0x3d]);
        assert_eq!(hello, [0x82, 0x85, 0x37, 0xfa, 0x21, 0x3d, 0x7f, 0x9f, 0x4d, 0x51, 0x58]);
        let pong = sealed(b"Hello", Opcode::Pong, [0x37, 0xfa, 0x21, 0x3d]);
        assert_eq!(pong, [0x8a, 0x85, 0x37, 0xfa, 0x21, 0x3d, 0x7f, 0x9f, 0x4d, 0x51, 0x58]);

        let fragmented = [0x01, 0x03, b'H', b'e', b'l', 0x89, 0x01, b'!', 0x80, 0x02, b'l', b'o'];
        assert_eq!(decoded(&fragmented, 1..), Ok((b"Hello".to_vec(), vec!["ping [33]".into()])));
        let long: Vec<u8> = [&[0x82, 0x7f, 0, 0, 0, 0, 0, 1, 0, 0][..], &[7; 65_536]].concat();
        assert_eq!(decoded(&long, std::iter::repeat(1000)).unwrap().0, vec![7; 65_536]);
    }

    #[test]
    fn reads_the_code_and_reason_of_a_close() {
        let close = |payload: &[u8]| {
            let frame: Vec<u8> = [&[0x88, payload.len().to_le_bytes()[0]], payload].concat();
            decoded(&frame, 1..).unwrap().1.remove(0)
        };
        assert_eq!(close(&[]), "close None []");
        for payload in [&[3][..], &[0x03, 0xed], &[0x03, 0xee], &[0x03, 0xf7], &[0, 0], &[0xff, 0xff]] {
            let frame: Vec<u8> = [&[0x88, payload.len().to_le_bytes()[0]], payload].concat();
            assert!(decoded(&frame, 1..).is_err(), "{payload:?}");
        }
        assert_eq!(close(&[0x03, 0xf3, b'x']), "close Some(1011) [120]");
        // A length in more bytes than it needs.
        let wide = decoded(&[0x88, 126, 0, 3, 0x03, 0xf3, b'x'], 1..).unwrap();
        assert_eq!(wide.1, ["close Some(1011) [120]"]);
    }

    #[test]
    fn reports_empty_messages() {
        let empties = |wire: &[u8]| decoded(wire, std::iter::repeat(64)).unwrap();
        assert_eq!(empties(&[0x82, 0, 0x81, 0]).1, ["empty", "empty"]);
        assert_eq!(empties(&[0x02, 0, 0x00, 0, 0x80, 0]).1, ["empty"]);
        let filled = [0x02, 0, 0x00, 1, b'x', 0x80, 0, 0x82, 1, b'y'];
        assert_eq!(empties(&filled), (b"xy".to_vec(), vec![]));
    }

    /// A length may be written in more bytes than it needs. The room that a read leaves for an unfinished frame is larger.
    #[test]
    fn an_unfinished_control_frame_has_fewer_than_135_bytes() {
        let ping = [&[0x89, 127, 0, 0, 0, 0, 0, 0, 0, 125][..], &[b'!'; 125]].concat();
        assert_eq!(ping.len(), 135);
        for end in 0..ping.len() {
            assert_eq!(Decoder::default().next(&ping[..end]), Ok((0, None)), "{end}");
        }
        assert_eq!(Decoder::default().next(&ping), Ok((135, Some(Piece::Ping(10..135)))));
        const { assert!(super::super::incoming::INCOMING - MAX_PAYLOAD >= 135) };
    }

    #[test]
    fn a_reason_is_cut_between_characters() {
        let close = Close::new(Close::FAILURE, "é".repeat(100));
        assert_eq!(close.payload(), [&[0x03, 0xf3][..], "é".repeat(61).as_bytes()].concat());
        assert!(Close { code: None, reason: "x".into() }.payload().is_empty());
    }

    #[test]
    fn refuses_invalid_frames() {
        for input in [
            &[0xc2, 0][..],                          // extension bit
            &[0x82, 0x80, 0, 0, 0, 0],               // masked
            &[0x83, 0],                              // unknown data opcode
            &[0x8b, 0],                              // unknown control opcode
            &[0x09, 0],                              // fragmented control
            &[0x89, 126, 0, 126],                    // long control
            &[0x80, 0],                              // continuation of nothing
            &[0x02, 0, 0x82, 0],                     // new message within one
            &[0x82, 127, 0x80, 0, 0, 0, 0, 0, 0, 0], // impossible length
        ] {
            assert!(decoded(input, std::iter::repeat(64)).is_err(), "{input:?}");
        }
    }

    proptest! {
        #[test]
        fn tungstenite_reads_sealed_frames(payload in prop::collection::vec(any::<u8>(), 0..=MAX_PAYLOAD), key in any::<[u8; 4]>()) {
            let frame = sealed(&payload, Opcode::Binary, key);
            let mut socket = FrameSocket::new(std::io::Cursor::new(frame));
            let frame = socket.read(None).unwrap().unwrap();
            prop_assert_eq!(frame.header().mask, Some(key));
            prop_assert!(frame.header().is_final);
            let mut read = frame.payload().to_vec();
            mask(&mut read, key);
            prop_assert_eq!(read, payload);
        }

        #[test]
        fn reads_tungstenites_frames(
            messages in prop::collection::vec((prop::collection::vec(any::<u8>(), 0..300), 0u8..4), 0..12),
            sizes in prop::collection::vec(1usize..200, 1..20),
        ) {
            let mut wire = Vec::new();
            let mut expected = Vec::new();
            for (payload, kind) in &messages {
                let mut frames = match kind {
                    0 => vec![Frame::message(payload.clone(), OpCode::Data(Data::Binary), true)],
                    1 => vec![Frame::message(payload.clone(), OpCode::Data(Data::Text), true)],
                    2 => vec![Frame::ping(payload[..payload.len().min(125)].to_vec())],
                    _ => vec![
                        Frame::message(payload[..payload.len() / 2].to_vec(), OpCode::Data(Data::Binary), false),
                        Frame::pong(Vec::new()),
                        Frame::message(payload[payload.len() / 2..].to_vec(), OpCode::Data(Data::Continue), true),
                    ],
                };
                for frame in frames.drain(..) {
                    frame.format(&mut wire).unwrap();
                }
                if *kind != 2 {
                    expected.extend_from_slice(payload);
                }
            }
            let (data, _) = decoded(&wire, sizes.into_iter().cycle()).unwrap();
            prop_assert_eq!(data, expected);
        }

        #[test]
        fn never_panics_and_read_sizes_do_not_matter(input in prop::collection::vec(any::<u8>(), 0..600), sizes in prop::collection::vec(1usize..50, 1..10)) {
            prop_assert_eq!(decoded(&input, std::iter::repeat(1000)).ok(), decoded(&input, sizes.into_iter().cycle()).ok());
        }
    }
}
