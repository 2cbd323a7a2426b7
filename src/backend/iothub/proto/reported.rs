//! What an agent reports in the twin of its identity, as `properties.reported.iotstream`:
//!
//! `{"agent":"0.2.0","streams":{"s0":{"name":"ssh","keys":{"k0":"ssh-ed25519 AAAA…","k1":null}}}}`
//!
//! A stream may have `"ports":"80, 8000-8999"`, which limits its pattern. The layout is a contract, because old agents meet
//! new callers and the other way round. Slots are in the order of their numbers, and null is an unused one. The device
//! writes its twin, so that anything may be in there: what does not have this layout is ignored piece by piece.

use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Map, Value};

use super::Malformed;
use crate::backend::report::{Reported, ReportedKey, ReportedStream};
use crate::error::escape;
use crate::text::ports::Ports;
use crate::text::public_key::PublicKey;

/// The longest report in bytes, which is that of all reported properties \[D].
const LONGEST: usize = 32 * 1024;

/// The longest name of a stream in bytes.
const LONGEST_NAME: usize = 1024;

/// The longest version of an agent in characters.
const LONGEST_VERSION: usize = 64;

/// The longest time in bytes.
const LONGEST_TIME: usize = 40;

/// The agent's part of a twin's reported properties, and of their metadata.
#[derive(Clone, Copy, Debug, Default, Deserialize)]
struct Part<'a> {
    #[serde(borrow)]
    iotstream: Option<&'a RawValue>,
    #[serde(borrow, rename = "$metadata")]
    metadata: Option<&'a RawValue>,
}

/// Parses the twin of `device`.
///
/// # Errors
/// Returns [`Malformed`] if `body` is not a twin.
pub(crate) fn of_twin(device: String, body: &[u8]) -> Result<Reported, Malformed> {
    #[derive(Deserialize)]
    struct Twin<'a> {
        #[serde(borrow)]
        properties: Option<&'a RawValue>,
    }
    let twin: Twin<'_> = serde_json::from_slice(body).map_err(|_| Malformed::new("the answer is no twin"))?;
    Ok(of_properties(device, twin.properties))
}

/// Parses the `properties` of the twin of `device`.
pub(super) fn of_properties(device: String, properties: Option<&RawValue>) -> Reported {
    #[derive(Deserialize)]
    struct Properties<'a> {
        #[serde(borrow)]
        reported: Option<&'a RawValue>,
    }
    let reported = properties.and_then(|raw| Properties::deserialize(raw).ok()?.reported);
    let part = reported.and_then(|raw| Part::deserialize(raw).ok()).unwrap_or_default();
    let metadata = part.metadata.and_then(|raw| Part::deserialize(raw).ok()).unwrap_or_default();
    report(device, part.iotstream, metadata.iotstream)
}

/// Parses the report of `device` alone.
pub(super) fn of_report(device: String, iotstream: Option<&RawValue>) -> Reported {
    report(device, iotstream, None)
}

/// Parses the report of `device`, with the metadata that tells when each value was reported.
fn report(device: String, report: Option<&RawValue>, metadata: Option<&RawValue>) -> Reported {
    let report = report.filter(|raw| raw.get().len() <= LONGEST);
    let value = |raw: Option<&RawValue>| raw.and_then(|raw| Value::deserialize(raw).ok()).unwrap_or_default();
    let (report, metadata) = (value(report), value(metadata));
    let agent = report["agent"].as_str().map(|version| {
        let version: String = version.chars().take(LONGEST_VERSION).collect();
        escape(&version)
    });
    let mut streams: Vec<ReportedStream> = Vec::new();
    for (slot, entry) in slots(&report["streams"], 's') {
        let Some(name) = entry["name"].as_str().filter(|name| is_name(name)) else { continue };
        let ports = entry["ports"].as_str().filter(|ports| ports.len() <= LONGEST_NAME);
        let ports = ports.and_then(Ports::parse);
        if entry.get("ports").is_some() && ports.is_none() {
            continue;
        }
        if streams.iter().all(|stream| stream.name != name || stream.ports != ports) {
            let keys = keys(&entry["keys"], &metadata["streams"][slot]["keys"]);
            streams.push(ReportedStream { name: name.to_owned(), ports, keys });
        }
    }
    Reported { device, agent, streams }
}

/// The host keys of a stream.
fn keys(keys: &Value, metadata: &Value) -> Vec<ReportedKey> {
    let mut found: Vec<ReportedKey> = Vec::new();
    for (slot, key) in slots(keys, 'k') {
        // An agent writes no comment.
        let parsed =
            key.as_str().and_then(|text| PublicKey::parse(text).filter(|key| key.to_string() == text));
        let Some(key) = parsed else { continue };
        if found.iter().all(|known| known.key != key) {
            let since = metadata[slot]["$lastUpdated"].as_str().filter(|time| is_time(time));
            found.push(ReportedKey { key, since: since.map(str::to_owned) });
        }
    }
    found
}

