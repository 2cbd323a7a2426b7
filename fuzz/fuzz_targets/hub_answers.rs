//! A hub's answer to a request for a stream.
#![no_main]

use iotstream::fuzzing::iothub;
use iotstream_fuzz::answer;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let (status, headers, body) = answer(data);
    iothub::answer(status, &headers, body);
});
