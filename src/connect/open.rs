//! Opens a stream, and retries while the service throttles or the device is offline.

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

/// The longest pause between attempts at an offline device.
const MAX_PAUSE: Duration = Duration::from_secs(4);

/// The longest pause at a throttling service, which accepts several new streams a second.
const MAX_THROTTLED_PAUSE: Duration = Duration::from_secs(1);

/// How long to retry a throttling service, within the ten seconds that Ansible gives ssh to connect.
const THROTTLED: Duration = Duration::from_secs(9);

/// How long the user waits before a notice on the terminal.
const WAIT_NOTICE: Duration = Duration::from_secs(3);

/// Opens the stream for a user who has waited since `started`. Retries while the device is offline, for the plan's wait, or
/// the service throttles, for at least nine seconds.
///
/// Cancel-safe: dropping the future abandons the stream.
///
/// # Errors
/// Returns the last attempt's error if a retry cannot help or would exceed the time limit.
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
        // The random wait spreads callers with the same Retry-After. The last attempt starts at the end of the time limit.
        sleep((after + backoff.wait(longest, chance())).min(left)).await;
    }
}

/// Turns the rejection of a measured stream into an error that names the agent's missing `builtin` target.
pub fn unless_offered(error: Error, stream: &str, builtin: &'static str) -> Error {
    match error {
        Error::Backend(rejection) if rejection.is_rejection() => {
            Error::NotOffered { rejection, stream: stream.to_owned(), builtin }
        }
        error => error,
    }
}

/// The time limits of retries.
#[derive(Clone, Copy, Debug)]
struct Patience {
    wait: Duration,
    offline: Instant,
    throttled: Instant,
}

impl Patience {
    /// Retries for `wait` from now, and at a throttling service at least until [`THROTTLED`] after `started`.
    fn new(started: std::time::Instant, wait: Duration) -> Self {
        let offline = Instant::now() + wait;
        Self { wait, offline, throttled: offline.max(Instant::from_std(started) + THROTTLED) }
    }

    /// The whole time limit after `error`.
    fn whole(&self, error: &Error) -> Duration {
        let is_throttled = error.retry().is_some_and(|retry| retry.is_throttled);
        if is_throttled { self.wait.max(THROTTLED) } else { self.wait }
    }

    /// The time left after `error`; `None` if a retry is not possible.
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
    async fn retries_throttling_for_nine_seconds_and_others_for_the_users_wait() {
        let (throttled, in_trouble) = (refused(429), refused(503));
        let started = Instant::now().into_std();
        let patience = Patience::new(started, Duration::ZERO);
        assert_eq!(patience.left(&throttled), Some(THROTTLED));
        assert_eq!(patience.left(&in_trouble), None);
        // The time since the program's start counts.
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
