//! When a refused start is tried again.

use std::time::{Duration, Instant};

use crate::backend::relay::error::Error as RelayError;
use crate::backend::relay::phase::RELAY;
use crate::backend::relay::proto::Cause;
use crate::error::Error;
use crate::time::backoff::{Backoff, chance};

/// How long a missing listener is waited for: one that reconnects is back by then.
const MISSING: Duration = Duration::from_secs(3);

/// The pauses between tries at a missing listener. The last one is repeated.
const MISSING_PAUSES: [Duration; 3] =
    [Duration::from_millis(300), Duration::from_millis(600), Duration::from_secs(1)];

/// The longest pause between tries at a service in trouble.
const LONGEST_PAUSE: Duration = Duration::from_secs(4);

/// The retries of one start. All of them begin before a deadline.
#[derive(Debug)]
pub(super) struct Retries {
    deadline: Instant,
    missing_until: Option<Instant>,
    missing_pauses: usize,
    is_retried_once: bool,
    backoff: Backoff,
}

impl Retries {
    pub(super) fn until(deadline: Instant) -> Self {
        Self {
            deadline,
            missing_until: None,
            missing_pauses: 0,
            is_retried_once: false,
            backoff: Backoff::default(),
        }
    }

    /// The pause before another try after `error`; `None` if there is none.
    pub(super) fn pause(&mut self, error: &Error) -> Option<Duration> {
        let now = Instant::now();
        let mut until = self.deadline;
        let pause = match kind(error) {
            Kind::Final => return None,
            Kind::Missing => {
                until = until.min(*self.missing_until.get_or_insert(now + MISSING));
                let at = self.missing_pauses.min(MISSING_PAUSES.len() - 1);
                self.missing_pauses += 1;
                MISSING_PAUSES[at]
            }
            Kind::Once if std::mem::replace(&mut self.is_retried_once, true) => return None,
            Kind::Once => Duration::ZERO,
            Kind::Trouble => {
                let after = error.retry_after().unwrap_or_default();
                after.max(self.backoff.wait(LONGEST_PAUSE, chance()))
            }
        };
        (now + pause < until).then_some(pause)
    }
}

/// How an error is retried.
enum Kind {
    /// Not at all.
    Final,
    /// Shortly.
    Missing,
    /// Once.
    Once,
    /// Up to the deadline.
    Trouble,
}

fn kind(error: &Error) -> Kind {
    match error.fault() {
        Some(RelayError::Refused(refused)) => match refused.cause() {
            Cause::NoEntity | Cause::NoAllowedListener | Cause::NoListener => Kind::Missing,
            Cause::LateListener => Kind::Once,
            Cause::Trouble => Kind::Trouble,
            _ => Kind::Final,
        },
        // The service drops some requests without an answer \[A].
        None if matches!(error, Error::Network { phase: RELAY, .. }) => Kind::Once,
        _ => Kind::Final,
    }
}

/// Whether the error is an answer that another try with the same id would get as well.
pub(super) fn is_answer(error: &Error) -> bool {
    error.fault::<RelayError>().is_some() && matches!(kind(error), Kind::Final)
}
