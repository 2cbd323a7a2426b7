//! Trying again, for a hub that throttles and for a device that is not there yet.

use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::Request;
use super::open::open_in_turn;
use crate::error::{Error, Result};
use crate::net::{Endpoint, Network, Stream, WebSocket};
use crate::state::rate::{self, Rate, Turn};
use crate::time::backoff::{Backoff, chance};
use crate::time::phase::Phases;

/// A device that comes online is found within this, and a hub is asked no more often.
const MAX_PAUSE: Duration = Duration::from_secs(4);

/// The same where a hub throttles: there is a place every fifth of a second.
const MAX_THROTTLED_PAUSE: Duration = Duration::from_secs(1);

/// How long a hub that throttles is tried: within the ten seconds that ssh and Ansible give a helper.
const THROTTLED: Duration = Duration::from_secs(9);

/// Until when to try again.
#[derive(Clone, Copy, Debug)]
pub struct Patience {
    wait: Duration,
    offline: Instant,
    throttled: Instant,
}

impl Patience {
    /// `wait` from now for a device that is offline; for a hub that throttles, at least until nine seconds after
    /// `started`.
    pub fn new(started: std::time::Instant, wait: Duration) -> Self {
        let offline = Instant::now() + wait;
        Self { wait, offline, throttled: offline.max(Instant::from_std(started) + THROTTLED) }
    }

    /// How long it lasts in all where a try ends with `error`.
    pub fn whole(&self, error: &Error) -> Duration {
        let is_throttled = error.retry().is_some_and(|retry| retry.is_throttled);
        if is_throttled { self.wait.max(THROTTLED) } else { self.wait }
    }

    /// What is left after `error`, where that is worth another try.
    fn left(&self, error: &Error) -> Option<Duration> {
        let until = if error.retry()?.is_throttled { self.throttled } else { self.offline };
        Some(until.saturating_duration_since(Instant::now())).filter(|left| !left.is_zero())
    }
}

/// Opens a stream, in its turn where there is a `rate`, and tries again while `patience` lasts. `request` makes each
/// try's request, for each has a token of its own; `guess` is as for [`open`](super::open); `notice` is told of each
/// failure that is not the last.
///
/// # Errors
/// The last try's, when the time is up or would be when the hub says to come back, or the first that waiting does not
/// mend.
pub async fn open_waiting(
    network: &Network,
    mut request: impl AsyncFnMut() -> Result<Request>,
    patience: Patience,
    rate: Option<&Rate>,
    guess: Option<&Endpoint>,
    phases: &mut Phases,
    mut notice: impl FnMut(&Error),
) -> Result<WebSocket<Stream>> {
    let mut backoff = Backoff::default();
    loop {
        let most = rate::LONGEST.min(patience.throttled.saturating_duration_since(Instant::now()));
        let turn = rate.map(|rate| Turn { rate, limit: most });
        let error = match open_in_turn(network, &request().await?, turn, guess, phases).await {
            Ok(websocket) => return Ok(websocket),
            Err(error) => error,
        };
        let Some((retry, left)) = error.retry().zip(patience.left(&error)) else { return Err(error) };
        let after = retry.after.unwrap_or_default();
        if after > left {
            return Err(error);
        }
        let longest = if retry.is_throttled { MAX_THROTTLED_PAUSE } else { MAX_PAUSE };
        notice(&error);
        // Those who heard the hub's word together are spread; the last try is worth its time however little is left.
        sleep((after + backoff.wait(longest, chance())).min(left)).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backend::iothub::error::Error as HubError;
    use crate::backend::iothub::proto::{Code, HubFailure, Identity};

    fn failure(status: u16, code: Option<Code>) -> Error {
        HubError::Hub {
            hub: "hub".into(),
            identity: Identity::new("d", None).unwrap(),
            failure: Box::new(HubFailure { status, code, ..HubFailure::default() }),
            skew: None,
        }
        .into()
    }

    #[tokio::test(start_paused = true)]
    async fn a_hub_that_throttles_is_tried_for_nine_seconds_and_a_device_for_as_long_as_it_is_said() {
        let throttled = failure(429, Some(Code::THROTTLED));
        let offline = failure(404, Some(Code::DEVICE_NOT_ONLINE));
        let in_trouble = failure(503, None);
        let started = Instant::now().into_std();
        let patience = Patience::new(started, Duration::ZERO);
        assert_eq!(patience.left(&throttled), Some(THROTTLED));
        assert_eq!([patience.left(&offline), patience.left(&in_trouble)], [None, None]);
        // What has passed since the program started counts.
        tokio::time::advance(Duration::from_secs(5)).await;
        let seconds = Duration::from_secs;
        assert_eq!(Patience::new(started, Duration::ZERO).left(&throttled), Some(seconds(4)));
        let patience = Patience::new(started, seconds(60));
        for error in [throttled, offline, in_trouble] {
            assert_eq!((patience.left(&error), patience.whole(&error)), (Some(seconds(60)), seconds(60)));
        }
        assert_eq!(patience.left(&failure(401, None)), None);
    }
}
