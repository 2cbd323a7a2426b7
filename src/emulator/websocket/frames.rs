//! WebSocket frames, one at a time and each direction separately. A relay goes on writing after the other side's Close
//! has arrived, which a WebSocket type that answers a Close itself does not allow.
//!
//! The codec of the header is tungstenite's: the emulator shares neither the framing code of the rest of the project
//! nor its mistakes.

use std::fmt;
use std::io::{self, Cursor};

use bytes::{Buf, Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio_tungstenite::tungstenite::protocol::frame::FrameHeader;
use tokio_tungstenite::tungstenite::protocol::frame::coding::{CloseCode, Control, Data, OpCode};

/// Bytes read at a time.
const BLOCK: usize = 64 << 10;
/// With less room than this, a new block is allocated: payloads are slices of their block and keep it alive.
const MIN_ROOM: usize = 8 << 10;
/// The largest payload of a control frame (RFC 6455, 5.5).
const MAX_CONTROL: u64 = 125;
/// The longest reason of a Close in bytes: the code takes two.
const MAX_REASON: usize = 123;

/// A frame from a client.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::emulator) enum Frame {
    /// A message or a fragment of one. A fragment may be empty.
    Data(Fragment),
    /// The end of an empty message.
    EmptyMessage(Fragment),
    Ping(Bytes),
    Pong(Bytes),
    /// The code and the reason, if there are any.
    Close(Option<(CloseCode, String)>),
}

/// A message, or a fragment of one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::emulator) struct Fragment {
    pub(in crate::emulator) bytes: Bytes,
    /// Text or binary in the first fragment of a message, then a continuation.
    pub(in crate::emulator) kind: Data,
    /// The message ends here.
    pub(in crate::emulator) is_final: bool,
}

/// Why there are no more frames.
#[derive(Debug)]
pub(in crate::emulator) enum Broken {
    /// The connection ended without a Close; the text says where.
    Gone(&'static str),
    /// The connection failed.
    Failed(io::Error),
    /// The client broke RFC 6455 or a limit, and is sent a Close with this code.
    Protocol(CloseCode, &'static str),
}

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Gone(position) => write!(f, "its connection ended {position}"),
            Self::Failed(error) => write!(f, "its connection failed: {error}"),
            Self::Protocol(_, problem) => write!(f, "it broke the protocol: {problem}"),
        }
    }
}

/// How large a frame may be.
#[derive(Clone, Copy, Debug)]
pub(in crate::emulator) enum Size {
    /// Up to so many bytes.
    Limited(usize),
    /// Any. A data frame that is larger than so many bytes is read as several fragments.
    InParts(usize),
}

/// What is left of a data frame that is read in parts.
#[derive(Debug)]
struct Part {
    kind: Data,
    is_final: bool,
    mask: [u8; 4],
    left: u64,
}

/// Reads a client's frames.
#[derive(Debug)]
pub(in crate::emulator) struct FrameReader<R> {
    io: R,
    buffer: BytesMut,
    size: Size,
    /// The frame that is being read in parts.
    part: Option<Part>,
    /// A fragmented message has begun and not ended.
    fragmented: bool,
    /// That message has bytes so far.
    has_bytes: bool,
}

impl<R: AsyncRead + Unpin> FrameReader<R> {
    /// A reader of frames with payloads of this size.
    pub(in crate::emulator) fn new(io: R, size: Size) -> Self {
        Self { io, buffer: BytesMut::new(), size, part: None, fragmented: false, has_bytes: false }
    }

    /// The next frame. Cancel-safe.
    ///
    /// # Errors
    /// The connection has ended, or the client broke the protocol.
    pub(in crate::emulator) async fn next(&mut self) -> Result<Frame, Broken> {
        loop {
            if self.part.is_some() {
                if let Some(fragment) = self.take_part() {
                    return Ok(Frame::Data(fragment));
                }
                self.read(1).await?;
                continue;
            }
            let mut cursor = Cursor::new(&self.buffer[..]);
            let header = FrameHeader::parse(&mut cursor)
                .map_err(|_| Broken::Protocol(CloseCode::Protocol, "a frame's head is invalid"))?;
            let missing = match header {
                None => 1,
                Some((header, length)) => {
                    let start = usize::try_from(cursor.position()).unwrap_or(usize::MAX);
                    let Some(length) = self.check(&header, length)? else {
                        self.begin_part(&header, start, length);
                        continue;
                    };
                    match (start + length).checked_sub(self.buffer.len()) {
                        None | Some(0) => return self.take(&header, start, length),
                        Some(missing) => missing,
                    }
                }
            };
            self.read(missing).await?;
        }
    }

