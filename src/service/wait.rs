//! Waiting for a device that is not there yet, or a hub that throttles.

use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::{Request, open};
use crate::backoff::{Backoff, chance};
use crate::error::{Error, Result};
use crate::net::{Endpoint, Network, Stream, WebSocket};
use crate::phase::Phases;

/// A device that comes online is found within this, and a hub is asked no more often.
const MAX_PAUSE: Duration = Duration::from_secs(4);

/// Opens a stream, and tries again for `wait` while the device is offline or the hub throttles. `request` makes each
/// try's request, for each has a token of its own; `guess` is as for [`open`]; `notice` is told of each failure and how
/// long it has taken so far.
///
/// # Errors
/// The last try's, when the time is up, or the first that waiting does not mend.
pub async fn open_waiting(
    network: &Network,
    mut request: impl AsyncFnMut() -> Result<Request>,
    wait: Duration,
    guess: Option<&Endpoint>,
    phases: &mut Phases,
    mut notice: impl FnMut(&Error, Duration),
) -> Result<WebSocket<Stream>> {
    let begin = Instant::now();
    let mut backoff = Backoff::default();
    loop {
        let error = match open(network, &request().await?, guess, phases).await {
            Ok(websocket) => return Ok(websocket),
            Err(error) => error,
        };
        let Some(retry) = error.retry() else { return Err(error) };
        // The hub's own word counts; the spread keeps those who heard it together apart.
        let pause = backoff.wait(MAX_PAUSE, chance()).max(retry.after.unwrap_or_default());
        if begin.elapsed() + pause > wait {
            return Err(error);
        }
        notice(&error, begin.elapsed());
        sleep(pause).await;
    }
}
