//! What an agent reports in the reported properties of its twin, and the patch that makes it so:
//!
//! `{"iotstream":{"agent":"0.2.0","streams":{"s0":{"name":"ssh","keys":{"k0":"ssh-ed25519 AAAA…"}}}}}`
//!
//! `"ports":"80, 8000-8999"` in a stream limits a pattern. Lists are objects with numbered slots, because earlier
//! api-versions lose arrays \[I].

use serde_json::{Map, Value};

use crate::backend::{HostKeys, Report, StreamReport};
use crate::text::public_key::PublicKey;

/// The agent's part of the reported properties. The rest belongs to other programs.
const PART: &str = "iotstream";

/// The limits of reported properties in bytes \[D]: of a string, and of all together. The hub counts without the
/// punctuation of JSON, which leaves a margin.
const MAX_STRING: usize = 4 << 10;
const MAX_SIZE: usize = 31 << 10;

/// The longest name of a stream, and the longest list of ports, in bytes.
const MAX_NAME: usize = 1 << 10;

/// The stream that keeps its keys longest where there is no room for all.
const SSH: &str = "ssh";

/// What a report changes in the reported properties.
#[derive(Debug)]
pub(crate) struct Change {
    /// The smallest JSON merge patch (RFC 7396); `None` if nothing changes.
    pub patch: Option<Value>,
    /// The reported properties with the patch.
    pub after: Value,
    /// What the report says and the twin cannot hold.
    pub left_out: Vec<String>,
}

/// The host keys that are in reported properties, in words.
pub(crate) fn host_keys(reported: &Value) -> String {
    let streams = reported[PART]["streams"].as_object().into_iter().flatten();
    let counts = streams.filter_map(|(_, stream)| {
        let (name, count) = (stream["name"].as_str()?, stream["keys"].as_object()?.len());
        let keys = if count == 1 { "host key" } else { "host keys" };
        Some(format!("{count} {keys} of {}", shown(name)))
    });
    let counts: Vec<_> = counts.collect();
    if counts.is_empty() { "no host keys".into() } else { counts.join(", ") }
}

impl Change {
    /// What `report` of an agent of this `version` changes in the `current` reported properties. The streams of the report
    /// are numbered in its order; a host key stays in its slot.
    pub(crate) fn new(current: &Value, report: &Report, version: &str) -> Self {
        let (mut others, mut left_out) = (Map::new(), Vec::new());
        if let Some(current) = current.as_object() {
            let foreign = current.iter().filter(|(key, _)| *key != PART && !is_hubs(key));
            others.extend(foreign.map(|(key, value)| (key.clone(), value.clone())));
        }
        let (mut streams, mut unnamed) = (Vec::new(), usize::MAX);
        for (at, stream) in report.streams.iter().enumerate() {
            let ports = stream.ports.as_ref().map(ToString::to_string).unwrap_or_default();
            if stream.name.len().max(ports.len()) <= MAX_NAME && !stream.name.contains(char::is_control) {
                let stream = described(stream, &current[PART]["streams"], &slot(at), &mut left_out);
                streams.push((at, stream));
            } else {
                unnamed = unnamed.min(at);
                left_out.push(shown(&stream.name));
            }
        }
        let part = fitted(streams, unnamed, version, size(&others.clone().into()), &mut left_out);
        let patch = match (current.get(PART), &part) {
            (Some(current), Some(part)) => difference(current, part),
            (None, Some(part)) => Some(part.clone()),
            (Some(_), None) => Some(Value::Null),
            (None, None) => None,
        };
        let after = others.into_iter().chain(part.map(|part| (PART.into(), part)));
        Self { patch: patch.map(|patch| object([(PART, patch)])), after: after.collect(), left_out }
    }
}

