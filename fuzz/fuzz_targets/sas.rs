//! Shared access signatures of hubs, relays and provisioning services.
#![no_main]

use iotstream::fuzzing::{iothub, provisioning, relay};
use iotstream_fuzz::Input;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let mut input = Input(data);
    let token = input.text();
    for text in [token, &format!("SharedAccessSignature {token}")] {
        iothub::sas_text(text);
        relay::sas_text(text);
        provisioning::token(text);
    }
    let (resource, name) = (input.text(), input.text());
    let expiry = u64::from(input.byte()) << (input.byte() % 57);
    let key = input.counted();
    iothub::sas(resource, key, expiry, Some(name));
    relay::sas(resource, input.text(), expiry, name);
    provisioning::registration(resource, key, expiry);
});
