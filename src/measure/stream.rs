//! An open stream with the bridge that carries ssh, and a measurement in place of ssh.

use std::future::pending;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{DuplexStream, ReadHalf, WriteHalf};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio::time::timeout;

use crate::backend::Joined;
use crate::error::{Error, Result};
use crate::tunnel::{self, Close, Controls, End, Keepalive, Meter, Settings};

/// The buffer between the bridge and the measurement: enough for the bridge's largest step.
const BETWEEN: usize = 256 * 1024;

/// How long the other side may take to end the stream, too.
const END_LIMIT: Duration = Duration::from_millis(500);

/// A stream that is being measured.
#[derive(Debug)]
pub struct MeasuredStream {
    pub read: ReadHalf<DuplexStream>,
    pub write: WriteHalf<DuplexStream>,
    meter: Arc<Meter>,
    hangup: oneshot::Sender<()>,
    bridge: JoinHandle<End>,
}

impl MeasuredStream {
    /// Starts the bridge of a joined stream, whose peer may be silent for as long as `keepalive` says. Needs a runtime.
    pub fn start(joined: Joined, keepalive: Option<Keepalive>) -> Self {
        let settings = Settings {
            keepalive,
            linger: Some(Duration::from_secs(1)),
            drain: Some(Duration::ZERO),
            rest: Some(Duration::from_secs(1)),
            // Nothing is sent after the peer's close: its end is to be seen at once.
            half_close: true,
            failed: |_| Close::new(Close::GOING_AWAY, "the measurement has ended"),
            reset: true,
        };
        let (ours, theirs) = tokio::io::duplex(BETWEEN);
        let (hangup, hung_up) = oneshot::channel();
        let meter = Arc::new(Meter::default());
        let carried = Arc::clone(&meter);
        let bridge = tokio::spawn(async move {
            let local = tokio::io::split(theirs);
            let hangup = async {
                // Dropping the sender means the same.
                let _ = hung_up.await;
                Close::new(Close::NORMAL, "")
            };
            let controls = Controls { hangup, gone: pending() };
            tunnel::bridge(local, joined.io, &joined.early, &settings, &carried, controls).await
        });
        let (read, write) = tokio::io::split(ours);
        Self { read, write, meter, hangup, bridge }
    }

    /// Bytes that the stream has carried so far, both ways.
    pub fn carried(&self) -> u64 {
        self.meter.sent() + self.meter.received()
    }

    /// Ends the stream in good order, within about a second.
    pub async fn end(self) {
        let Self { read, write, hangup, mut bridge, .. } = self;
        drop((read, write));
        // How it ends does not matter: the measurement is done.
        if timeout(END_LIMIT, &mut bridge).await.is_err() {
            drop(hangup);
            let _ = bridge.await;
        }
    }

    /// Why the stream ended, after its reading half has. Always an error: the measurement had not ended.
    pub async fn broken(self) -> Error {
        match self.bridge.await {
            Ok(end) => end.error().unwrap_or_else(|| Error::Cut {
                problem: "the device ended it before the measurement did".into(),
            }),
            Err(panicked) => Error::Bug(panicked.to_string()),
        }
    }
}

/// The other side does not behave as the agent's `builtin`.
pub(super) fn not_the_builtin<T>(stream: &str, problem: &str, builtin: &str) -> Result<T> {
    Err(Error::Target {
        target: format!("of the stream '{stream}'"),
        problem: format!("{problem}: it is not the agent's builtin {builtin}").into(),
    })
}
