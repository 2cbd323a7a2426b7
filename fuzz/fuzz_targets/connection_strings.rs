//! Connection strings of hubs, devices and relays, in any form that users paste.
#![no_main]

use iotstream::fuzzing::{iothub, relay};
use iotstream_fuzz::Input;
use libfuzzer_sys::fuzz_target;

const KEY: &str = "c4n4ryS3cretK3yW1thBase64AndThirtyTwoBytes==";

fuzz_target!(|data: &[u8]| {
    let mut input = Input(data);
    let text = input.text();
    iothub::connection_string(text);
    relay::connection_string(text);
    let after = input.text();
    for part in [
        "SharedAccessKey=",
        "sharedaccesskey =",
        "SharedAccessSignature=SharedAccessSignature sr=h&se=1&sig=",
        "",
    ] {
        let pasted = format!("{text}{part}{KEY}{after}");
        for problem in
            [iothub::connection_string(&pasted), relay::connection_string(&pasted)].into_iter().flatten()
        {
            assert!(!problem.contains("c4n4ry"), "{problem}");
        }
    }
});
