//! An open stream, with the bridge that ssh has running beside whoever measures.

use std::sync::Arc;
use std::time::Duration;

use tokio::io::{DuplexStream, ReadHalf, WriteHalf};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use crate::error::{Error, Result};
use crate::net::{Stream, WebSocket};
use crate::tunnel::{self, Close, End, Meter, Settings};

/// What stands between the bridge and whoever measures: enough for the bridge's largest step.
const BETWEEN: usize = 256 * 1024;

/// A stream that is being measured.
#[derive(Debug)]
pub struct Session {
    pub read: ReadHalf<DuplexStream>,
    pub write: WriteHalf<DuplexStream>,
    meter: Arc<Meter>,
    hangup: oneshot::Sender<()>,
    bridge: JoinHandle<End>,
}

impl Session {
    /// Starts the bridge of an established stream, whose peer is pinged after `keepalive` of silence. A runtime must run.
    pub fn start(websocket: WebSocket<Stream>, keepalive: Duration) -> Self {
        let settings = Settings {
            keepalive,
            linger: Duration::from_secs(1),
            drain: Duration::ZERO,
            // Nothing is sent after the peer's close: its end is to be seen at once.
            half_close: true,
        };
        let (ours, theirs) = tokio::io::duplex(BETWEEN);
        let (hangup, hung_up) = oneshot::channel();
        let meter = Arc::new(Meter::default());
        let carried = Arc::clone(&meter);
        let bridge = tokio::spawn(async move {
            let local = tokio::io::split(theirs);
            // Dropped is as good as sent.
            let hangup = async { drop(hung_up.await) };
            tunnel::bridge(local, websocket.io, &websocket.early, &settings, &carried, hangup).await
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
        drop(self.hangup);
        // Nothing is left to be told: what was to be measured is.
        let _ = self.bridge.await;
    }

    /// Why the stream ended, after its reading half has: always an error, for nothing here ends by itself.
    pub async fn broken(self) -> Error {
        match self.bridge.await {
            Ok(end) => failure(end).unwrap_or_else(|| Error::Cut {
                problem: "the device ended it before the measurement did".into(),
            }),
            Err(panicked) => Error::Bug(panicked.to_string()),
        }
    }
}

/// What the end of a bridge means to a user; `None` is an end in good order.
pub fn failure(end: End) -> Option<Error> {
    Some(match end {
        End::Local | End::HungUp => return None,
        End::Peer(close) if close.is_normal() => return None,
        End::Peer(close) => Error::Cut { problem: format!("the gateway closed it{}", told(&close)) },
        End::LocalFailed(source) => Error::LocalIo { what: "the local side of the stream".into(), source },
        End::Cut(error) => Error::Cut { problem: error.to_string() },
        End::Violation(what) => {
            Error::Protocol { target: "the gateway".into(), problem: format!("it sent {what}") }
        }
        End::Silent(after) => Error::Silent { after },
    })
}

/// The code and the reason of a Close.
fn told(close: &Close) -> String {
    let code = close.code.map_or_else(String::new, |code| format!(" with {code}"));
    if close.reason.is_empty() { code } else { format!("{code}: {}", close.reason) }
}

/// What the other side did is not what its service is for.
pub(super) fn not_the_service<T>(stream: &str, problem: &str, builtin: &str) -> Result<T> {
    Err(Error::Target {
        target: format!("of the stream '{stream}'"),
        problem: format!("{problem}: it is not the agent's builtin {builtin}"),
    })
}
