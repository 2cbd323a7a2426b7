//! Text formats: durations, sizes, patterns, ports, and systemd's units.
#![no_main]

use iotstream::fuzzing::text;
use iotstream_fuzz::Input;
use libfuzzer_sys::fuzz_target;
use wildmatch::WildMatch;

fuzz_target!(|data: &[u8]| {
    let mut input = Input(data);
    let (first, second) = (input.text(), input.text());
    if let Some(time) = text::milliseconds(first) {
        assert!(time <= 36_500 * 86_400_000);
        if first.bytes().all(|byte| byte.is_ascii_digit()) {
            assert_eq!(first.parse::<u128>().ok().map(|seconds| seconds * 1000), Some(time));
        }
    }
    if let Some(bytes) = text::bytes(first)
        && let Ok(plain) = first.parse::<u64>()
    {
        assert_eq!(plain, bytes);
    }
    text::ports(first, second);
    text::public_key(first);
    text::unit(first);
    assert_eq!(text::matches(first, second), WildMatch::new(first).matches(second), "{first:?} {second:?}");
});