/// The members of an object that are named `kind` and a number, in the order of the numbers.
fn slots(object: &Value, kind: char) -> impl Iterator<Item = (&str, &Value)> {
    let members = object.as_object().into_iter().flat_map(Map::iter);
    let mut slots: Vec<(u32, &str, &Value)> = members
        .filter_map(|(name, value)| {
            let number = name.strip_prefix(kind)?;
            let is_number = number.bytes().all(|byte| byte.is_ascii_digit());
            Some((number.parse().ok().filter(|_| is_number)?, name.as_str(), value))
        })
        .collect();
    slots.sort_unstable_by_key(|&(number, name, _)| (number, name));
    slots.into_iter().map(|(_, name, value)| (name, value))
}

fn is_name(name: &str) -> bool {
    (1..=LONGEST_NAME).contains(&name.len()) && !name.contains(char::is_control)
}

/// Whether `text` has the characters of a time in ISO 8601.
fn is_time(text: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_digit() || b"-:.TZ+".contains(&byte);
    (1..=LONGEST_TIME).contains(&text.len()) && text.bytes().all(allowed)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    /// From `ssh-keygen`.
    const KEY: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIIVtFrHytwaZL3m9OUD8cc+0fKjIcD9TeQjPH4JYN4pf";
    const OTHER: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAABAgMEBQYHCAkKCwwNDg8QERITFBUWFxgZGhscHR4f";
    const TIME: &str = "2026-11-26T16:00:00.1234567Z";

    fn read(twin: &Value) -> Reported {
        of_twin("gw-07".into(), twin.to_string().as_bytes()).unwrap()
    }

    fn of(iotstream: &Value) -> Reported {
        read(&json!({ "properties": { "reported": { "iotstream": iotstream } } }))
    }

    /// Names and keys of the streams.
    fn seen(reported: &Reported) -> Vec<(&str, Vec<String>)> {
        let keys = |stream: &ReportedStream| stream.keys.iter().map(|key| key.key.to_string()).collect();
        reported.streams.iter().map(|stream| (stream.name.as_str(), keys(stream))).collect()
    }

    #[test]
    fn reads_the_contract() {
        let streams =
            json!({ "s0": { "name": "ssh", "keys": { "k0": KEY, "k1": null } }, "s1": { "name": "tcp-*" } });
        let updated = json!({ "$lastUpdated": TIME, "streams": { "s0": { "keys": { "k0": { "$lastUpdated": TIME } } } } });
        let reported = read(&json!({ "deviceId": "gw-07", "properties": { "desired": {}, "reported": {
            "iotstream": { "agent": "0.2.0", "streams": streams },
            "firmware": 7,
            "$metadata": { "$lastUpdated": TIME, "iotstream": updated },
            "$version": 4,
        } } }));
        let key = ReportedKey { key: PublicKey::parse(KEY).unwrap(), since: Some(TIME.into()) };
        let expected = [("ssh", vec![key]), ("tcp-*", vec![])];
        assert_eq!((reported.device.as_str(), reported.agent.as_deref()), ("gw-07", Some("0.2.0")));
        assert_eq!(
            reported.streams,
            expected.map(|(name, keys)| ReportedStream { name: name.into(), ports: None, keys })
        );
        let copy: Reported = serde_json::from_str(&serde_json::to_string(&reported).unwrap()).unwrap();
        assert_eq!(copy, reported);
    }

    #[test]
    fn ports_limit_a_pattern() {
        let stream = |name: &str, ports: &str| json!({ "name": name, "ports": ports });
        let reported = of(&json!({ "streams": {
            "s0": stream("tcp-*", "80, 8000-8999"), "s1": stream("tcp-*", "90"), "s2": stream("x*", "90-80"),
            "s3": stream("tcp-*", "90"), "s4": { "name": "y*", "ports": 80 }, "s5": { "name": "tcp-*" },
        } }));
        let ports = reported.streams.iter().map(|stream| (&*stream.name, stream.ports.clone()));
        let expected =
            [("tcp-*", Ports::parse("80,8000-8999")), ("tcp-*", Ports::parse("90")), ("tcp-*", None)];
        assert_eq!(ports.collect::<Vec<_>>(), expected);
        let copy: Reported = serde_json::from_str(&serde_json::to_string(&reported).unwrap()).unwrap();
        assert_eq!(copy, reported);
    }

    #[test]
    fn slots_are_in_the_order_of_their_numbers() {
        let stream = |name: &str| json!({ "name": name, "keys": {} });
        let reported =
            of(&json!({ "streams": { "s10": stream("c"), "s9": stream("b"), "s1": stream("a") } }));
        assert_eq!(reported.streams.iter().map(|stream| &*stream.name).collect::<Vec<_>>(), ["a", "b", "c"]);
        let reported =
            of(&json!({ "streams": { "s0": { "name": "x", "keys": { "k10": KEY, "k2": OTHER } } } }));
        assert_eq!(seen(&reported), [("x", vec![OTHER.to_owned(), KEY.to_owned()])]);
    }

    #[test]
    fn ignores_what_is_not_in_the_contract_piece_by_piece() {
        let reported = of(&json!({ "agent": 2, "new": [1], "streams": {
            "s0": { "name": "ssh", "new": {}, "keys": {
                "k0": format!("{KEY} comment"), "k1": format!("{KEY}\n@revoked * {OTHER}"), "k2": 7, "k3": [KEY],
                "k4": format!("@cert-authority {KEY}"), "k5": format!("* {KEY}"), "k6": KEY, "k7": KEY, "k": OTHER,
                "k+8": OTHER, "K9": OTHER, "x": OTHER, "k99999999999": OTHER, "k10": "A".repeat(20_000),
            } },
            "s1": "ssh", "s2": { "keys": { "k0": KEY } }, "s3": { "name": "a\nb" }, "s4": { "name": "" },
            "s5": { "name": "x".repeat(1025) }, "s6": { "name": "ssh", "keys": { "k0": OTHER } },
            "s7": { "name": "last", "keys": [KEY] }, "stream": { "name": "x" },
        } }));
        assert_eq!(reported.agent, None);
        assert_eq!(seen(&reported), [("ssh", vec![KEY.to_owned()]), ("last", vec![])]);
        let version = of(&json!({ "agent": format!("1\u{1b}{}", "x".repeat(100)) })).agent.unwrap();
        assert_eq!(version, format!("1\\u{{1b}}{}", "x".repeat(62)));
    }

    #[test]
    fn a_twin_without_a_report_reports_nothing() {
        let nothing = Reported { device: "gw-07".into(), agent: None, streams: Vec::new() };
        let keys = json!({ "streams": { "s0": { "name": "ssh", "keys": { "k0": KEY } } } });
        let too_long = json!({ "streams": keys["streams"], "more": "x".repeat(33_000) });
        let deep = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
        let deep: &RawValue = serde_json::from_str(&deep).unwrap();
        let deep = of_properties("gw-07".into(), Some(deep));
        for reported in [
            read(&json!({})),
            read(&json!({ "properties": null })),
            read(&json!({ "properties": [keys] })),
            read(&json!({ "properties": { "reported": [keys], "desired": { "iotstream": keys } } })),
            read(&json!({ "properties": { "reported": { "iotstream": [keys] } } })),
            of(&too_long),
            deep,
        ] {
            assert_eq!(reported, nothing);
        }
        // Metadata of another shape does not hide a key.
        for metadata in [
            json!(1),
            json!({ "iotstream": [] }),
            json!({ "iotstream": { "streams": { "s0": { "keys":
            { "k0": { "$lastUpdated": "now\n" } } } } } }),
        ] {
            let reported =
                read(&json!({ "properties": { "reported": { "iotstream": keys, "$metadata": metadata } } }));
            assert_eq!(reported.streams[0].keys[0].since, None);
        }
        for body in ["", "[]", "1", "<html>", "{\"properties\":"] {
            assert!(of_twin("gw-07".into(), body.as_bytes()).is_err(), "{body}");
        }
    }

    /// Any JSON, with the contract's names and nearly right keys in it.
    fn hostile() -> impl Strategy<Value = Value> {
        let text = prop_oneof![
            Just(KEY.to_owned()),
            Just(OTHER.to_owned()),
            any::<String>().prop_map(|text| format!("{KEY}{text}")),
            any::<String>().prop_map(|text| format!("{text}{KEY}")),
            any::<String>(),
        ];
        let leaf =
            prop_oneof![Just(Value::Null), any::<i64>().prop_map(Value::from), text.prop_map(Value::from)];
        let names = prop_oneof![
            "[sk][0-9]{0,3}",
            Just("name".into()),
            Just("keys".into()),
            Just("streams".into()),
            ".{0,3}"
        ];
        leaf.prop_recursive(6, 64, 6, move |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..6).prop_map(Value::from),
                prop::collection::btree_map(names.clone(), inner, 0..6)
                    .prop_map(|members| Value::Object(members.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn any_report_yields_nothing_but_keys(streams in hostile(), entry in hostile(), keys in hostile(), metadata in hostile()) {
            let entries = json!({ "s1": entry, "s2": { "name": "x", "keys": keys }, "s3": streams });
            for iotstream in [streams, json!({ "streams": entries })] {
                let twin = json!({ "properties": { "reported": { "iotstream": iotstream, "$metadata": { "iotstream": metadata } } } });
                let reported = read(&twin);
                for stream in &reported.streams {
                    prop_assert!(is_name(&stream.name));
                    for key in &stream.keys {
                        prop_assert_eq!(PublicKey::parse(&key.key.to_string()), Some(key.key.clone()));
                        prop_assert!(twin.to_string().contains(&key.key.to_string()));
                    }
                }
            }
        }

        #[test]
        fn any_body_is_read_without_a_panic(body in any::<Vec<u8>>()) {
            let _ = of_twin(String::new(), &body);
        }
    }
}
