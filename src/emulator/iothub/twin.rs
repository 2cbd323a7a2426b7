//! Twins: a device's desired and reported properties and its tags, merged as IoT Hub merges them.

use std::time::SystemTime;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use crate::time::clock;

type Object = Map<String, Value>;

/// Limits of the desired and of the reported properties, and of the tags \[D].
const MAX_SIZE: usize = 32 << 10;
const MAX_TAGS: usize = 8 << 10;
const MAX_KEY: usize = 1 << 10;
const MAX_STRING: usize = 4 << 10;
const MAX_DEPTH: usize = 10;
const INTEGERS: std::ops::RangeInclusive<i64> = -4_503_599_627_370_496..=4_503_599_627_370_495;

const LAST_UPDATED: &str = "$lastUpdated";

/// A device's or a module's twin.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Twin {
    /// Counts every change, and makes the etag.
    version: u64,
    #[serde(default)]
    tags: Object,
    desired: Properties,
    reported: Properties,
}

/// The desired or the reported properties, and when each value was written.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Properties {
    version: u64,
    values: Object,
    metadata: Object,
}

impl Twin {
    /// The twin of a new device.
    pub(super) fn new(now: SystemTime) -> Self {
        let properties = Properties {
            version: 1,
            values: Object::new(),
            metadata: Object::from_iter([(LAST_UPDATED.into(), clock::iso8601(now).into())]),
        };
        Self { version: 1, tags: Object::new(), desired: properties.clone(), reported: properties }
    }

    /// The twin as the device reads it.
    pub(super) fn for_device(&self) -> Value {
        json!({ "desired": self.desired.plain(), "reported": self.reported.plain() })
    }

    /// Adds what a service reads of the twin to `description`.
    pub(super) fn describe(&self, description: &mut Value) {
        description["etag"] = self.etag().into();
        description["version"] = self.version.into();
        description["tags"] = self.tags.clone().into();
        description["properties"] =
            json!({ "desired": self.desired.whole(), "reported": self.reported.whole() });
    }

    /// The etag of the twin as it is now.
    pub(super) fn etag(&self) -> String {
        data_encoding::BASE64.encode(&self.version.to_be_bytes())
    }

    /// Merges what a device reports, and gives the new version of the reported properties.
    ///
    /// # Errors
    /// Returns the problem of the report. The twin is unchanged.
    pub(super) fn report(&mut self, patch: &[u8], now: SystemTime) -> Result<u64, String> {
        let Ok(Value::Object(patch)) = serde_json::from_slice(patch) else {
            return Err("the body is not a JSON object".into());
        };
        self.reported.merge(patch, now)?;
        self.version += 1;
        Ok(self.reported.version)
    }

    /// Merges a service's change of tags and desired properties, or replaces them where `replace` is set. Anything else
    /// that clients send is ignored \[C]. Gives the changed desired properties and their version, if there are any.
    ///
    /// # Errors
    /// Returns the problem of the change.
    pub(super) fn update(
        &mut self,
        mut change: Value,
        replace: bool,
        now: SystemTime,
    ) -> Result<Option<(Object, u64)>, String> {
        let take = |part: Option<&mut Value>| match part.map(Value::take) {
            None | Some(Value::Null) => Ok(None),
            Some(Value::Object(part)) => Ok(Some(part)),
            Some(_) => Err("tags and properties are JSON objects".to_owned()),
        };
        if !change.is_object() {
            return Err("the body is not a JSON object".into());
        }
        let tags = take(change.get_mut("tags"))?;
        let desired = take(change.pointer_mut("/properties/desired"))?;
        if let Some(mut tags) = tags {
            tags.retain(|key, _| !key.starts_with('$'));
            check(&tags, 0)?;
            let before = size(&self.tags);
            if replace {
                self.tags.clear();
            }
            merge_plain(&mut self.tags, tags);
            check_size(before, size(&self.tags), MAX_TAGS)?;
        }
        let mut news = None;
        if let Some(mut desired) = desired {
            desired.retain(|key, _| !key.starts_with('$'));
            news = Some(desired.clone());
            if replace {
                let gone = self.desired.values.keys().filter(|key| !desired.contains_key(*key));
                let gone: Vec<_> = gone.cloned().collect();
                desired.extend(gone.into_iter().map(|key| (key, Value::Null)));
                // The new properties replace all old values.
                self.desired.values.retain(|key, _| desired[key].is_null());
            }
            self.desired.merge(desired, now)?;
        }
        self.version += 1;
        Ok(news.map(|news| (news, self.desired.version)))
    }
}

