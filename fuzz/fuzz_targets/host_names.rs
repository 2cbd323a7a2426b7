//! Host names of services, addresses, and patterns of host names.
#![no_main]

use iotstream::fuzzing::{iothub, net, profile, relay};
use iotstream_fuzz::Input;
use libfuzzer_sys::fuzz_target;
use wildmatch::WildMatch;

fuzz_target!(|data: &[u8]| {
    let mut input = Input(data);
    let (name, other, third) = (input.text(), input.text(), input.text());
    iothub::host_name(name);
    relay::namespace(name);
    relay::entity(name, other, third);
    net::proxies(name, other, third);
    let (text, authority) = net::endpoint(name, 443);
    assert_eq!(text, format!("{authority}:443"));
    if name.is_ascii() && other.is_ascii() {
        let theirs = WildMatch::new_case_insensitive(name).matches(other);
        // An empty pattern of theirs matches nothing but the empty name, as ours does.
        assert_eq!(profile::pattern(name, other), theirs, "{name:?} {other:?}");
    }
});
