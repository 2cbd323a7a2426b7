//! The topics of offers to a device.
#![no_main]

use iotstream::fuzzing::iothub::offer;
use iotstream_fuzz::text;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let text = text(data);
    offer(text);
    offer(&format!("$iothub/streams/POST/{text}"));
});
