//! The wait before the next hub connection.

use std::time::Duration;

use tokio::time::Instant;

use crate::backend::iothub::error::Error as HubError;
use crate::backend::iothub::phase::HUB;
use crate::backend::listener::at_least_asked;
use crate::backend::provisioning::PROVISIONING;
use crate::error::Error;
use crate::time::backoff::{Backoff, chance};

/// The longest wait if the hub cannot be reached, so that a restarted hub is found within five seconds. It also applies
/// for [`NEW`] after the last last_good hub connection.
const QUICK_WAIT: Duration = Duration::from_secs(3);
const NEW: Duration = Duration::from_secs(5 * 60);

/// The longest wait if the hub can be reached and refuses the device.
const LONGEST_WAIT: Duration = Duration::from_secs(60);

/// The shortest wait before a further registration, if the provisioning service names none: it takes 1,000 a minute from
/// all devices \[D].
const REGISTRATION_WAIT: Duration = Duration::from_secs(5);

/// The back-off since the last last_good hub connection.
#[derive(Debug)]
pub(super) struct Retry {
    backoff: Backoff,
    /// The time of the last last_good hub connection, or of the start.
    last_good: Instant,
}

impl Retry {
    pub(super) fn new() -> Self {
        Self { backoff: Backoff::default(), last_good: Instant::now() }
    }

    /// Records a good hub connection: the next failure counts as the first.
    pub(super) fn reset(&mut self) {
        self.backoff.reset();
        self.last_good = Instant::now();
    }

    /// The wait after a failure.
    pub(super) fn wait_after(&mut self, error: &Error) -> Duration {
        let is_away = match error {
            // In these phases, the service was reached and ended the connection.
            Error::Network { phase, .. } => ![HUB, PROVISIONING].contains(phase),
            error => matches!(error, Error::Timeout { .. }),
        };
        // Another client with the same identity throws us out, and we it: whoever waits lets the other one work.
        let is_fight = matches!(error.fault(), Some(HubError::ThrownOut { .. }));
        // A provisioning service restarts for nobody, and counts registrations.
        let is_provisioning = error.phase() == Some(PROVISIONING);
        let is_quick = is_away || (self.last_good.elapsed() < NEW && !is_fight && !is_provisioning);
        let wait = self.backoff.wait(if is_quick { QUICK_WAIT } else { LONGEST_WAIT }, chance());
        let is_asked = error.retry_after().is_some_and(|asked| !asked.is_zero());
        let least = if is_provisioning && !is_asked { REGISTRATION_WAIT } else { Duration::ZERO };
        at_least_asked(wait + least, error)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backend::iothub::error::Upgrade;
    use crate::backend::iothub::proto::Identity;
    use crate::backend::listener::LONGEST_ASKED;
    use crate::time::phase::Phase;

    #[tokio::test(start_paused = true)]
    async fn waits_less_for_an_unreachable_hub_than_for_one_that_refuses() {
        let mut retry = Retry::new();
        let away = || Error::network(Phase::TCP, "hub", "refused");
        let cut = || Error::network(HUB, "hub", "cut");
        let refused = |seconds| {
            let retry_after = Some(Duration::from_secs(seconds));
            Error::from(HubError::WebSocket(Upgrade { server: "hub".into(), status: 503, retry_after }))
        };
        // A hub that restarts.
        assert!((0..50).all(|_| retry.wait_after(&cut()) <= QUICK_WAIT));
        assert_eq!(retry.wait_after(&refused(20)).as_secs(), 20);
        assert_eq!(retry.wait_after(&refused(1 << 32)), LONGEST_ASKED);
        tokio::time::advance(NEW).await;
        assert!((0..50).all(|_| retry.wait_after(&away()) <= QUICK_WAIT));
        // Another agent with the same identity.
        let longest = (0..9).map(|_| retry.wait_after(&cut())).last().unwrap();
        assert!(longest >= LONGEST_WAIT / 2, "{longest:?}");
        retry.reset();
        assert!(retry.wait_after(&cut()) < Duration::from_secs(1));
        let identity = Identity::new("gw-07", None).unwrap();
        let thrown_out = Error::from(HubError::ThrownOut { hub: "hub".into(), identity, times: 3 });
        let not_registered = Error::network(PROVISIONING, "service", "cut");
        assert!(retry.wait_after(&not_registered) >= REGISTRATION_WAIT);
        for error in [thrown_out, not_registered] {
            retry.reset();
            let longest = (0..9).map(|_| retry.wait_after(&error)).last().unwrap();
            assert!(longest >= LONGEST_WAIT / 2, "{error}: {longest:?}");
        }
    }
}