impl Properties {
    fn plain(&self) -> Value {
        let mut values = self.values.clone();
        values.insert("$version".into(), self.version.into());
        values.into()
    }

    fn whole(&self) -> Value {
        let mut values = self.plain();
        values["$metadata"] = self.metadata.clone().into();
        values
    }

    /// Merges a patch, or changes nothing where it is invalid.
    fn merge(&mut self, patch: Object, now: SystemTime) -> Result<(), String> {
        check(&patch, 0)?;
        let (mut values, mut metadata) = (self.values.clone(), self.metadata.clone());
        merge(&mut values, &mut metadata, patch, &clock::iso8601(now).into());
        check_size(size(&self.values), size(&values), MAX_SIZE)?;
        *self = Self { version: self.version + 1, values, metadata };
        Ok(())
    }
}

/// Applies a JSON merge patch (RFC 7396), and notes when each value was written.
fn merge(values: &mut Object, metadata: &mut Object, patch: Object, now: &Value) {
    metadata.insert(LAST_UPDATED.into(), now.clone());
    for (key, value) in patch {
        if value.is_null() {
            values.remove(&key);
            metadata.remove(&key);
            continue;
        }
        if !matches!((&value, values.get(&key)), (Value::Object(_), Some(Value::Object(_)))) {
            metadata.remove(&key);
        }
        let about = metadata.entry(key.clone()).or_insert_with(|| json!({}));
        let Value::Object(about) = about else { continue };
        match value {
            Value::Object(patch) => {
                let inner = values.entry(key).or_insert_with(|| json!({}));
                if !inner.is_object() {
                    *inner = json!({});
                }
                if let Value::Object(inner) = inner {
                    merge(inner, about, patch, now);
                }
            }
            leaf => {
                about.insert(LAST_UPDATED.into(), now.clone());
                values.insert(key, leaf);
            }
        }
    }
}

/// The same for tags, which have no times.
fn merge_plain(values: &mut Object, patch: Object) {
    merge(values, &mut Object::new(), patch, &Value::Null);
}

/// Checks the limits of a patch \[D].
fn check(object: &Object, depth: usize) -> Result<(), String> {
    if depth > MAX_DEPTH {
        return Err(format!("the properties are more than {MAX_DEPTH} objects deep"));
    }
    for (key, value) in object {
        let wrong = |c: char| c.is_control() || matches!(c, '.' | '$' | '#' | ' ');
        if key.is_empty() || key.len() > MAX_KEY || key.contains(wrong) {
            return Err(
                "a key is empty, too long, or has a control character, a space or one of . $ # in it".into(),
            );
        }
        check_value(value, depth)?;
    }
    Ok(())
}

fn check_value(value: &Value, depth: usize) -> Result<(), String> {
    match value {
        Value::Object(object) => check(object, depth + 1),
        Value::Array(items) if depth == MAX_DEPTH => {
            items.iter().try_for_each(|item| check_value(item, depth))
        }
        Value::Array(items) => items.iter().try_for_each(|item| check_value(item, depth + 1)),
        Value::String(text) if text.len() > MAX_STRING => {
            Err(format!("a string has more than {MAX_STRING} bytes"))
        }
        Value::Number(number)
            if !number.is_f64() && !number.as_i64().is_some_and(|n| INTEGERS.contains(&n)) =>
        {
            Err(format!("the integer {number} is out of range"))
        }
        _ => Ok(()),
    }
}

