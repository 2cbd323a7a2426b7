//! The lines of the audit log: JSON objects with a time and an event.

use std::time::SystemTime;

use serde_json::{Map, Value};

use crate::time::clock::iso8601;

/// A line for `event`, with further fields.
pub(super) fn line(event: &str, more: Map<String, Value>) -> String {
    let mut fields = Map::new();
    fields.insert("time".into(), iso8601(SystemTime::now()).into());
    fields.insert("event".into(), event.into());
    fields.extend(more);
    format!("{}\n", Value::Object(fields))
}

/// A line in place of `count` lines that are lost.
pub(super) fn lost(count: u64) -> String {
    line("lost", Map::from_iter([("lines".to_owned(), count.into())]))
}