/// The agent's part with as many of the `streams` as fit beside `others` bytes: first `ssh` with its keys, then those with
/// keys, then the names. `None` if there is room for nothing.
///
/// `unnamed` is the first stream that is left out already. A pattern after one that is left out is left out too: it would
/// stand for that stream, with the keys of another target.
fn fitted(
    mut streams: Vec<(usize, Value)>,
    unnamed: usize,
    version: &str,
    others: usize,
    left_out: &mut Vec<String>,
) -> Option<Value> {
    let empty = object([("agent", version.into()), ("streams", Map::new().into())]);
    let Some(mut room) = MAX_SIZE.checked_sub(others + size(&object([(PART, empty)]))) else {
        left_out.push("all of it".into());
        return None;
    };
    streams.sort_by_key(|(_, stream)| match stream.get("keys") {
        Some(_) if stream["name"] == SSH => 0,
        Some(_) => 1,
        None => 2,
    });
    let mut first_gone = unnamed;
    streams.retain(|(at, stream)| {
        let size = size(&object([(slot(*at), stream.clone())]));
        let left = room.checked_sub(size);
        if left.is_none() {
            first_gone = first_gone.min(*at);
            left_out.push(shown(name(stream)));
        }
        room = left.unwrap_or(room);
        left.is_some()
    });
    streams.retain(|(at, stream)| {
        let stands_for_one = *at > first_gone && name(stream).contains(['*', '?']);
        if stands_for_one {
            left_out.push(shown(name(stream)));
        }
        !stands_for_one
    });
    let mut part = object([("agent", version.into())]);
    if !streams.is_empty() {
        part["streams"] = streams.into_iter().map(|(at, stream)| (slot(at), stream)).collect();
    }
    Some(part)
}

/// A stream as the twin has it, in the `slot`. `before` are the streams in the twin.
fn described(stream: &StreamReport, before: &Value, slot: &str, left_out: &mut Vec<String>) -> Value {
    let ports = stream.ports.as_ref().map(ToString::to_string);
    let old = old_keys(before, slot, &stream.name, ports.as_deref());
    let wanted = match &stream.keys {
        HostKeys::Untold => old.iter().map(|(_, key)| key.clone()).collect(),
        HostKeys::Known(keys) => keys.clone(),
    };
    let (mut keys, mut new) = (Map::new(), Vec::new());
    for key in wanted {
        let text = key.to_string();
        if text.len() > MAX_STRING {
            left_out.push(format!("{} of {}", key.fingerprint(), shown(&stream.name)));
        } else if let Some((slot, _)) = old.iter().find(|(slot, old)| *old == key && is_key_slot(slot)) {
            keys.insert(slot.clone(), text.into());
        } else if !new.contains(&text) {
            new.push(text);
        }
    }
    let mut slots = (0..).map(|at| format!("k{at}"));
    for text in new {
        let free = slots.find(|slot| !keys.contains_key(slot));
        keys.extend(free.map(|slot| (slot, text.into())));
    }
    let mut described = object([("name", stream.name.as_str().into())]);
    if let Some(ports) = ports {
        described["ports"] = ports.into();
    }
    if !keys.is_empty() {
        described["keys"] = keys.into();
    }
    described
}

/// The host keys that the twin has for a stream, with their slots. Another slot of the stream counts too: its place in the
/// configuration may have changed.
fn old_keys(before: &Value, slot: &str, name: &str, ports: Option<&str>) -> Vec<(String, PublicKey)> {
    let is_it = |stream: &&Value| stream["name"] == name && stream["ports"].as_str() == ports;
    let all = || before.as_object()?.values().find(is_it);
    let keys = before.get(slot).filter(is_it).or_else(all).and_then(|stream| stream["keys"].as_object());
    let key = |(slot, key): (&String, &Value)| Some((slot.clone(), PublicKey::parse(key.as_str()?)?));
    keys.into_iter().flatten().filter_map(key).collect()
}

/// Whether a key can stay in the slot: `k0`, `k1` and so on.
fn is_key_slot(slot: &str) -> bool {
    let number = slot.strip_prefix('k').and_then(|number| number.parse::<u16>().ok());
    number.is_some_and(|number| slot == format!("k{number}"))
}

/// The merge patch that makes `wanted` of `current`. Neither `wanted` nor the patch within it contains a null.
fn difference(current: &Value, wanted: &Value) -> Option<Value> {
    let (Value::Object(old), Value::Object(new)) = (current, wanted) else {
        return (current != wanted).then(|| wanted.clone());
    };
    let gone = old.keys().filter(|key| !new.contains_key(*key) && !is_hubs(key));
    let mut patch: Map<_, _> = gone.map(|key| (key.clone(), Value::Null)).collect();
    for (key, value) in new {
        let change = match old.get(key) {
            Some(old) => difference(old, value),
            None => Some(value.clone()),
        };
        patch.extend(change.map(|change| (key.clone(), change)));
    }
    (!patch.is_empty()).then(|| patch.into())
}

/// The slot of a stream.
fn slot(at: usize) -> String {
    format!("s{at}")
}

/// The name in the description of a stream.
fn name(stream: &Value) -> &str {
    stream["name"].as_str().unwrap_or_default()
}

/// A stream in words.
fn shown(name: &str) -> String {
    format!("stream {name:.60}")
}

/// Whether a property is the hub's own, such as `$version`.
fn is_hubs(key: &str) -> bool {
    key.starts_with('$')
}

