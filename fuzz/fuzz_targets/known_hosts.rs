//! Public keys, and lines of a known_hosts file.
#![no_main]

use iotstream::fuzzing::{ssh, text};
use iotstream_fuzz::Input;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let mut input = Input(data);
    let (key, name) = (input.text(), input.text());
    text::public_key(key);
    let mut keys = Vec::new();
    while !input.is_empty() {
        keys.push(input.counted());
    }
    ssh::known_hosts(name, &keys);
});
