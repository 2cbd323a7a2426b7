//! The decoder of frames against tungstenite, and against itself with the bytes in other pieces.
#![no_main]

use std::io::{self, Cursor, Read, Write};

use iotstream::fuzzing::tunnel::{close_payload, decode, receive, sealed};
use iotstream_fuzz::{Input, text};
use libfuzzer_sys::fuzz_target;
use tungstenite::protocol::{Role, WebSocketContext};
use tungstenite::{Error, Message};

fuzz_target!(|data: &[u8]| {
    let mut input = Input(data);
    let lengths = input.lengths();
    let wire = input.0;
    let whole = decode(wire, std::iter::repeat(usize::MAX));
    assert_eq!(decode(wire, lengths.clone()), whole, "pieces change what is decoded");
    let received = receive(wire, std::iter::repeat(usize::MAX));
    assert_eq!(receive(wire, lengths), received, "pieces change what is received");
    if received.2.as_deref() != Some("data after its end") {
        assert!(whole.data.starts_with(&received.0));
    }

    let theirs = tungstenites(wire);
    assert!(whole.data.starts_with(&theirs.data), "tungstenite reads other data");
    assert!(whole.pings.starts_with(&theirs.pings), "tungstenite reads other pings");
    match theirs.end {
        End::Close(close) => assert_eq!(whole.close, Some(close), "tungstenite reads another Close"),
        // It refuses codes that are reserved for later versions, and that of a bad gateway, which was registered later.
        End::Violation => {
            let is_reserved = matches!(whole.close, Some((Some(1014 | 1016..=2999), _)));
            assert!(whole.violation.is_some() || is_reserved, "tungstenite sees a violation: {whole:?}");
        }
        // It checks that texts are UTF-8, which says nothing on a stream.
        End::Text => {}
        // It looks at a frame once it is whole.
        End::Eof => assert_eq!(whole.close, None, "tungstenite sees no Close"),
    }

    frame(input);
});

/// A frame of ours, as tungstenite reads it.
fn frame(mut input: Input<'_>) {
    let (opcode, key) = (input.byte() % 3, [input.byte(), input.byte(), input.byte(), input.byte()]);
    let expected = match opcode {
        0 => {
            let code = 1000 + u16::from(input.byte() % 4);
            let reason = text(input.0);
            let payload = close_payload(Some(code), reason);
            assert!(payload.len() <= 125 && reason.as_bytes().starts_with(&payload[2..]));
            (8, payload)
        }
        1 => (9, input.bytes(125).to_vec()),
        _ => (2, input.0.repeat(1 + usize::from(input.0.first().copied().unwrap_or(0)))),
    };
    let (opcode, payload) = expected;
    let payload = &payload[..payload.len().min(65_536)];
    let wire = sealed(payload, opcode, key);
    let mut server = WebSocketContext::new(Role::Server, None);
    let message = server.read(&mut Wire(Cursor::new(&wire)));
    match (opcode, message.expect("a frame that tungstenite reads")) {
        (2, Message::Binary(data)) | (9, Message::Ping(data)) => assert_eq!(data, payload),
        (8, Message::Close(Some(close))) => assert_eq!(close.reason.as_bytes(), &payload[2..]),
        (opcode, other) => panic!("{opcode} is read as {other:?}"),
    }
}

enum End {
    Close((Option<u16>, Vec<u8>)),
    Violation,
    Text,
    Eof,
}

struct Theirs {
    data: Vec<u8>,
    pings: Vec<Vec<u8>>,
    end: End,
}

fn tungstenites(wire: &[u8]) -> Theirs {
    let mut client = WebSocketContext::new(Role::Client, None);
    let mut wire = Wire(Cursor::new(wire));
    let mut theirs = Theirs { data: Vec::new(), pings: Vec::new(), end: End::Eof };
    theirs.end = loop {
        match client.read(&mut wire) {
            Ok(Message::Binary(data)) => theirs.data.extend_from_slice(&data),
            Ok(Message::Text(text)) => theirs.data.extend_from_slice(text.as_bytes()),
            Ok(Message::Ping(data)) => theirs.pings.push(data.to_vec()),
            Ok(Message::Pong(_) | Message::Frame(_)) => {}
            Ok(Message::Close(close)) => {
                let close =
                    close.map(|close| (Some(u16::from(close.code)), close.reason.as_bytes().to_vec()));
                break match close {
                    // What it makes of a code that is never sent.
                    Some((Some(1002), reason)) if reason == b"Protocol violation" => End::Violation,
                    close => End::Close(close.unwrap_or_default()),
                };
            }
            Err(Error::Utf8(_) | Error::Capacity(_)) => break End::Text,
            Err(
                Error::Io(_)
                | Error::Protocol(tungstenite::error::ProtocolError::ResetWithoutClosingHandshake),
            ) => break End::Eof,
            Err(_) => break End::Violation,
        }
    };
    theirs
}

/// Bytes to read; what is written is discarded.
struct Wire<'a>(Cursor<&'a [u8]>);

impl Read for Wire<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.0.read(buffer)
    }
}

impl Write for Wire<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
