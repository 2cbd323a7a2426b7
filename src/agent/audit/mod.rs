//! The audit log: one JSON line for each event of a stream.

mod file;
mod line;
mod queue;

use std::convert::Infallible;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use serde_json::{Map, Value};
use tokio::time::sleep;

use self::file::probe;
use self::line::line;
use self::queue::{Queue, RETRY_EVERY};
use super::approval::Approval;
use crate::error::{Error, Result, escape};
use crate::platform::restart;
use crate::text::duration;
use crate::tunnel::Meter;

/// The log of all streams.
#[derive(Debug)]
pub(in crate::agent) struct Audit {
    queue: Mutex<Queue>,
    next_stream: AtomicU64,
}

impl Audit {
    /// Opens the log at `path`; `-` is stdout. A file that cannot be written is tried again, and streams go on: a device
    /// must stay reachable, most of all when its disk is full.
    pub(in crate::agent) fn open(path: Option<&Path>) -> Arc<Self> {
        Arc::new(Self { queue: Mutex::new(Queue::open(path)), next_stream: AtomicU64::new(first_stream()) })
    }

    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Opens the file at `path`, also if it is the same path: log rotation has moved the open file away.
    pub(in crate::agent) fn reopen(&self, path: Option<&Path>) {
        self.queue().reopen(path);
    }

    /// Retries, for as long as it is polled, to write what could not be written.
    pub(in crate::agent) async fn keep_trying(&self) -> Infallible {
        loop {
            sleep(RETRY_EVERY).await;
            let mut queue = self.queue();
            if queue.is_in_trouble() {
                queue.flush();
            }
        }
    }

    /// Records an event that is not of one stream.
    pub(in crate::agent) fn record(&self, event: &str, fields: Map<String, Value>) {
        self.queue().write(line(event, fields));
    }

    /// Begins the record of a stream named `stream`.
    pub(in crate::agent) fn stream(self: &Arc<Self>, stream: &str) -> AuditRecord {
        let id = self.next_stream.fetch_add(1, Relaxed);
        let (stream, meter) = (escape(stream), Arc::default());
        AuditRecord { audit: self.clone(), id, stream, meter, since: Instant::now(), over: false }
    }
}

/// The number of the first stream. An agent that can be restarted writes to the same log as its successor, at the same time.
fn first_stream() -> u64 {
    restart::main_process().map_or(1, |pid| (u64::from(pid) << 20) + 1)
}

/// Checks that a line can be written to the log at `path`, and returns the log's name.
///
/// # Errors
/// Why it cannot be written.
pub(in crate::agent) fn check(path: &Path) -> Result<String> {
    if path == Path::new("-") {
        return Ok("stdout".into());
    }
    probe(path, &line("check", Map::new())).map_err(Error::local_io(path.display().to_string()))?;
    Ok(path.display().to_string())
}

/// The record of one stream. Dropping it writes the end of a stream that has none yet.
#[derive(Debug)]
pub(in crate::agent) struct AuditRecord {
    audit: Arc<Audit>,
    id: u64,
    stream: String,
    meter: Arc<Meter>,
    since: Instant,
    over: bool,
}

impl AuditRecord {
    /// The stream's number in the log.
    pub(in crate::agent) fn id(&self) -> u64 {
        self.id
    }

    /// The stream's byte counts.
    pub(in crate::agent) fn meter(&self) -> &Arc<Meter> {
        &self.meter
    }

    fn event(&self, name: &str, more: &[(&str, Value)]) {
        let mut fields = Map::new();
        fields.insert("id".into(), self.id.into());
        fields.insert("stream".into(), self.stream.as_str().into());
        fields.extend(more.iter().map(|(name, value)| ((*name).to_owned(), value.clone())));
        self.audit.queue().write(line(name, fields));
    }

    /// Records an offer, with the service's id of it and the user's address if they are known.
    pub(in crate::agent) fn offered(
        &self,
        device: &str,
        service: &str,
        id: Option<&str>,
        requester: Option<&str>,
    ) {
        log::debug!("stream '{}': offered", self.stream);
        let mut fields = vec![("device", device.into()), ("hub", service.into())];
        fields.extend(id.map(|id| ("request-id", escape(id).into())));
        fields.extend(requester.map(|requester| ("requester", escape(requester).into())));
        self.event("offer", &fields);
    }

    pub(in crate::agent) fn accepted(&self, target: &str, approval: &Approval) {
        if approval.by.is_some() {
            log::info!("stream '{}': approved {approval}", self.stream);
        }
        let approver = approval.fields();
        let approver = approver.iter().map(|(name, value)| (name.as_str(), value.clone()));
        let decided = [("target", escape(target).into()), ("approved", approval.how.into())];
        self.event("accepted", &decided.into_iter().chain(approver).collect::<Vec<_>>());
    }

    pub(in crate::agent) fn rejected(mut self, why: &str) {
        log::warn!("stream '{}': rejected: {why}", self.stream);
        self.event("rejected", &[("reason", escape(why).into())]);
        self.over = true;
    }

    pub(in crate::agent) fn started(&mut self) {
        self.since = Instant::now();
        self.event("start", &[]);
    }

    /// Records the end of a stream that was accepted.
    pub(in crate::agent) fn ended(mut self, why: &str) {
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

impl Drop for AuditRecord {
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
        let mut record = audit.stream(STREAM);
        record.offered("dev-1", "hub", None, None);
        std::fs::rename(&path, &old).unwrap();
        record.accepted("127.0.0.1:22", &Approval::configured());
        audit.reopen(Some(&path));
        record.started();
        drop(record);
        assert_eq!(events(&old), ["offer", "accepted"]);
        assert_eq!(events(&path), ["start", "end"]);
        // Until the new file can be opened, lines go to the old one.
        let later = directory.path().join("later");
        audit.reopen(Some(&later.join("x")));
        audit.stream(STREAM).rejected("no");
        assert_eq!(events(&path), ["start", "end", "rejected"]);
        std::fs::create_dir(&later).unwrap();
        audit.stream(STREAM).rejected("no");
        assert_eq!(events(&later.join("x")), ["rejected"]);
    }
}
