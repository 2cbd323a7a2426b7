//! Files in the state directory and the data directory.
#![no_main]

use iotstream::fuzzing::state;
use iotstream_fuzz::{Input, text};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    state::pins(data);
    state::copies(text(data));
    let mut input = Input(data);
    let (now, rate, device) = (u32::from(input.byte()) << 22, input.byte(), input.text());
    state::starts(input.0, now, rate.into());
    state::devices_without_module(text(input.0), now.into(), device);
});