    /// Reads some bytes, with room for the `missing` ones. Cancel-safe.
    async fn read(&mut self, missing: usize) -> Result<(), Broken> {
        if self.buffer.capacity() - self.buffer.len() < missing.max(MIN_ROOM) {
            self.buffer.reserve(missing.max(BLOCK));
        }
        let count = match self.io.read_buf(&mut self.buffer).await {
            // TCP ended without TLS's own end.
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => 0,
            read => read.map_err(Broken::Failed)?,
        };
        if count == 0 {
            let in_frame = !self.buffer.is_empty() || self.part.is_some();
            return Err(Broken::Gone(match (in_frame, self.fragmented) {
                (true, _) => "within a frame",
                (false, true) => "within a message",
                (false, false) => "without a Close",
            }));
        }
        Ok(())
    }

    /// Checks a header before its payload takes memory, and gives the length; `None` where the frame is read in parts.
    fn check(&self, header: &FrameHeader, length: u64) -> Result<Option<usize>, Broken> {
        let problem = match header.opcode {
            OpCode::Control(_) if !header.is_final => Some("a control frame is fragmented"),
            OpCode::Control(_) if length > MAX_CONTROL => Some("a control frame is too long"),
            OpCode::Data(Data::Continue) if !self.fragmented => Some("a continuation continues nothing"),
            OpCode::Data(Data::Text | Data::Binary) if self.fragmented => Some("a message is not finished"),
            // There are no extensions, and clients mask.
            _ if header.rsv1 || header.rsv2 || header.rsv3 => Some("a reserved bit is set"),
            _ if header.mask.is_none() => Some("a frame is not masked"),
            _ => None,
        };
        if let Some(problem) = problem {
            return Err(Broken::Protocol(CloseCode::Protocol, problem));
        }
        match (self.size, usize::try_from(length)) {
            (Size::Limited(limit) | Size::InParts(limit), Ok(length)) if length <= limit => Ok(Some(length)),
            (Size::InParts(_), _) if matches!(header.opcode, OpCode::Data(_)) => Ok(None),
            // A control frame fits where data does not.
            (Size::InParts(_), Ok(length)) => Ok(Some(length)),
            _ => Err(Broken::Protocol(CloseCode::Size, "a frame is too large")),
        }
    }

    fn begin_part(&mut self, header: &FrameHeader, start: usize, left: u64) {
        let OpCode::Data(kind) = header.opcode else { return };
        self.buffer.advance(start);
        let mask = header.mask.unwrap_or_default();
        self.part = Some(Part { kind, is_final: header.is_final, mask, left });
        self.fragmented = !header.is_final;
        self.has_bytes = self.fragmented;
    }

    /// What has arrived of the frame that is read in parts.
    fn take_part(&mut self) -> Option<Fragment> {
        let part = self.part.as_mut()?;
        let (Size::Limited(most) | Size::InParts(most)) = self.size;
        let count = self.buffer.len().min(most).min(usize::try_from(part.left).unwrap_or(usize::MAX));
        if count == 0 {
            return None;
        }
        let mut bytes = self.buffer.split_to(count);
        unmask(&mut bytes, part.mask);
        part.left -= count as u64;
        part.mask.rotate_left(count % 4);
        let kind = std::mem::replace(&mut part.kind, Data::Continue);
        let is_last = part.left == 0;
        let is_final = is_last && part.is_final;
        if is_last {
            self.part = None;
        }
        Some(Fragment { bytes: bytes.freeze(), kind, is_final })
    }

