//! WebSocket frames, one at a time and each direction separately. A relay goes on writing after the other side's Close
//! has arrived, which a WebSocket type that answers a Close itself does not allow.
//!
//! The codec of the header is tungstenite's: the emulator shares neither the framing code of the rest of the project
//! nor its mistakes.

use std::fmt;
use std::io::{self, Cursor};

use bytes::{Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio_tungstenite::tungstenite::protocol::frame::FrameHeader;
use tokio_tungstenite::tungstenite::protocol::frame::coding::{CloseCode, Control, Data, OpCode};

/// Bytes read at a time.
const BLOCK: usize = 64 << 10;
/// With less room than this, a new block is allocated: payloads are slices of their block and keep it alive.
const MIN_ROOM: usize = 8 << 10;
/// The largest payload of a control frame (RFC 6455, 5.5).
const MAX_CONTROL: u64 = 125;

/// A frame from a client.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::emulator) enum Frame {
    /// A part of the byte stream: binary, text or a fragment of either. An empty fragment of a message
    /// is empty.
    Data(Bytes),
    /// The end of an empty message.
    EmptyMessage,
    Ping(Bytes),
    Pong,
    /// The code and the reason, if there are any.
    Close(Option<(CloseCode, String)>),
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

/// Reads a client's frames.
#[derive(Debug)]
pub(in crate::emulator) struct FrameReader<R> {
    io: R,
    buffer: BytesMut,
    limit: usize,
    /// A fragmented message has begun and not ended.
    fragmented: bool,
    /// That message has bytes so far.
    has_bytes: bool,
}

impl<R: AsyncRead + Unpin> FrameReader<R> {
    /// A reader of frames with payloads of up to `limit` bytes.
    pub(in crate::emulator) fn new(io: R, limit: usize) -> Self {
        Self { io, buffer: BytesMut::new(), limit, fragmented: false, has_bytes: false }
    }

    /// The next frame. Cancel-safe.
    ///
    /// # Errors
    /// The connection has ended, or the client broke the protocol.
    pub(in crate::emulator) async fn next(&mut self) -> Result<Frame, Broken> {
        loop {
            let mut cursor = Cursor::new(&self.buffer[..]);
            let header = FrameHeader::parse(&mut cursor)
                .map_err(|_| Broken::Protocol(CloseCode::Protocol, "a frame's head is invalid"))?;
            let missing = match header {
                None => 1,
                Some((header, length)) => {
                    let start = usize::try_from(cursor.position()).unwrap_or(usize::MAX);
                    let length = self.check(&header, length)?;
                    match (start + length).checked_sub(self.buffer.len()) {
                        None | Some(0) => return self.take(&header, start, length),
                        Some(missing) => missing,
                    }
                }
            };
            if self.buffer.capacity() - self.buffer.len() < missing.max(MIN_ROOM) {
                self.buffer.reserve(missing.max(BLOCK));
            }
            let count = match self.io.read_buf(&mut self.buffer).await {
                // TCP ended without TLS's own end.
                Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => 0,
                read => read.map_err(Broken::Failed)?,
            };
            if count == 0 {
                return Err(Broken::Gone(match (self.buffer.is_empty(), self.fragmented) {
                    (false, _) => "within a frame",
                    (true, true) => "within a message",
                    (true, false) => "without a Close",
                }));
            }
        }
    }

    /// Checks a header before its payload takes memory, and gives the length.
    fn check(&self, header: &FrameHeader, length: u64) -> Result<usize, Broken> {
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
        usize::try_from(length)
            .ok()
            .filter(|length| *length <= self.limit)
            .ok_or(Broken::Protocol(CloseCode::Size, "a frame is too large"))
    }

    fn take(&mut self, header: &FrameHeader, start: usize, length: usize) -> Result<Frame, Broken> {
        let mut payload = self.buffer.split_to(start + length).split_off(start);
        if let Some(mask) = header.mask {
            let (words, rest) = payload.as_chunks_mut::<4>();
            for word in words {
                *word = (u32::from_ne_bytes(*word) ^ u32::from_ne_bytes(mask)).to_ne_bytes();
            }
            for (byte, key) in rest.iter_mut().zip(mask) {
                *byte ^= key;
            }
        }
        Ok(match header.opcode {
            OpCode::Control(Control::Close) if self.fragmented => {
                return Err(Broken::Protocol(CloseCode::Protocol, "a Close is within a message"));
            }
            OpCode::Control(Control::Close) => Frame::Close(close_frame(&payload)?),
            OpCode::Control(Control::Ping) => Frame::Ping(payload.freeze()),
            OpCode::Control(_) => Frame::Pong,
            OpCode::Data(_) => {
                let has_bytes = self.has_bytes || !payload.is_empty();
                self.fragmented = !header.is_final;
                self.has_bytes = self.fragmented && has_bytes;
                if header.is_final && !has_bytes {
                    Frame::EmptyMessage
                } else {
                    Frame::Data(payload.freeze())
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

/// Appends a server's frame: unfragmented and unmasked.
fn write(opcode: OpCode, payload: &[&[u8]], out: &mut Vec<u8>) {
    let header = FrameHeader { opcode, ..FrameHeader::default() };
    let length: usize = payload.iter().map(|part| part.len()).sum();
    header.format(length as u64, out).expect("writing into memory does not fail");
    for part in payload {
        out.extend_from_slice(part);
    }
}

/// Appends a binary message.
pub(in crate::emulator) fn write_data(data: &[u8], out: &mut Vec<u8>) {
    write(OpCode::Data(Data::Binary), &[data], out);
}

/// Appends a Ping without a payload.
pub(in crate::emulator) fn write_ping(out: &mut Vec<u8>) {
    write(OpCode::Control(Control::Ping), &[], out);
}

/// Appends the Pong for a Ping with this payload.
pub(in crate::emulator) fn write_pong(data: &[u8], out: &mut Vec<u8>) {
    write(OpCode::Control(Control::Pong), &[data], out);
}

/// Appends a Close.
pub(in crate::emulator) fn write_close(code: CloseCode, reason: &str, out: &mut Vec<u8>) {
    write(OpCode::Control(Control::Close), &[&u16::from(code).to_be_bytes(), reason.as_bytes()], out);
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// RFC 6455, 5.7: "Hello" masked.
    const HELLO: [u8; 11] = [0x81, 0x85, 0x37, 0xfa, 0x21, 0x3d, 0x7f, 0x9f, 0x4d, 0x51, 0x58];

    async fn frames(bytes: &[u8], limit: usize) -> (Vec<Frame>, Broken) {
        let mut reader = FrameReader::new(bytes, limit);
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
        assert_eq!(read, [Frame::Data(Bytes::from_static(b"Hello"))]);
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
        assert_eq!(read, [Frame::EmptyMessage]);
        let (read, _) = frames(&[part(0x02), part(0x00), part(0x80)].concat(), 5).await;
        assert_eq!(read, [Frame::Data(Bytes::new()), Frame::Data(Bytes::new()), Frame::EmptyMessage]);
        let (read, _) = frames(&[&byte[..], &part(0x80), &part(0x82)].concat(), 5).await;
        assert_eq!(read, [Frame::Data(Bytes::from("x")), Frame::Data(Bytes::new()), Frame::EmptyMessage]);
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
    }

    proptest! {
        #[test]
        fn any_bytes_can_be_read(bytes in any::<Vec<u8>>()) {
            let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
            let (_, _) = runtime.block_on(frames(&bytes, 64));
        }
    }
}
