//! The wait before the next control channel.

use std::time::Duration;

use super::error::Error as RelayError;
use crate::backend::listener::at_least_asked;
use crate::error::{Error, Exit};
use crate::time::backoff::chance;

/// The waits in seconds after each failure in a row. The last one repeats for ever \[D]\[J]\[N].
const WAITS: [u64; 6] = [0, 1, 2, 5, 10, 30];

/// The part by which a wait is longer or shorter, so that a fleet does not come back all at once.
const JITTER: f64 = 0.2;

/// A control channel that lived this long was a good one: the next failure counts as the first. One that delivered an offer
/// was too, but is not dialled again at once within [`AT_ONCE`].
const GOOD: Duration = Duration::from_secs(5);
const AT_ONCE: Duration = Duration::from_secs(1);

/// The failures since the last good control channel.
#[derive(Debug, Default)]
pub(super) struct Retry {
    failures: usize,
}

impl Retry {
    /// Records a control channel that lived for `life`.
    pub(super) fn ended(&mut self, life: Duration, has_offered: bool) {
        if life >= GOOD {
            self.failures = 0;
        } else if has_offered {
            self.failures = self.failures.min(usize::from(life < AT_ONCE));
        }
    }

    /// The wait after a failure.
    pub(super) fn wait_after(&mut self, error: &Error) -> Duration {
        let last = WAITS.len() - 1;
        let at = if is_final(error) { last } else { self.failures.min(last) };
        self.failures += 1;
        let jitter = 1.0 - JITTER + 2.0 * JITTER * f64::from(chance()) / f64::from(u32::MAX);
        let wait = Duration::from_secs(WAITS[at]).mul_f64(jitter);
        at_least_asked(wait, error)
    }
}

/// Whether the configuration or the service's settings must change before another try can succeed. A changed credential may
/// help.
pub(super) fn is_final(error: &Error) -> bool {
    error.fault().is_some_and(RelayError::is_final) || matches!(error.exit(), Exit::Denied | Exit::Config)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backend::listener::LONGEST_ASKED;
    use crate::time::phase::Phase;

    fn cut() -> Error {
        Error::network(Phase::TCP, "relay", "refused")
    }

    fn refused(status: u16, retry_after: Option<Duration>) -> Error {
        let (namespace, entity, reason) = ("ns".into(), "e".into(), String::new());
        RelayError::Refused { namespace, entity, status, reason, retry_after, skew: None }.into()
    }

    fn waits(retry: &mut Retry, count: usize) -> Vec<Duration> {
        (0..count).map(|_| retry.wait_after(&cut())).collect()
    }

    fn is_about(wait: Duration, seconds: f64) -> bool {
        (seconds * 0.79..=seconds * 1.21).contains(&wait.as_secs_f64())
    }

    #[test]
    fn the_waits_grow_and_repeat_the_last_for_ever() {
        let waits = waits(&mut Retry::default(), 100);
        for (wait, expected) in waits.iter().zip([0.0, 1.0, 2.0, 5.0, 10.0].into_iter().chain([30.0; 95])) {
            assert!(is_about(*wait, expected), "{waits:?}");
        }
    }

    #[test]
    fn only_a_good_channel_starts_over() {
        let mut retry = Retry::default();
        waits(&mut retry, 4);
        retry.ended(Duration::from_secs(4), false);
        assert!(is_about(retry.wait_after(&cut()), 10.0));
        retry.ended(Duration::from_secs(2), true);
        assert_eq!(retry.wait_after(&cut()), Duration::ZERO);
        retry.ended(Duration::from_millis(1), true);
        assert!(is_about(retry.wait_after(&cut()), 1.0), "a service that offers and ends at once");
        retry.ended(GOOD, false);
        assert_eq!(retry.wait_after(&cut()), Duration::ZERO);
    }

    #[test]
    fn a_refusal_is_tried_slowly() {
        for status in [401, 403, 404] {
            assert!(is_about(Retry::default().wait_after(&refused(status, None)), 30.0), "{status}");
        }
        assert_eq!(Retry::default().wait_after(&refused(503, None)), Duration::ZERO);
        let asked = |seconds| Some(Duration::from_secs(seconds));
        assert_eq!(Retry::default().wait_after(&refused(503, asked(20))).as_secs(), 20);
        assert_eq!(Retry::default().wait_after(&refused(503, asked(1 << 40))), LONGEST_ASKED);
    }
}
