//! The device registry, and what devices report.
#![no_main]

use iotstream::fuzzing::{iothub, relay};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    iothub::registry(data);
    relay::page(data);
});
