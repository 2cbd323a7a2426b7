//! The patch that an agent sends to its twin, against a JSON merge patch of another implementation.
#![no_main]

use iotstream::fuzzing::iothub::report;
use iotstream_fuzz::Input;
use libfuzzer_sys::fuzz_target;
use serde_json::{Map, Value};

fuzz_target!(|data: &[u8]| {
    let mut input = Input(data);
    let current: Value = serde_json::from_str(input.text()).unwrap_or_default();
    let current = if current.is_object() { current } else { Value::Object(Map::new()) };
    let mut streams = Vec::new();
    while !input.is_empty() && streams.len() < 40 {
        let (name, ports) = (input.text(), input.text());
        let keys: Option<Vec<&[u8]>> =
            input.bit().then(|| (0..input.byte() % 4).map(|_| input.counted()).collect());
        streams.push((name, Some(ports).filter(|ports| !ports.is_empty()), keys));
    }
    let given: Vec<_> = streams.iter().map(|(name, ports, keys)| (*name, *ports, keys.as_deref())).collect();
    let (patch, after) = report(&current, &given);
    let mut patched = current.clone();
    if let Some(patch) = &patch {
        json_patch::merge(&mut patched, patch);
        assert!(patch.as_object().is_some_and(|patch| patch.keys().all(|key| key == "iotstream")), "{patch}");
    }
    // What is the hub's own does not count.
    assert_eq!(without_hubs(patched, 0), without_hubs(after.clone(), 0), "{patch:?}");
    if patch.is_some() {
        assert!(after.to_string().len() <= 32 * 1024 + current.to_string().len());
    }
});

fn without_hubs(value: Value, depth: usize) -> Value {
    match value {
        Value::Object(members) if depth < 6 => {
            let kept = members.into_iter().filter(|(key, _)| !key.starts_with('$'));
            kept.map(|(key, value)| (key, without_hubs(value, depth + 1))).collect()
        }
        value => value,
    }
}
