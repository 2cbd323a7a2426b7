//! The answers of the IoT Identity Service.
#![no_main]

use iotstream::fuzzing::identity_service::answer;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    if let Some((handle, shown)) = answer(data)
        && handle.len() >= 16
    {
        let names = shown.replace(&handle, "");
        assert!(names != shown || !shown.contains(&handle));
        assert!(shown.ends_with("[hidden]"), "the handle is shown");
    }
});
