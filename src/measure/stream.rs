//! An open stream under measurement, with the bridge that carries ssh.

use std::future::pending;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{DuplexStream, ReadHalf, WriteHalf};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio::time::timeout;

use crate::backend::Joined;
use crate::error::{Error, Result};
use crate::tunnel::{self, Close, Controls, Direction, End, Keepalive, Meter, Settings};

/// The buffer in bytes between bridge and measurement: larger than the bridge's largest read.
const BETWEEN: usize = 256 * 1024;

/// The time limit for the peer to end the stream.
const END_LIMIT: Duration = Duration::from_millis(500);

/// A stream under measurement.
#[derive(Debug)]
pub(crate) struct MeasuredStream {
    /// The bytes from the device.
    pub read: ReadHalf<DuplexStream>,
    /// The bytes to the device.
    pub write: WriteHalf<DuplexStream>,
    meter: Arc<Meter>,
    hangup: oneshot::Sender<()>,
    bridge: JoinHandle<End>,
}

impl MeasuredStream {
    /// Starts the bridge of a joined stream in the current runtime.
    pub(crate) fn start(joined: Joined, keepalive: Option<Keepalive>) -> Self {
        let settings = Settings {
            keepalive,
            direction: Some(Direction::Up),
            failed: |_| Close::new(Close::GOING_AWAY, "the measurement has ended"),
            ..Settings::BRIEF
        };
        let (ours, theirs) = tokio::io::duplex(BETWEEN);
        let (hangup, hung_up) = oneshot::channel();
        let meter = Arc::new(Meter::default());
        let carried = Arc::clone(&meter);
        let bridge = tokio::spawn(async move {
            let local = tokio::io::split(theirs);
            let hangup = async {
                // Dropping the sender also hangs up.
                let _ = hung_up.await;
                Close::new(Close::NORMAL, "")
            };
            let controls = Controls { hangup, gone: pending(), ends_with_peer: || false };
            tunnel::bridge(local, joined.io, &joined.early, &settings, &carried, controls).await
        });
        let (read, write) = tokio::io::split(ours);
        Self { read, write, meter, hangup, bridge }
    }

    /// Bytes carried so far, in both directions.
    pub(crate) fn carried(&self) -> u64 {
        self.meter.sent() + self.meter.received()
    }

    /// Ends the stream in order, within about a second.
    pub(crate) async fn end(self) {
        let Self { read, write, hangup, mut bridge, .. } = self;
        drop((read, write));
        if timeout(END_LIMIT, &mut bridge).await.is_err() {
            drop(hangup);
            let _ = bridge.await;
        }
    }

    /// The error of a stream that ended before the measurement.
    pub(crate) async fn broken(self) -> Error {
        match self.bridge.await {
            Ok(end) => end.error().unwrap_or_else(|| Error::Cut {
                problem: "the device ended it before the measurement did".into(),
            }),
            Err(panicked) => Error::Bug(panicked.to_string()),
        }
    }
}

/// The error of a peer that is not the agent's `builtin`.
pub(super) fn not_the_builtin<T>(stream: &str, problem: &str, builtin: &str) -> Result<T> {
    Err(Error::Target {
        target: format!("of the stream '{stream}'"),
        problem: format!("{problem}: it is not the agent's builtin {builtin}").into(),
    })
}
