//! The audit log: one JSON line for each thing that happens to a stream.

use std::convert::Infallible;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use serde_json::{Map, Value};
use tokio::time::sleep;

use super::audit_output::{AGAIN, Output};
use super::audit_sink::probe;
use crate::error::{Error, Result, escape};
use crate::text::duration;
use crate::time::clock::iso8601;
use crate::tunnel::Meter;

/// The log of all streams.
#[derive(Debug)]
pub(super) struct Audit {
    output: Mutex<Output>,
    next_stream: AtomicU64,
}

impl Audit {
    /// Lines go to the file at `path`, or to stdout where that is `-`. A file that cannot be written is tried again: a
    /// device must stay within reach, all the more when its disk is full.
    pub(super) fn open(path: Option<&Path>) -> Arc<Self> {
        Arc::new(Self { output: Mutex::new(Output::open(path)), next_stream: AtomicU64::new(1) })
    }

    fn output(&self) -> MutexGuard<'_, Output> {
        self.output.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Opens the file by its name again, or another one: who rotates logs has moved it away.
    pub(super) fn reopen(&self, path: Option<&Path>) {
        self.output().reopen(path);
    }

    /// Tries for ever to write what could not be written.
    pub(super) async fn keep_trying(&self) -> Infallible {
        loop {
            sleep(AGAIN).await;
            let mut output = self.output();
            if output.is_in_trouble() {
                output.flush();
            }
        }
    }

    /// Begins the record of a stream that `stream` names.
    pub(super) fn stream(self: &Arc<Self>, stream: &str) -> Trail {
        let id = self.next_stream.fetch_add(1, Relaxed);
        let (stream, meter) = (escape(stream), Meter::default());
        Trail { audit: self.clone(), id, stream, meter, since: Instant::now(), over: false }
    }

    fn write(&self, fields: Map<String, Value>) {
        self.output().write(line(fields));
    }
}

/// A line for an event of the log's own.
fn event(name: &str, more: Map<String, Value>) -> Map<String, Value> {
    let mut fields = Map::new();
    fields.insert("time".into(), iso8601(SystemTime::now()).into());
    fields.insert("event".into(), name.into());
    fields.extend(more);
    fields
}

fn line(fields: Map<String, Value>) -> String {
    format!("{}\n", Value::Object(fields))
}

/// Tells that `count` lines are missing here.
pub(super) fn lost(count: u64) -> String {
    line(event("lost", Map::from_iter([("lines".to_owned(), count.into())])))
}

/// Writes a line to the file at `path`, as the agent would, and tells that it can be done.
///
/// # Errors
/// Why it cannot.
pub(super) fn check(path: &Path) -> Result<String> {
    if path == Path::new("-") {
        return Ok("stdout".into());
    }
    probe(path, &line(event("check", Map::new()))).map_err(Error::local_io(path.display().to_string()))?;
    Ok(path.display().to_string())
}

/// The record of one stream. Every one that was begun has an end, whatever happens.
#[derive(Debug)]
pub(super) struct Trail {
    audit: Arc<Audit>,
    id: u64,
    stream: String,
    meter: Meter,
    since: Instant,
    over: bool,
}

impl Trail {
    /// The stream's number.
    pub(super) fn id(&self) -> u64 {
        self.id
    }

    /// What the stream has carried.
    pub(super) fn meter(&self) -> &Meter {
        &self.meter
    }

    fn event(&self, name: &str, more: &[(&str, Value)]) {
        let mut fields = Map::new();
        fields.insert("id".into(), self.id.into());
        fields.insert("stream".into(), self.stream.as_str().into());
        fields.extend(more.iter().map(|(name, value)| ((*name).to_owned(), value.clone())));
        self.audit.write(event(name, fields));
    }

    pub(super) fn offered(&self, identity: &str, hub: &str) {
        log::debug!("stream '{}': offered", self.stream);
        self.event("offer", &[("device", identity.into()), ("hub", hub.into())]);
    }

    pub(super) fn accepted(&self, target: &str, approved_by: &str) {
        self.event("accepted", &[("target", escape(target).into()), ("approved", approved_by.into())]);
    }

    pub(super) fn rejected(mut self, why: &str) {
        log::warn!("stream '{}': rejected: {why}", self.stream);
        self.event("rejected", &[("reason", escape(why).into())]);
        self.over = true;
    }

    pub(super) fn started(&mut self) {
        self.since = Instant::now();
        self.event("start", &[]);
    }

    /// The stream, once accepted, has ended.
    pub(super) fn ended(mut self, why: &str) {
        self.end(why);
    }

    fn end(&mut self, why: &str) {
        let (sent, received, lasted) = (self.meter.sent(), self.meter.received(), self.since.elapsed());
        log::info!(
            "stream '{}': ended after {}, {sent} bytes to the user, {received} from the user: {why}",
            self.stream,
            duration::show(Duration::from_secs(lasted.as_secs())),
        );
        self.event(
            "end",
            &[
                ("to-user", sent.into()),
                ("from-user", received.into()),
                ("milliseconds", u64::try_from(lasted.as_millis()).unwrap_or(u64::MAX).into()),
                ("reason", escape(why).into()),
            ],
        );
        self.over = true;
    }
}

impl Drop for Trail {
    fn drop(&mut self) {
        if !self.over {
            self.end(if std::thread::panicking() { "a bug of the agent's" } else { "the agent was stopped" });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STREAM: &str = "a\u{1b}[2J\n\"b\u{202e}";

    fn events(path: &Path) -> Vec<String> {
        let text = std::fs::read_to_string(path).unwrap();
        let lines = text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
        lines
            .map(|line| {
                assert_eq!(line["stream"], "a\\u{1b}[2J\\n\"b\\u{202e}");
                line["event"].as_str().unwrap().to_owned()
            })
            .collect()
    }

    #[test]
    fn each_event_is_a_line_and_rotation_loses_none() {
        let directory = tempfile::tempdir().unwrap();
        let (path, old) = (directory.path().join("audit.log"), directory.path().join("audit.log.1"));
        let audit = Audit::open(Some(&path));
        let mut trail = audit.stream(STREAM);
        trail.offered("dev-1", "hub");
        std::fs::rename(&path, &old).unwrap();
        trail.accepted("127.0.0.1:22", "always");
        audit.reopen(Some(&path));
        trail.started();
        drop(trail);
        assert_eq!(events(&old), ["offer", "accepted"]);
        assert_eq!(events(&path), ["start", "end"]);
        // Where the new one cannot be opened, lines go where they went, until it can.
        let later = directory.path().join("later");
        audit.reopen(Some(&later.join("x")));
        audit.stream(STREAM).rejected("no");
        assert_eq!(events(&path), ["start", "end", "rejected"]);
        std::fs::create_dir(&later).unwrap();
        audit.stream(STREAM).rejected("no");
        assert_eq!(events(&later.join("x")), ["rejected"]);
    }
}