    fn take(&mut self, header: &FrameHeader, start: usize, length: usize) -> Result<Frame, Broken> {
        let mut payload = self.buffer.split_to(start + length).split_off(start);
        if let Some(mask) = header.mask {
            unmask(&mut payload, mask);
        }
        Ok(match header.opcode {
            OpCode::Control(Control::Close) if self.fragmented => {
                return Err(Broken::Protocol(CloseCode::Protocol, "a Close is within a message"));
            }
            OpCode::Control(Control::Close) => Frame::Close(close_frame(&payload)?),
            OpCode::Control(Control::Ping) => Frame::Ping(payload.freeze()),
            OpCode::Control(_) => Frame::Pong(payload.freeze()),
            OpCode::Data(kind) => {
                let has_bytes = self.has_bytes || !payload.is_empty();
                self.fragmented = !header.is_final;
                self.has_bytes = self.fragmented && has_bytes;
                let fragment = Fragment { bytes: payload.freeze(), kind, is_final: header.is_final };
                if header.is_final && !has_bytes {
                    Frame::EmptyMessage(fragment)
                } else {
                    Frame::Data(fragment)
                }
            }
        })
    }

    /// The connection, to read it without frames.
    pub(in crate::emulator) fn get_mut(&mut self) -> &mut R {
        &mut self.io
    }

    /// The connection; bytes that were read ahead are lost.
    pub(in crate::emulator) fn into_inner(self) -> R {
        self.io
    }
}

/// XORs `payload` with the repeated mask, in blocks that compile to wide instructions even when optimizing for size.
fn unmask(payload: &mut [u8], mask: [u8; 4]) {
    let wide = u128::from_ne_bytes(std::array::from_fn(|i| mask[i % 4]));
    let (blocks, rest) = payload.as_chunks_mut::<64>();
    for block in blocks {
        for word in block.as_chunks_mut::<16>().0 {
            *word = (u128::from_ne_bytes(*word) ^ wide).to_ne_bytes();
        }
    }
    for (byte, key) in rest.iter_mut().zip(mask.iter().cycle()) {
        *byte ^= key;
    }
}

/// Reads a Close's code and reason (RFC 6455, 7.4).
fn close_frame(payload: &[u8]) -> Result<Option<(CloseCode, String)>, Broken> {
    if payload.is_empty() {
        return Ok(None);
    }
    let (code, reason) = payload
        .split_first_chunk()
        .ok_or(Broken::Protocol(CloseCode::Protocol, "a Close has half a code"))?;
    let code = CloseCode::from(u16::from_be_bytes(*code));
    if !code.is_allowed() {
        return Err(Broken::Protocol(CloseCode::Protocol, "a Close has a code that may not be sent"));
    }
    let reason = std::str::from_utf8(reason)
        .map_err(|_| Broken::Protocol(CloseCode::Protocol, "a Close has a reason that is not UTF-8"))?;
    Ok(Some((code, reason.to_owned())))
}

/// Appends a server's frame, which is unmasked.
fn write(opcode: OpCode, is_final: bool, payload: &[&[u8]], out: &mut Vec<u8>) {
    let header = FrameHeader { opcode, is_final, ..FrameHeader::default() };
    let length: usize = payload.iter().map(|part| part.len()).sum();
    header.format(length as u64, out).expect("writing into memory does not fail");
    for part in payload {
        out.extend_from_slice(part);
    }
}

/// Appends a binary message.
pub(in crate::emulator) fn write_data(data: &[u8], out: &mut Vec<u8>) {
    write(OpCode::Data(Data::Binary), true, &[data], out);
}

/// Appends a fragment of a message.
pub(in crate::emulator) fn write_fragment(data: &[u8], kind: Data, is_final: bool, out: &mut Vec<u8>) {
    write(OpCode::Data(kind), is_final, &[data], out);
}

/// Appends a Ping with this payload.
pub(in crate::emulator) fn write_ping(data: &[u8], out: &mut Vec<u8>) {
    write(OpCode::Control(Control::Ping), true, &[data], out);
}

/// Appends the Pong for a Ping with this payload.
pub(in crate::emulator) fn write_pong(data: &[u8], out: &mut Vec<u8>) {
    write(OpCode::Control(Control::Pong), true, &[data], out);
}

