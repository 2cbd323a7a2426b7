//! WebSocket frames, one at a time and each direction for itself. The relay needs what a WebSocket type that answers
//! by itself cannot give: to go on writing after the other side's Close has come.
//!
//! The header's codec is tungstenite's, so that the emulator does not share the framing code of the rest of the
//! project, nor its mistakes.

use std::io::{self, Cursor};

use bytes::{Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio_tungstenite::tungstenite::protocol::frame::FrameHeader;
use tokio_tungstenite::tungstenite::protocol::frame::coding::{CloseCode, Control, Data, OpCode};

/// How much is read at once.
const BLOCK: usize = 64 << 10;
/// Room under which a new block is taken: payloads are slices of their block and keep it alive.
const MIN_ROOM: usize = 8 << 10;
/// RFC 6455, 5.5.
const MAX_CONTROL: u64 = 125;

/// What a client sent.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Frame {
    /// A part of the byte stream: binary, text or a fragment of either.
    Data(Bytes),
    Ping(Bytes),
    Pong,
    Close,
}

/// Why there are no more frames.
#[derive(Debug)]
pub(super) enum Broken {
    /// The connection ended without a Close.
    Gone,
    /// The client broke RFC 6455 or a limit, and is told so with this code.
    Protocol(CloseCode),
}

impl From<io::Error> for Broken {
    fn from(_: io::Error) -> Self {
        Self::Gone
    }
}

/// Reads a client's frames.
#[derive(Debug)]
pub(super) struct FrameReader<R> {
    io: R,
    buffer: BytesMut,
    limit: usize,
    /// Whether a fragmented message is under way.
    fragmented: bool,
}

impl<R: AsyncRead + Unpin> FrameReader<R> {
    /// Takes frames with payloads of up to `limit` bytes.
    pub(super) fn new(io: R, limit: usize) -> Self {
        Self { io, buffer: BytesMut::new(), limit, fragmented: false }
    }

    /// Safe to cancel.
    pub(super) async fn next(&mut self) -> Result<Frame, Broken> {
        loop {
            let mut cursor = Cursor::new(&self.buffer[..]);
            let header =
                FrameHeader::parse(&mut cursor).map_err(|_| Broken::Protocol(CloseCode::Protocol))?;
            let missing = match header {
                None => 1,
                Some((header, length)) => {
                    let start = usize::try_from(cursor.position()).unwrap_or(usize::MAX);
                    let length = self.check(&header, length)?;
                    match (start + length).checked_sub(self.buffer.len()) {
                        None | Some(0) => return Ok(self.take(&header, start, length)),
                        Some(missing) => missing,
                    }
                }
            };
            if self.buffer.capacity() - self.buffer.len() < missing.max(MIN_ROOM) {
                self.buffer.reserve(missing.max(BLOCK));
            }
            if self.io.read_buf(&mut self.buffer).await? == 0 {
                return Err(Broken::Gone);
            }
        }
    }

    /// Checks a header, before its payload takes memory.
    fn check(&self, header: &FrameHeader, length: u64) -> Result<usize, Broken> {
        let sound = match header.opcode {
            OpCode::Control(_) => header.is_final && length <= MAX_CONTROL,
            OpCode::Data(Data::Continue) => self.fragmented,
            OpCode::Data(_) => !self.fragmented,
        };
        // No extension is agreed on, and clients mask.
        if !sound || header.rsv1 || header.rsv2 || header.rsv3 || header.mask.is_none() {
            return Err(Broken::Protocol(CloseCode::Protocol));
        }
        usize::try_from(length)
            .ok()
            .filter(|length| *length <= self.limit)
            .ok_or(Broken::Protocol(CloseCode::Size))
    }

    fn take(&mut self, header: &FrameHeader, start: usize, length: usize) -> Frame {
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
        match header.opcode {
            OpCode::Control(Control::Close) => Frame::Close,
            OpCode::Control(Control::Ping) => Frame::Ping(payload.freeze()),
            OpCode::Control(_) => Frame::Pong,
            OpCode::Data(_) => {
                self.fragmented = !header.is_final;
                Frame::Data(payload.freeze())
            }
        }
    }

    /// The connection, for what is not of frames any more.
    pub(super) fn get_mut(&mut self) -> &mut R {
        &mut self.io
    }
}

/// Appends a server's frame: whole and unmasked.
fn write(opcode: OpCode, payload: &[&[u8]], out: &mut Vec<u8>) {
    let header = FrameHeader { opcode, ..FrameHeader::default() };
    let length: usize = payload.iter().map(|part| part.len()).sum();
    header.format(length as u64, out).expect("writing into memory does not fail");
    for part in payload {
        out.extend_from_slice(part);
    }
}

pub(super) fn write_data(data: &[u8], out: &mut Vec<u8>) {
    write(OpCode::Data(Data::Binary), &[data], out);
}

pub(super) fn write_pong(data: &[u8], out: &mut Vec<u8>) {
    write(OpCode::Control(Control::Pong), &[data], out);
}

pub(super) fn write_close(code: CloseCode, reason: &str, out: &mut Vec<u8>) {
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
    async fn reads_the_rfcs_examples() {
        let (read, end) = frames(&HELLO, 5).await;
        assert_eq!(read, [Frame::Data(Bytes::from_static(b"Hello"))]);
        assert!(matches!(end, Broken::Gone));
        let ping = [0x89, 0x85, 0x37, 0xfa, 0x21, 0x3d, 0x7f, 0x9f, 0x4d, 0x51, 0x58];
        assert_eq!(frames(&ping, 5).await.0, [Frame::Ping(Bytes::from_static(b"Hello"))]);
    }

    #[tokio::test]
    async fn refuses_what_the_rfc_forbids() {
        let mask = [0, 0, 0, 0];
        for (head, code) in [
            (&[0x82, 0x86][..], CloseCode::Size),
            (&[0x82, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff], CloseCode::Size),
            (&[0x80, 0x81], CloseCode::Protocol),
            (&[0xc2, 0x81], CloseCode::Protocol),
            (&[0x83, 0x81], CloseCode::Protocol),
            (&[0x09, 0x81], CloseCode::Protocol),
            (&[0x89, 0xfe, 0, 126], CloseCode::Protocol),
        ] {
            let (_, end) = frames(&[head, &mask].concat(), 5).await;
            assert!(matches!(end, Broken::Protocol(found) if found == code), "{head:x?} {end:?}");
        }
        let unmasked = [0x81, 0x05, b'H', b'e', b'l', b'l', b'o'];
        assert!(matches!(frames(&unmasked, 5).await.1, Broken::Protocol(CloseCode::Protocol)));
    }

    #[test]
    fn writes_as_the_rfc_does() {
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
        fn foreign_bytes_do_no_harm(bytes in any::<Vec<u8>>()) {
            let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
            let (_, _) = runtime.block_on(frames(&bytes, 64));
        }
    }
}
