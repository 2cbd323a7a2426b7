//! Opening a stream: tries again while the service throttles, and while the device is offline.

use std::io::IsTerminal;
use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::plan::Plan;
use crate::backend::Joined;
use crate::error::{Error, Result};
use crate::logging;
use crate::state::rate::{self, Turn};
use crate::text::duration;
use crate::time::backoff::{Backoff, chance};
use crate::time::phase::Phases;

/// A device that comes online is found within this time, and a service is asked no more often.
const MAX_PAUSE: Duration = Duration::from_secs(4);

/// The same while the service throttles: it accepts a new stream several times a second.
const MAX_THROTTLED_PAUSE: Duration = Duration::from_secs(1);

/// How long to try a service that throttles: within the ten seconds that ssh and Ansible give a helper.
const THROTTLED: Duration = Duration::from_secs(9);

/// How long the user waits before that is worth a line on a terminal.
const WAIT_NOTICE: Duration = Duration::from_secs(3);

/// Opens the stream for a user who has waited since `started`; tries again while the device is offline or the service
/// throttles, for as long as the plan and ssh have patience.
///
/// # Errors
/// The last try's: the time is up, or would be when the service says to come back, or another try cannot help.
pub async fn open(plan: &Plan, started: std::time::Instant, phases: &mut Phases) -> Result<Joined> {
    let patience = Patience::new(started, plan.wait);
    let mut is_noticed = false;
    let mut backoff = Backoff::default();
    loop {
        let limit = rate::LONGEST.min(patience.throttled.saturating_duration_since(Instant::now()));
        let turn = plan.rate.as_ref().map(|rate| Turn { rate, limit });
        let error = match plan.dialer.open(turn, phases).await {
            Ok(joined) => return Ok(joined),
            Err(error) => error,
        };
        let Some((retry, left)) = error.retry().zip(patience.left(&error)) else { return Err(error) };
        let after = retry.after.unwrap_or_default();
        if after > left {
            return Err(error);
        }
        log::info!("{error}; waiting");
        logging::causes(&error);
        if !is_noticed && started.elapsed() >= WAIT_NOTICE && std::io::stderr().is_terminal() {
            is_noticed = true;
            let whole = duration::show(patience.whole(&error));
            logging::notice(&format!("{error}; waiting for up to {whole}"));
        }
        let longest = if retry.is_throttled { MAX_THROTTLED_PAUSE } else { MAX_PAUSE };
        // Callers that were told the same time are spread; the last try is worth its time however little is left.
        sleep((after + backoff.wait(longest, chance())).min(left)).await;
    }
}

/// The same error, where the stream is for measuring and the device would have to offer `builtin`.
pub fn unless_offered(error: Error, stream: &str, builtin: &'static str) -> Error {
    match error {
        Error::Backend(rejection) if rejection.is_rejection() => {
            Error::NotOffered { rejection, stream: stream.to_owned(), builtin }
        }
        error => error,
    }
}

/// Until when to try again.
#[derive(Clone, Copy, Debug)]
struct Patience {
    wait: Duration,
    offline: Instant,
    throttled: Instant,
}

impl Patience {
    /// `wait` from now for a device that is offline; for a service that throttles, at least until nine seconds after
    /// `started`.
    fn new(started: std::time::Instant, wait: Duration) -> Self {
        let offline = Instant::now() + wait;
        Self { wait, offline, throttled: offline.max(Instant::from_std(started) + THROTTLED) }
    }

    /// How long it lasts in all where a try ends with `error`.
    fn whole(&self, error: &Error) -> Duration {
        let is_throttled = error.retry().is_some_and(|retry| retry.is_throttled);
        if is_throttled { self.wait.max(THROTTLED) } else { self.wait }
    }

    /// What is left after `error`, where that is worth another try.
    fn left(&self, error: &Error) -> Option<Duration> {
        let until = if error.retry()?.is_throttled { self.throttled } else { self.offline };
        Some(until.saturating_duration_since(Instant::now())).filter(|left| !left.is_zero())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(status: u16) -> Error {
        Error::ProxyBusy { proxy: "proxy".into(), status, after: Duration::ZERO }
    }

    #[tokio::test(start_paused = true)]
    async fn throttling_is_tried_for_nine_seconds_and_other_trouble_for_as_long_as_the_user_says() {
        let (throttled, in_trouble) = (refused(429), refused(503));
        let started = Instant::now().into_std();
        let patience = Patience::new(started, Duration::ZERO);
        assert_eq!(patience.left(&throttled), Some(THROTTLED));
        assert_eq!(patience.left(&in_trouble), None);
        // What has passed since the program started counts.
        tokio::time::advance(Duration::from_secs(5)).await;
        let seconds = Duration::from_secs;
        assert_eq!(Patience::new(started, Duration::ZERO).left(&throttled), Some(seconds(4)));
        let patience = Patience::new(started, seconds(60));
        for error in [throttled, in_trouble] {
            assert_eq!((patience.left(&error), patience.whole(&error)), (Some(seconds(60)), seconds(60)));
        }
        assert_eq!(patience.left(&Error::Cut { problem: "x".into() }), None);
    }
}
