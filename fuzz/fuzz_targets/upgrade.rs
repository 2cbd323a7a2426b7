//! The answer to an upgrade, in pieces of any length. `{accept}` in it stands for the value that matches the request's key.
#![no_main]

use iotstream::fuzzing::net::{Upgraded, upgrade};
use iotstream_fuzz::{Input, Wire, run};
use libfuzzer_sys::fuzz_target;
use tungstenite::handshake::derive_accept_key;

fuzz_target!(|data: &[u8]| {
    let mut input = Input(data);
    let lengths = input.lengths();
    let whole = ask(input.0, std::iter::repeat(usize::MAX));
    let pieces = ask(input.0, lengths);
    assert_eq!(whole, pieces, "pieces change the answer");
    if let Upgraded::Open((), behind) = whole {
        let head = input.0.len() - behind.len();
        let is_head = |head: &[u8]| head.ends_with(b"\n\r\n") || head.ends_with(b"\n\n");
        assert!(input.0.ends_with(&behind) && is_head(&input.0[..head]), "bytes behind the head are lost");
        let head = String::from_utf8_lossy(&input.0[..head]).to_ascii_lowercase();
        assert!(head.contains("101") && head.contains("{accept}") && head.contains("websocket"), "{head}");
    }
});

/// What an upgrade ends with, and all bytes behind the head.
fn ask(answer: &[u8], lengths: impl Iterator<Item = usize> + Send + 'static) -> Upgraded<()> {
    let answer = answer.to_vec();
    let answering = move |request: &[u8]| {
        let request = String::from_utf8_lossy(request).into_owned();
        let key = request.lines().find_map(|line| {
            line.to_ascii_lowercase().starts_with("sec-websocket-key: ").then(|| line[19..].to_owned())
        });
        let accept = derive_accept_key(key.expect("a key").as_bytes());
        // A refusal's text must not depend on the key, which is new in each request.
        let is_accepted = answer.starts_with(b"HTTP/1.1 101");
        let at = answer.windows(8).position(|part| is_accepted && part == b"{accept}");
        match at {
            Some(at) => [&answer[..at], accept.as_bytes(), &answer[at + 8..]].concat(),
            None => answer,
        }
    };
    match run(upgrade(Wire::answering(answering, lengths))) {
        Upgraded::Open(wire, early) => Upgraded::Open((), [early, wire.rest()].concat()),
        Upgraded::Refused(status, reason) => Upgraded::Refused(status, reason),
        // The text depends on whether hyper saw the end.
        Upgraded::Failed(_) => Upgraded::Failed(String::new()),
    }
}
