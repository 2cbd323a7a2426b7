//! The clock here beside the hub's: a hub refuses tokens of a clock that is off by more than five minutes [D].

use std::time::{Duration, SystemTime};

use super::error::Error;
use super::skew::Skew;
use crate::check::Outcome;

/// A clock that is off by so much is on its way out of what a hub allows.
const WORTH_A_WARNING: Duration = Duration::from_secs(60);

/// What there is to say of the clock `here`, beside the hub's, whose answers tell the time in whole seconds.
pub fn clock(here: SystemTime, hub: SystemTime) -> Outcome {
    let skew = Skew::measured(here, hub);
    match skew.by() {
        _ if skew.is_too_far() => Err(crate::error::Error::from(Error::Skewed { skew })).into(),
        by if by >= WORTH_A_WARNING => Outcome::Warn(
            format!("{skew} the hub's"),
            "set the clock: from five minutes on the hub refuses tokens signed here".into(),
        ),
        by if by.as_secs() > 1 => Outcome::Pass(format!("{skew} the hub's")),
        _ => Outcome::Pass("as the hub's, to the second".into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_is_warned_of_before_the_hub_minds() {
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
