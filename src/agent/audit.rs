//! The audit log: one JSON line for each thing that happens to a stream.

use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use serde_json::{Map, Value};

use crate::clock::iso8601;
use crate::duration;
use crate::error::{Error, Result, escape};
use crate::private_file::open_log;
use crate::tunnel::Meter;

/// Where the lines go: a file, which is opened anew when the agent reloads, or stdout (`-`).
#[derive(Debug)]
pub(super) struct Audit {
    output: Mutex<Output>,
    next_stream: AtomicU64,
}

#[derive(Debug)]
enum Output {
    Nowhere,
    Stdout,
    File(PathBuf, File),
}

impl Output {
    fn open(path: Option<&Path>) -> Result<Self> {
        let Some(path) = path else { return Ok(Self::Nowhere) };
        if path == Path::new("-") {
            return Ok(Self::Stdout);
        }
        let log = open_log(path).map_err(Error::local_io(format!("audit-log {}", path.display())))?;
        for exposure in &log.exposures {
            log::warn!("audit-log: {exposure}: {}", exposure.fix());
        }
        Ok(Self::File(path.to_owned(), log.file))
    }
}

impl Audit {
    /// # Errors
    /// When the file cannot be opened.
    pub(super) fn open(path: Option<&Path>) -> Result<Arc<Self>> {
        Ok(Arc::new(Self { output: Mutex::new(Output::open(path)?), next_stream: AtomicU64::new(1) }))
    }

    /// Opens the file by its name again, or another one: who rotates logs has moved it away.
    ///
    /// # Errors
    /// When that cannot be done; lines go where they went before.
    pub(super) fn reopen(&self, path: Option<&Path>) -> Result<()> {
        let new = Output::open(path)?;
        *self.output.lock().unwrap_or_else(PoisonError::into_inner) = new;
        Ok(())
    }

    /// Begins the record of a stream that `stream` names.
    pub(super) fn stream(self: &Arc<Self>, stream: &str) -> Trail {
        let id = self.next_stream.fetch_add(1, Relaxed);
        let (stream, meter) = (escape(stream), Meter::default());
        Trail { audit: self.clone(), id, stream, meter, since: Instant::now(), over: false }
    }

    fn write(&self, fields: Map<String, Value>) {
        let line = format!("{}\n", Value::Object(fields));
        let mut output = self.output.lock().unwrap_or_else(PoisonError::into_inner);
        let (place, written) = match &mut *output {
            Output::Nowhere => return,
            Output::Stdout => ("stdout".to_owned(), std::io::stdout().write_all(line.as_bytes())),
            Output::File(path, file) => (path.display().to_string(), file.write_all(line.as_bytes())),
        };
        if let Err(error) = written {
            log::error!("audit-log {place}: {error}: lost is {}", line.trim_end());
        }
    }
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
    /// What the stream has carried.
    pub(super) fn meter(&self) -> &Meter {
        &self.meter
    }

    fn event(&self, event: &str, more: &[(&str, Value)]) {
        let mut fields = Map::new();
        fields.insert("time".into(), iso8601(SystemTime::now()).into());
        fields.insert("event".into(), event.into());
        fields.insert("id".into(), self.id.into());
        fields.insert("stream".into(), self.stream.as_str().into());
        fields.extend(more.iter().map(|(name, value)| ((*name).to_owned(), value.clone())));
        self.audit.write(fields);
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

    #[test]
    fn each_event_is_a_line_and_rotation_loses_none() {
        let directory = tempfile::tempdir().unwrap();
        let (path, old) = (directory.path().join("audit.log"), directory.path().join("audit.log.1"));
        let audit = Audit::open(Some(&path)).unwrap();
        let mut trail = audit.stream("a\u{1b}[2J\n\"b\u{202e}");
        trail.offered("dev-1", "hub");
        std::fs::rename(&path, &old).unwrap();
        trail.accepted("127.0.0.1:22", "always");
        audit.reopen(Some(&path)).unwrap();
        trail.started();
        drop(trail);
        let events = |path: &Path| -> Vec<String> {
            let text = std::fs::read_to_string(path).unwrap();
            let lines = text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
            lines
                .map(|line| {
                    assert_eq!(line["stream"], "a\\u{1b}[2J\\n\"b\\u{202e}");
                    line["event"].as_str().unwrap().to_owned()
                })
                .collect()
        };
        assert_eq!(events(&old), ["offer", "accepted"]);
        assert_eq!(events(&path), ["start", "end"]);
        // What cannot be opened changes nothing.
        assert!(audit.reopen(Some(Path::new("/no/such/directory/x"))).is_err());
        audit.stream("a\u{1b}[2J\n\"b\u{202e}").rejected("no");
        assert_eq!(events(&path), ["start", "end", "rejected"]);
    }
}
