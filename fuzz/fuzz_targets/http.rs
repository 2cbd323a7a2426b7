//! The answer to an HTTP request, in pieces of any length.
#![no_main]

use iotstream::fuzzing::net::exchange;
use iotstream_fuzz::{Input, Wire, run};
use libfuzzer_sys::fuzz_target;

const LIMIT: usize = 4096;

fuzz_target!(|data: &[u8]| {
    let mut input = Input(data);
    let lengths = input.lengths();
    let ask = |wire| run(exchange(wire, LIMIT));
    let whole = ask(answering(input.0, std::iter::repeat(usize::MAX)));
    let pieces = ask(answering(input.0, lengths));
    match (&whole, &pieces) {
        (Ok(_), Ok(_)) => assert_eq!(whole, pieces, "pieces change the answer"),
        (Err(whole), Err(pieces)) => assert_eq!(whole.is_empty(), pieces.is_empty()),
        _ => panic!("pieces change whether there is an answer: {whole:?}, {pieces:?}"),
    }
    if let Ok((status, body)) = whole {
        let mut headers = [httparse::EMPTY_HEADER; 2000];
        let mut theirs = httparse::Response::new(&mut headers);
        let head = theirs.parse(input.0);
        // An interim answer is skipped.
        if head.is_ok_and(|head| head.is_complete()) && theirs.code.is_some_and(|code| code >= 200) {
            assert_eq!(theirs.code, Some(status));
            assert!(body.len() <= input.0.len());
        }
    }
});

fn answering(bytes: &[u8], lengths: impl Iterator<Item = usize> + Send + 'static) -> Wire {
    let bytes = bytes.to_vec();
    Wire::answering(move |_| bytes, lengths)
}