/// Appends a Close. A reason that is too long is cut between two characters.
pub(in crate::emulator) fn write_close(code: CloseCode, reason: &str, out: &mut Vec<u8>) {
    let reason = &reason.as_bytes()[..reason.floor_char_boundary(MAX_REASON)];
    write(OpCode::Control(Control::Close), true, &[&u16::from(code).to_be_bytes(), reason], out);
}

/// Appends a Close without a code.
pub(in crate::emulator) fn write_close_without_code(out: &mut Vec<u8>) {
    write(OpCode::Control(Control::Close), true, &[], out);
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncWriteExt;

    use super::*;
    use proptest::prelude::*;

    /// RFC 6455, 5.7: "Hello" masked.
    const HELLO: [u8; 11] = [0x81, 0x85, 0x37, 0xfa, 0x21, 0x3d, 0x7f, 0x9f, 0x4d, 0x51, 0x58];

    fn fragment(text: &'static str, kind: Data, is_final: bool) -> Fragment {
        Fragment { bytes: Bytes::from(text), kind, is_final }
    }

    async fn frames(bytes: &[u8], limit: usize) -> (Vec<Frame>, Broken) {
        let mut reader = FrameReader::new(bytes, Size::Limited(limit));
        let mut frames = Vec::new();
        loop {
            match reader.next().await {
                Ok(frame) => frames.push(frame),
                Err(broken) => return (frames, broken),
            }
        }
    }

    #[tokio::test]
    async fn the_examples_of_the_rfc_are_read() {
        let (read, end) = frames(&HELLO, 5).await;
        assert_eq!(read, [Frame::Data(fragment("Hello", Data::Text, true))]);
        assert!(matches!(end, Broken::Gone("without a Close")));
        let ping = [0x89, 0x85, 0x37, 0xfa, 0x21, 0x3d, 0x7f, 0x9f, 0x4d, 0x51, 0x58];
        assert_eq!(frames(&ping, 5).await.0, [Frame::Ping(Bytes::from_static(b"Hello"))]);
    }

    #[tokio::test]
    async fn refuses_frames_that_the_rfc_forbids() {
        let mask = [0, 0, 0, 0];
        for (head, code) in [
            (&[0x82, 0x86][..], CloseCode::Size),
            (&[0x82, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff], CloseCode::Size),
            (&[0x80, 0x81], CloseCode::Protocol),
            (&[0xc2, 0x81], CloseCode::Protocol),
            (&[0x83, 0x81], CloseCode::Protocol),
            (&[0x09, 0x81], CloseCode::Protocol),
            (&[0x89, 0xfe, 0, 126], CloseCode::Protocol),
            // Codes that may not be sent, half a code, a reason that is not UTF-8, and a Close within a message.
            (&[0x88, 0x82, 0, 0, 0, 0, 0x03, 0xed], CloseCode::Protocol),
            (&[0x88, 0x82, 0, 0, 0, 0, 0x03, 0xe7], CloseCode::Protocol),
            (&[0x88, 0x81, 0, 0, 0, 0, 0x03], CloseCode::Protocol),
            (&[0x88, 0x83, 0, 0, 0, 0, 0x03, 0xe8, 0xff], CloseCode::Protocol),
            (&[0x02, 0x80, 0, 0, 0, 0, 0x88, 0x80], CloseCode::Protocol),
        ] {
            let (_, end) = frames(&[head, &mask].concat(), 5).await;
            assert!(matches!(end, Broken::Protocol(found, _) if found == code), "{head:x?} {end:?}");
        }
        let unmasked = [0x81, 0x05, b'H', b'e', b'l', b'l', b'o'];
        assert!(matches!(frames(&unmasked, 5).await.1, Broken::Protocol(CloseCode::Protocol, _)));
    }

    #[tokio::test]
    async fn the_end_of_a_connection_is_located() {
        for (bytes, position) in [
            (&[0x82, 0x80, 0, 0, 0, 0][..], "without a Close"),
            (&[0x82], "within a frame"),
            (&[0x82, 0x82, 0, 0, 0, 0, 1], "within a frame"),
            (&[0x02, 0x81, 0, 0, 0, 0, 1], "within a message"),
        ] {
            let (_, end) = frames(bytes, 5).await;
            assert!(matches!(end, Broken::Gone(found) if found == position), "{bytes:x?} {end:?}");
        }
    }

    #[tokio::test]
    async fn a_message_with_a_byte_is_not_empty() {
        let part = |head: u8| [head, 0x80, 0, 0, 0, 0];
        let byte = [0x02, 0x81, 0, 0, 0, 0, b'x'];
        let (read, _) = frames(&part(0x82), 5).await;
        assert_eq!(read, [Frame::EmptyMessage(fragment("", Data::Binary, true))]);
        let (read, _) = frames(&[part(0x02), part(0x00), part(0x80)].concat(), 5).await;
        let first = fragment("", Data::Binary, false);
        let [next, last] = [false, true].map(|is_final| fragment("", Data::Continue, is_final));
        assert_eq!(read, [Frame::Data(first), Frame::Data(next), Frame::EmptyMessage(last)]);
        let (read, _) = frames(&[&byte[..], &part(0x80), &part(0x82)].concat(), 5).await;
        let first = fragment("x", Data::Binary, false);
        let [last, empty] = [Data::Continue, Data::Binary].map(|kind| fragment("", kind, true));
        assert_eq!(read, [Frame::Data(first), Frame::Data(last), Frame::EmptyMessage(empty)]);
    }

    #[tokio::test]
    async fn a_large_frame_is_read_in_parts() {
        // Ten bytes of text in one frame, of which three arrive at first, then a Ping.
        let mask = [1, 2, 3, 4];
        let masked: Vec<u8> = b"0123456789".iter().zip(mask.iter().cycle()).map(|(a, b)| a ^ b).collect();
        let (mut near, far) = tokio::io::duplex(1024);
        let mut reader = FrameReader::new(far, Size::InParts(4));
        near.write_all(&[&[0x81, 0x8a][..], &mask, &masked[..3]].concat()).await.unwrap();
        assert_eq!(reader.next().await.unwrap(), Frame::Data(fragment("012", Data::Text, false)));
        near.write_all(&[&masked[3..], &[0x89, 0x80, 0, 0, 0, 0]].concat()).await.unwrap();
        drop(near);
        for (text, is_final) in [("3456", false), ("789", true)] {
            let part = fragment(text, Data::Continue, is_final);
            assert_eq!(reader.next().await.unwrap(), Frame::Data(part));
        }
        assert_eq!(reader.next().await.unwrap(), Frame::Ping(Bytes::new()));
        assert!(matches!(reader.next().await, Err(Broken::Gone("without a Close"))));
    }

    #[tokio::test]
    async fn a_close_keeps_its_code_and_reason() {
        let (read, _) = frames(&[0x88, 0x84, 0, 0, 0, 0, 0x03, 0xf3, b'o', b'h'], 5).await;
        assert_eq!(read, [Frame::Close(Some((CloseCode::Error, "oh".into())))]);
        assert_eq!(frames(&[0x88, 0x80, 0, 0, 0, 0], 5).await.0, [Frame::Close(None)]);
    }

    #[test]
    fn frames_are_written_as_in_the_rfc() {
        let mut out = Vec::new();
        write_pong(b"Hello", &mut out);
        assert_eq!(out, [0x8a, 0x05, b'H', b'e', b'l', b'l', b'o']);
        out.clear();
        write_data(&[7; 256], &mut out);
        assert_eq!(out[..4], [0x82, 0x7e, 0x01, 0x00]);
        out.clear();
        write_close(CloseCode::Error, "x", &mut out);
        assert_eq!(out, [0x88, 0x03, 0x03, 0xf3, b'x']);
        out.clear();
        write_close(CloseCode::Error, &"ä".repeat(62), &mut out);
        assert_eq!(out.len(), 4 + 122);
        out.clear();
        write_fragment(b"x", Data::Text, false, &mut out);
        assert_eq!(out, [0x01, 0x01, b'x']);
    }

    proptest! {
        #[test]
        fn any_bytes_can_be_read(bytes in any::<Vec<u8>>()) {
            let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
            let (_, _) = runtime.block_on(frames(&bytes, 64));
        }
    }
}