/// Checks that a change does not make properties or tags too large, or larger where they are.
fn check_size(before: usize, after: usize, limit: usize) -> Result<(), String> {
    if after > limit && after > before {
        return Err(format!("the properties or tags would have {after} bytes, which is more than {limit}"));
    }
    Ok(())
}

/// The size of properties or tags: that of keys and strings without their control characters, 8 for a number, and 4 for a
/// boolean \[D].
fn size(object: &Object) -> usize {
    object.iter().map(|(key, value)| key.len() + size_of_value(value)).sum()
}

fn size_of_value(value: &Value) -> usize {
    match value {
        Value::Null => 0,
        Value::Bool(_) => 4,
        Value::Number(_) => 8,
        Value::String(text) => text.chars().filter(|c| !c.is_control()).map(char::len_utf8).sum(),
        Value::Array(items) => items.iter().map(size_of_value).sum(),
        Value::Object(object) => size(object),
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, UNIX_EPOCH};

    use super::*;
    use proptest::prelude::*;

    const LATER: &str = "1970-01-01T00:00:09.000Z";

    fn later() -> SystemTime {
        UNIX_EPOCH + Duration::from_secs(9)
    }

    #[test]
    fn a_report_is_merged_and_null_deletes() {
        let mut twin = Twin::new(UNIX_EPOCH);
        assert_eq!(twin.report(br#"{"a":{"b":1,"c":{"d":null,"e":[1]}},"f":2}"#, UNIX_EPOCH), Ok(2));
        assert_eq!(twin.report(br#"{"a":{"b":null,"g":"x"},"f":{"h":true}}"#, later()), Ok(3));
        let expected = json!({ "a": { "c": { "e": [1] }, "g": "x" }, "f": { "h": true }, "$version": 3 });
        assert_eq!(twin.for_device()["reported"], expected);
        assert_eq!(twin.for_device()["desired"], json!({ "$version": 1 }));
        let mut shown = json!({});
        twin.describe(&mut shown);
        let metadata = &shown["properties"]["reported"]["$metadata"];
        assert_eq!(metadata[LAST_UPDATED], LATER);
        assert_eq!(metadata["a"]["c"]["e"][LAST_UPDATED], "1970-01-01T00:00:00.000Z");
        assert_eq!(metadata["a"]["g"][LAST_UPDATED], LATER);
        assert_eq!(metadata["a"].get("b"), None);
        assert_eq!(metadata["f"], json!({ LAST_UPDATED: LATER, "h": { LAST_UPDATED: LATER } }));
        assert_eq!((shown["version"].as_u64(), shown["tags"].clone()), (Some(3), json!({})));
    }

    #[test]
    fn an_invalid_report_changes_nothing() {
        let mut twin = Twin::new(UNIX_EPOCH);
        let nested = |depth: usize| format!("{}1{}", "{\"k\":".repeat(depth), "}".repeat(depth));
        let long = "x".repeat(MAX_STRING + 1);
        for body in [
            "".to_owned(),
            "[]".into(),
            "{".into(),
            r#"{"a.b":1}"#.into(),
            r#"{"a":{"$version":1}}"#.into(),
            r#"{"a b":1}"#.into(),
            r#"{"a#":1}"#.into(),
            r#"{"a\u0007":1}"#.into(),
            r#"{"":1}"#.into(),
            format!(r#"{{"{}":1}}"#, "k".repeat(MAX_KEY + 1)),
            format!(r#"{{"a":"{long}"}}"#),
            format!(r#"{{"a":[{{"b":"{long}"}}]}}"#),
            nested(MAX_DEPTH + 2),
            r#"{"a":4503599627370496}"#.into(),
            r#"{"a":-4503599627370497}"#.into(),
            r#"{"a":[18446744073709551615]}"#.into(),
            json!(Object::from_iter((0..9).map(|n| (format!("k{n}"), "x".repeat(4000).into())))).to_string(),
        ] {
            assert!(twin.report(body.as_bytes(), later()).is_err(), "{body:.60}");
        }
        assert_eq!(twin, Twin::new(UNIX_EPOCH));
        // The properties themselves do not count.
        assert_eq!(twin.report(nested(MAX_DEPTH + 1).as_bytes(), later()), Ok(2));
        assert_eq!(twin.report(br#"{"k":null,"gone":null}"#, later()), Ok(3));
    }

    #[test]
    fn a_service_changes_tags_and_desired_properties_only() {
        let mut twin = Twin::new(UNIX_EPOCH);
        let change = json!({ "deviceId": "x", "tags": { "site": "a", "old": 1 }, "properties": {
            "desired": { "$version": 7, "$metadata": {}, "rate": 1, "deep": { "x": 1 } }, "reported": { "r": 1 } } });
        let (news, version) = twin.update(change, false, later()).unwrap().unwrap();
        assert_eq!((Value::from(news), version), (json!({ "rate": 1, "deep": { "x": 1 } }), 2));
        let change = json!({ "tags": { "$version": 1, "old": null },
            "properties": { "desired": { "deep": { "y": 2, "z": null } } } });
        twin.update(change, true, later()).unwrap();
        assert_eq!(twin.desired.values, *json!({ "deep": { "y": 2 } }).as_object().unwrap());
        assert_eq!(twin.tags, Object::new());
        assert_eq!(twin.reported.values, Object::new());
        let etag = twin.etag();
        for change in
            [json!({ "tags": 1 }), json!([]), json!({ "properties": { "desired": { "a": { "$b": 1 } } } })]
        {
            assert!(twin.update(change, false, later()).is_err());
        }
        assert_eq!(twin.update(json!({ "tags": null }), false, later()), Ok(None));
        assert_ne!(twin.etag(), etag);
    }

    #[test]
    fn sizes_are_counted_as_documented() {
        let mut twin = Twin::new(UNIX_EPOCH);
        let of_size = |size: usize| {
            let mut values = Object::from_iter((0..7).map(|n| (format!("k{n}"), "x".repeat(4094).into())));
            values.insert("k7".into(), json!({ "n": 1, "b": true, "é": "é\n", "z": [null, 2] }));
            let rest = size - 7 * 4096 - 2 - 9 - 5 - 4 - 9 - 2;
            values.insert("k8".into(), "x".repeat(rest).into());
            Value::from(values)
        };
        let report = |twin: &mut Twin, patch: Value| twin.report(patch.to_string().as_bytes(), later());
        assert!(report(&mut twin, of_size(MAX_SIZE + 1)).is_err());
        assert_eq!(report(&mut twin, of_size(MAX_SIZE)), Ok(2));
        assert!(report(&mut twin, json!({ "k": 1 })).is_err());
        assert_eq!(report(&mut twin, json!({ "k8": null, "k": 1 })), Ok(3));
        let tags = |length: usize| json!({ "tags": { "aa": "x".repeat(4094), "bb": "x".repeat(length) } });
        assert!(twin.update(tags(4095), false, later()).is_err());
        let mut twin = Twin::new(UNIX_EPOCH);
        assert_eq!(twin.update(tags(4094), false, later()), Ok(None));
    }

    #[test]
    fn a_twin_is_the_same_after_a_restart() {
        let mut twin = Twin::new(UNIX_EPOCH);
        twin.report(br#"{"a":{"b":1}}"#, later()).unwrap();
        let text = serde_json::to_string(&twin).unwrap();
        assert_eq!(serde_json::from_str::<Twin>(&text).unwrap(), twin);
    }

    proptest! {
        #[test]
        fn any_bytes_can_be_reported(bytes in any::<Vec<u8>>(), text in "[\\[\\]{}:,a\"0-9nul]{0,40}") {
            let mut twin = Twin::new(UNIX_EPOCH);
            let _ = twin.report(&bytes, UNIX_EPOCH);
            let _ = twin.report(text.as_bytes(), UNIX_EPOCH);
        }
    }
}
