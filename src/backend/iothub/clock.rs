//! The check of this machine's clock against the hub's.

use std::time::SystemTime;

use super::error::Error;
use crate::backend::skew::Skew;
use crate::check::Outcome;

/// Compares the clock `here` with the hub's.
pub(crate) fn clock(here: SystemTime, hub: SystemTime) -> Outcome {
    Skew::measured(here, hub).outcome("hub", |skew| Error::Skewed { skew }.into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

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
