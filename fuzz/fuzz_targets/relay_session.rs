//! A listener's control channel with a service that sends anything, in pieces of any length; and the offers that follow from
//! its messages.
#![no_main]

use std::cell::LazyCell;

use iotstream::fuzzing::relay_listener::{Followed, Listener, channel};
use iotstream_fuzz::{Input, Wire, run};
use libfuzzer_sys::fuzz_target;
use tungstenite::protocol::frame::Frame;
use tungstenite::protocol::frame::coding::{Data, OpCode};

thread_local! {
    static LISTENERS: LazyCell<[Listener; 2]> = LazyCell::new(|| [Listener::new(false), Listener::new(true)]);
}

fuzz_target!(|data: &[u8]| {
    let mut input = Input(data);
    let (mode, most) = (input.byte(), usize::from(input.byte() % 8));
    let lengths = input.lengths();
    let early = usize::from(input.byte());
    let (mut wire, mut texts) = (Vec::new(), Vec::new());
    if mode & 1 == 1 {
        while !input.is_empty() {
            let (kind, text) = (input.byte(), input.text());
            // The address of a service is long: most messages are about its rest.
            let text = if kind & 1 == 0 { text.to_owned() } else { accept(text) };
            match kind % 5 {
                4 => Frame::ping(text.as_bytes()[..text.len().min(125)].to_vec()).format(&mut wire),
                3 => {
                    let at = text.floor_char_boundary(text.len() / 2);
                    let (first, rest) = text.split_at(at);
                    let (data, more) = (OpCode::Data(Data::Text), OpCode::Data(Data::Continue));
                    Frame::message(first.to_owned(), data, false).format(&mut wire).expect("a frame");
                    Frame::ping(vec![]).format(&mut wire).expect("a frame");
                    texts.push(text.clone());
                    Frame::message(rest.to_owned(), more, true).format(&mut wire)
                }
                2 => Frame::message(text.clone(), OpCode::Data(Data::Binary), true).format(&mut wire),
                _ => {
                    texts.push(text.clone());
                    Frame::message(text, OpCode::Data(Data::Text), true).format(&mut wire)
                }
            }
            .expect("a frame");
        }
    } else {
        wire.extend_from_slice(input.0);
    }
    let talk = |early: usize, lengths: Box<dyn Iterator<Item = usize> + Send>| {
        let (early, rest) = wire.split_at(early.min(wire.len()));
        run(channel(Wire::new(rest, lengths), early, r#"{"reply":1}"#, most))
    };
    let (messages, end) = talk(0, Box::new(std::iter::repeat(usize::MAX)));
    let pieces = talk(early, Box::new(lengths));
    assert_eq!(messages, pieces.0, "pieces change the messages: {end}, {}", pieces.1);
    if mode & 1 == 1 {
        assert_eq!(messages, texts, "{end}");
    }
    let is_shared = mode & 2 == 2;
    let follow = || LISTENERS.with(|both| both[usize::from(is_shared)].handle(&messages, mode & 4 == 4));
    let followed = follow();
    assert_eq!(follow(), followed, "the same messages have other consequences");
    for (message, Followed { stream, problem, answer }) in messages.iter().zip(&followed) {
        assert!(stream.is_none() || problem.is_none());
        assert!(answer.is_none() || message.contains("request"), "{message}");
        assert!(stream.is_none() || message.contains("accept"), "{message}");
        if is_shared && stream.is_some() {
            assert!(
                message.to_ascii_lowercase().contains("iotstream-device"),
                "an offer for nobody: {message}"
            );
        }
    }
});

/// An accept message with these members.
fn accept(rest: &str) -> String {
    format!(
        r#"{{"accept":{{"address":"wss://g1-sb.servicebus.windows.net/$hc/site/Gw?sb-hc-action=accept&sb-hc-id=1",{rest}}}}}"#
    )
}
