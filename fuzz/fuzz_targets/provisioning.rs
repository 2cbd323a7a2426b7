//! The answers of a provisioning service, and registration ids.
#![no_main]

use iotstream::fuzzing::provisioning;
use iotstream_fuzz::{Input, answer};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let (status, headers, body) = answer(data);
    provisioning::answer(status, &headers, body);
    let mut input = Input(data);
    let (id, key) = (input.text(), input.counted());
    provisioning::registration(id, key, u64::from(input.byte()) << 32);
});
