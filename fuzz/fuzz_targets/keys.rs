//! Certificates and keys in files, and the content of files.
#![no_main]

use iotstream::fuzzing::{net, text};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    text::content(data);
    if let Some((from, to, name)) = net::certificate(data) {
        // The year 9999 ends there.
        assert!(from <= 253_402_300_799 && to <= 253_402_300_799, "{from} {to} {name:?}");
    }
    match net::sections(data) {
        Ok(sections) => {
            let length: usize = sections.iter().map(|(label, der)| label.len() + der.len()).sum();
            assert!(length <= data.len() * 3, "more comes out than goes in");
            for (_, der) in sections {
                net::certificate(&der);
            }
        }
        Err(problem) => assert!(problem.len() <= 3 * data.len() + 100),
    }
});
