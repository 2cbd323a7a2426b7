//! The exchange of azbridge's preamble, at both ends, over messages and pieces of any length.
#![no_main]

use iotstream::fuzzing::relay::preamble;
use iotstream::fuzzing::tunnel::decode;
use iotstream_fuzz::{Input, Wire, run};
use libfuzzer_sys::fuzz_target;
use tungstenite::protocol::frame::Frame;
use tungstenite::protocol::frame::coding::{Data, OpCode};

fuzz_target!(|data: &[u8]| {
    let mut input = Input(data);
    let (mode, early) = (input.byte(), usize::from(input.byte()));
    let (lengths, messages) = (input.lengths(), input.lengths());
    let is_sender = mode & 1 == 1;
    let stream = input.0;
    let wire = if mode & 2 == 2 { framed(stream, messages) } else { stream.to_vec() };
    let name = is_sender.then_some("ssh");
    let talk = |early: usize, lengths: Box<dyn Iterator<Item = usize> + Send>| {
        let (early, rest) = wire.split_at(early.min(wire.len()));
        run(preamble(Wire::new(rest, lengths), early, name))
    };
    let whole = talk(0, Box::new(std::iter::repeat(usize::MAX)));
    let pieces = talk(early, Box::new(lengths));
    // What a bridge makes of the rest.
    let read = |result: &Result<(String, Vec<u8>), String>| {
        let decoded =
            result.as_ref().map(|(name, rest)| (name.clone(), decode(rest, std::iter::repeat(usize::MAX))));
        decoded.map_err(Clone::clone)
    };
    let (whole, pieces) = (read(&whole), read(&pieces));
    assert_eq!(whole, pieces, "pieces change the exchange");
    if mode & 2 != 2 {
        return;
    }
    let behind = if is_sender {
        stream.strip_prefix(&[1, 0, 0]).map(|rest| ("ssh", rest))
    } else {
        match stream {
            [1, 0, 0, length, rest @ ..] => rest
                .split_at_checked((*length).into())
                .and_then(|(name, rest)| Some((std::str::from_utf8(name).ok()?, rest))),
            _ => None,
        }
    };
    match (whole, behind) {
        (Ok((name, rest)), Some((expected, behind))) => {
            assert_eq!((name.as_str(), rest.data.as_slice(), rest.violation), (expected, behind, None));
        }
        (Err(_), None) => {}
        (whole, behind) => panic!("{whole:?}, where {behind:?} is due"),
    }
});

/// Messages of these lengths, the last of which may be of several frames.
fn framed(stream: &[u8], lengths: impl Iterator<Item = usize>) -> Vec<u8> {
    let (mut wire, mut rest) = (Vec::new(), stream);
    for (at, length) in lengths.enumerate() {
        if rest.is_empty() {
            break;
        }
        let (message, after) = rest.split_at(length.min(rest.len()));
        rest = after;
        let (first, second) = message.split_at(message.len() / 2);
        let (data, more) = (OpCode::Data(Data::Binary), OpCode::Data(Data::Continue));
        let mut put = |frame: Frame| frame.format(&mut wire).expect("a frame");
        match at % 3 {
            0 => put(Frame::message(message.to_vec(), data, true)),
            1 => {
                put(Frame::message(first.to_vec(), data, false));
                put(Frame::ping(vec![1]));
                put(Frame::message(second.to_vec(), more, true));
            }
            _ => {
                put(Frame::message(vec![], data, true));
                put(Frame::message(message.to_vec(), data, true));
            }
        }
    }
    wire
}
