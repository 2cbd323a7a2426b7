//! The check of this machine's clock. A hub refuses tokens signed more than five minutes off its own clock \[D].

use std::time::{Duration, SystemTime};

use super::error::Error;
use super::skew::Skew;
use crate::check::Outcome;

/// The skew that is worth a warning.
const WORTH_A_WARNING: Duration = Duration::from_secs(60);

/// Compares the clock `here` with the hub's, which has a resolution of one second.
pub(crate) fn clock(here: SystemTime, hub: SystemTime) -> Outcome {
    let skew = Skew::measured(here, hub);
    match skew.amount() {
        _ if skew.is_too_far() => Err(crate::error::Error::from(Error::Skewed { skew })).into(),
        by if by >= WORTH_A_WARNING => {
            Outcome::Warn(format!("{skew} the hub's"), "set the clock: the hub allows five minutes".into())
        }
        by if by.as_secs() > 1 => Outcome::Pass(format!("{skew} the hub's")),
        _ => Outcome::Pass("as the hub's, to the second".into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn warns_before_the_hub_refuses_tokens() {
        let hub = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000);
        let at = |seconds: i64| {
            let by = Duration::from_secs(seconds.unsigned_abs());
            clock(if seconds < 0 { hub - by } else { hub + by }, hub)
        };
        for (seconds, status, detail) in [
            (0, "pass", "as the hub's, to the second"),
            (-1, "pass", "as the hub's, to the second"),
            (30, "pass", "30s ahead of the hub's"),
            (-90, "warn", "1m30s behind the hub's"),
            (300, "warn", "5m ahead of the hub's"),
            (-301, "fail", "the clock here is 5m1s behind the hub's"),
        ] {
            let outcome = at(seconds);
            assert_eq!((outcome.parts().0, outcome.parts().1), (status, Some(detail)), "{seconds}");
            assert_eq!(outcome.parts().2.is_some(), status != "pass");
        }
    }
}
