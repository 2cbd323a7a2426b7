//! An SSH server's side of a key exchange, in pieces of any length.
#![no_main]

use iotstream::fuzzing::ssh::server;
use iotstream_fuzz::{Input, Wire, run};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let mut input = Input(data);
    let lengths = input.lengths();
    let whole = run(server(Wire::new(input.0, std::iter::repeat(usize::MAX))));
    let pieces = run(server(Wire::new(input.0, lengths)));
    assert_eq!(whole, pieces, "pieces change the answer");
    // A signature of our random numbers is none that a file can hold.
    let problem = whole.err().filter(|problem| !problem.contains(char::is_control));
    assert!(problem.is_some_and(|problem| problem.len() < 4096));
});