fn size(value: &Value) -> usize {
    value.to_string().len()
}

fn object<K: AsRef<str>, const N: usize>(members: [(K, Value); N]) -> Value {
    members.into_iter().map(|(key, value)| (key.as_ref().to_owned(), value)).collect()
}

/// A JSON merge patch (RFC 7396, section 2).
#[cfg(test)]
pub(crate) fn merged(target: Value, patch: &Value) -> Value {
    let Value::Object(patch) = patch else { return patch.clone() };
    let mut merged_object = match target {
        Value::Object(target) => target,
        _ => Map::new(),
    };
    for (key, value) in patch {
        let old = merged_object.remove(key).unwrap_or_default();
        if !value.is_null() {
            merged_object.insert(key.clone(), merged(old, value));
        }
    }
    merged_object.into()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::text::ports::Ports;
    use proptest::collection::{btree_map, vec};
    use proptest::prelude::*;
    use serde_json::json;

    const VERSION: &str = "0.2.0";

    fn key(number: u8) -> PublicKey {
        let body: &[u8] = &[0, 0, 0, 1, number];
        PublicKey::of_blob(&[&[0, 0, 0, 11], &b"ssh-ed25519"[..], body].concat()).unwrap()
    }

    fn text(number: u8) -> String {
        key(number).to_string()
    }

    fn known(name: &str, numbers: &[u8]) -> StreamReport {
        let keys = HostKeys::Known(numbers.iter().copied().map(key).collect());
        StreamReport { name: name.into(), ports: None, keys }
    }

    fn untold(name: &str) -> StreamReport {
        StreamReport { name: name.into(), ports: None, keys: HostKeys::Untold }
    }

    fn change(current: &Value, streams: &[StreamReport]) -> Change {
        Change::new(current, &Report { streams: streams.to_vec() }, VERSION)
    }

    fn patch(current: &Value, streams: &[StreamReport]) -> Option<Value> {
        let change = change(current, streams);
        assert_eq!(change.left_out, Vec::<String>::new());
        change.patch
    }

    #[test]
    fn no_pattern_stands_for_a_stream_that_is_left_out() {
        let others = json!({ "other": "x".repeat(MAX_SIZE - 2000) });
        let long = |name: &str| known(name, &[7; 1]);
        let many: Vec<_> = (0..40).map(|at| long(&format!("tcp-{at}"))).collect();
        let streams = [&[untold("echo-*")][..], &many, &[untold("tcp-*"), untold("web")]].concat();
        let change = change(&others, &streams);
        let names: Vec<_> = change.after[PART]["streams"].as_object().unwrap().values().map(name).collect();
        assert!(change.left_out.len() > 1 && names.contains(&"tcp-0"), "{names:?}");
        assert!(!names.contains(&"tcp-*"), "{names:?}");
        let bad = super::Change::new(
            &json!({}),
            &Report {
                streams: vec![known("*", &[1]), known("a\nb", &[2]), known("b*", &[3]), known("c", &[4])],
            },
            VERSION,
        );
        let names: Vec<_> = bad.after[PART]["streams"].as_object().unwrap().values().map(name).collect();
        assert_eq!((names, bad.left_out.len()), (vec!["*", "c"], 2));
    }

    #[test]
    fn counts_the_reported_host_keys() {
        let after = change(&json!({}), &[known("ssh", &[1]), known("web", &[2, 3]), untold("echo")]).after;
        assert_eq!(host_keys(&after), "1 host key of stream ssh, 2 host keys of stream web");
        assert_eq!(host_keys(&json!({})), "no host keys");
    }

    #[test]
    fn the_layout_is_the_contract() {
        let of_ports = StreamReport { ports: Ports::parse("80, 8000-8999"), ..untold("tcp-*") };
        let first =
            patch(&json!({ "$version": 1 }), &[known("ssh", &[1, 2]), of_ports.clone(), untold("tcp-*")]);
        let expected = json!({ "iotstream": { "agent": VERSION, "streams": {
            "s0": { "name": "ssh", "keys": { "k0": text(1), "k1": text(2) } },
            "s1": { "name": "tcp-*", "ports": "80, 8000-8999" },
            "s2": { "name": "tcp-*" },
        } } });
        assert_eq!(first, Some(expected));
        let too_many = StreamReport { ports: Ports::parse(&"8000-8999, ".repeat(94)[..1032]), ..of_ports };
        let change = change(&json!({}), &[too_many, known("tcp-*", &[1]), known("ssh", &[2])]);
        assert_eq!(change.left_out.len(), 2, "{:?}", change.left_out);
        let told = change.patch.unwrap();
        assert_eq!(told["iotstream"]["streams"].as_object().unwrap().len(), 1, "{told}");
    }

    #[test]
    fn only_what_differs_is_written() {
        let current = |streams: Value| json!({ "iotstream": { "agent": VERSION, "streams": streams } });
        let streams =
            json!({ "s0": { "name": "ssh", "keys": { "k0": text(1), "k1": text(2), "k2": text(3) } } });
        let before = current(streams);
        let patched = |streams: &[StreamReport]| patch(&before, streams);
        assert_eq!(patched(&[known("ssh", &[3, 1, 2, 2])]), None);
        assert_eq!(patched(&[untold("ssh")]), None);
        let keys = |keys: Value| Some(json!({ "iotstream": { "streams": { "s0": { "keys": keys } } } }));
        // A key that stays keeps its slot, and a new one takes the first that is free.
        assert_eq!(patched(&[known("ssh", &[3, 4])]), keys(json!({ "k0": text(4), "k1": null })));
        assert_eq!(patched(&[known("ssh", &[])]), keys(Value::Null));
        // A stream that moves takes its keys along.
        let moved = json!({
            "s0": { "name": "web", "keys": null },
            "s1": { "name": "ssh", "keys": { "k0": text(1), "k1": text(2), "k2": text(3) } },
        });
        let moved = Some(json!({ "iotstream": { "streams": moved } }));
        assert_eq!(patched(&[untold("web"), untold("ssh")]), moved);
        // A stream that is gone leaves nothing to trust.
        let gone = Some(json!({ "iotstream": { "streams": { "s0": { "name": "web", "keys": null } } } }));
        assert_eq!(patched(&[untold("web")]), gone);
    }

    #[test]
    fn what_is_left_by_other_versions_or_strangers_goes() {
        let hostile = json!({ "iotstream": {
            "agent": ["9"], "future": { "x": 1 }, "streams": {
                "s0": { "name": "ssh", "port": 22, "keys": {
                    "k0": format!("{} root@gw", text(1)), "k1": "@revoked", "k01": text(2), "x": text(3), "k2": null } },
                "s1": { "name": "ssh", "keys": { "k0": text(9) } },
                "s9": 7,
            } }, "other": { "k": [1] }, "$version": 4 });
        let expected = json!({ "iotstream": { "agent": VERSION, "future": null, "streams": {
            "s0": { "port": null, "keys": { "k0": text(1), "k1": text(2), "k01": null, "x": null, "k2": text(3) } },
            "s1": null, "s9": null,
        } } });
        assert_eq!(patch(&hostile, &[untold("ssh")]), Some(expected));
        for current in
            [json!(null), json!([]), json!({ "iotstream": 1 }), json!({ "iotstream": { "streams": "x" } })]
        {
            let change = change(&current, &[known("ssh", &[1])]);
            let streams = &change.patch.unwrap()["iotstream"]["streams"];
            assert_eq!(streams["s0"]["keys"]["k0"], text(1), "{current}");
        }
    }

    #[test]
    fn what_does_not_fit_is_left_out() {
        let names = |count: usize| (0..count).map(|at| untold(&format!("{at}-{}", "n".repeat(1000))));
        let ssh = || known("ssh", &[1]);
        let filled: Vec<_> = names(20).chain([known("other", &[2]), ssh()]).collect();
        assert_eq!(change(&json!({}), &filled).left_out.len(), 0);
        let others = json!({ "other": "x".repeat(30 << 10) });
        let tight = change(&others, &filled);
        assert_eq!(tight.left_out.len(), 20, "{:?}", tight.left_out);
        let streams = tight.patch.unwrap()["iotstream"]["streams"].clone();
        assert_eq!(streams.as_object().unwrap().keys().collect::<Vec<_>>(), ["s20", "s21"]);
        // Room for one more key: that of ssh.
        let others = json!({ "other": "x".repeat(MAX_SIZE - 160) });
        let tighter = change(&others, &filled);
        assert_eq!(tighter.patch.unwrap()["iotstream"]["streams"].as_object().unwrap().len(), 1);
        assert!(!tighter.left_out.contains(&"stream ssh".to_owned()), "{:?}", tighter.left_out);
        // Room for nothing: what was reported must not stay.
        let full = json!({ "other": "x".repeat(MAX_SIZE), "iotstream": { "agent": "0" } });
        let none = change(&full, &filled);
        assert_eq!(
            (none.patch, none.left_out),
            (Some(json!({ "iotstream": null })), vec!["all of it".to_owned()])
        );
        assert_eq!(change(&json!({ "other": "x".repeat(MAX_SIZE) }), &filled).patch, None);

        let long = PublicKey::of_blob(&[&[0, 0, 0, 1, b'x'][..], &[7; 4000]].concat()).unwrap();
        let wrong =
            StreamReport { name: "ssh".into(), ports: None, keys: HostKeys::Known(vec![long, key(1)]) };
        let wrong = change(&json!({}), &[untold("a\nb"), untold(&"n".repeat(1025)), wrong]);
        assert_eq!(wrong.left_out.len(), 3, "{:?}", wrong.left_out);
        let streams = json!({ "s2": { "name": "ssh", "keys": { "k0": text(1) } } });
        assert_eq!(wrong.patch.unwrap()["iotstream"]["streams"], streams);
    }

    fn reports() -> impl Strategy<Value = Report> {
        let keys = prop_oneof![
            Just(HostKeys::Untold),
            vec(0..6_u8, 0..5).prop_map(|keys| HostKeys::Known(keys.into_iter().map(key).collect())),
        ];
        let stream =
            ("ssh|a|b|c*|\\x07", keys).prop_map(|(name, keys)| StreamReport { name, ports: None, keys });
        vec(stream, 0..5).prop_map(|streams| Report { streams })
    }

    /// Reported properties of any shape, among them those of an agent.
    fn twins() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            (0..6_u8).prop_map(|number| text(number).into()),
            "ssh|a|b|c\\*|@revoked|.{0,9}".prop_map(Value::from),
        ];
        let name = "iotstream|streams|agent|name|keys|s[0-4]|k[0-9]|k0[0-9]|other";
        let any = leaf.prop_recursive(6, 40, 6, move |inner| {
            prop_oneof![
                vec(inner.clone(), 0..3).prop_map(Value::from),
                btree_map(name, inner, 0..6).prop_map(|map| map.into_iter().collect()),
            ]
        });
        let written =
            (reports(), any.clone()).prop_map(|(report, before)| Change::new(&before, &report, "9").after);
        prop_oneof![any, written]
    }

    fn keys_of(reported: &Value, name: &str) -> BTreeSet<String> {
        let streams = reported["iotstream"]["streams"].as_object().into_iter().flatten();
        let found = streams.filter(|(_, stream)| stream["name"] == name);
        let keys = found.filter_map(|(_, stream)| stream["keys"].as_object()).flatten();
        keys.filter_map(|(_, key)| Some(PublicKey::parse(key.as_str()?)?.to_string())).collect()
    }

    proptest! {
        #[test]
        fn the_patch_makes_exactly_what_is_wanted(current in twins(), report in reports()) {
            let change = Change::new(&current, &report, VERSION);
            let patch = change.patch.clone().unwrap_or(json!({}));
            prop_assert!(patch.as_object().unwrap().keys().all(|key| key == PART));
            let is_object = current.is_object();
            prop_assert_eq!(merged(current.clone(), &patch), change.after.clone());
            if is_object {
                let mut others = current.clone();
                others.as_object_mut().unwrap().remove(PART);
                let mut after = change.after.clone();
                after.as_object_mut().unwrap().remove(PART);
                prop_assert_eq!(after, others);
            }
            prop_assert_eq!(Change::new(&change.after, &report, VERSION).patch, None);
            for stream in &report.streams {
                let is_only = report.streams.iter().filter(|other| other.name == stream.name).count() == 1;
                if is_only && !stream.name.contains(char::is_control) {
                    let reported = keys_of(&change.after, &stream.name);
                    match &stream.keys {
                        HostKeys::Known(keys) => {
                            prop_assert_eq!(reported, keys.iter().map(ToString::to_string).collect::<BTreeSet<_>>());
                        }
                        HostKeys::Untold => prop_assert!(reported.is_subset(&keys_of(&current, &stream.name))),
                    }
                }
            }
        }

        #[test]
        fn a_target_that_tells_nothing_loses_no_key(first in reports(), second in reports()) {
            let before = Change::new(&json!({}), &first, VERSION).after;
            let after = Change::new(&before, &second, VERSION).after;
            for stream in second.streams.iter().filter(|stream| stream.keys == HostKeys::Untold) {
                let once = |report: &Report| report.streams.iter().filter(|other| other.name == stream.name).count() == 1;
                if once(&first) && once(&second) {
                    prop_assert_eq!(keys_of(&after, &stream.name), keys_of(&before, &stream.name));
                }
            }
        }
    }
}
