//! The hub's quota of streams (`--quota RATE/s,AT-ONCE`). The service lets in 5 new streams a second and 50 at a time
//! \[D]. Which code it gives is not known: 429001 for both is our choice, as a client may try again.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// How many new streams a second the hub lets in, and how many at a time.
#[derive(Debug)]
pub(crate) struct Quota {
    pub(super) rate: u32,
    pub(super) at_once: usize,
    /// When the next stream is due at an even rate: at most a second ahead.
    next: Mutex<Option<Instant>>,
}

impl Quota {
    /// Reads `RATE/s,AT-ONCE`.
    ///
    /// # Errors
    /// How a quota is written.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let parsed = || {
            let (rate, at_once) = text.split_once(',')?;
            let rate = rate.trim().strip_suffix("/s")?.parse().ok().filter(|rate| *rate > 0)?;
            let at_once = at_once.trim().parse().ok().filter(|at_once| *at_once > 0)?;
            Some(Self { rate, at_once, next: Mutex::default() })
        };
        parsed().ok_or_else(|| format!("'{text}' is not RATE/s,AT-ONCE, such as 5/s,50"))
    }

    /// Whether the hub lets in another stream now. The rate holds over a second, in which all may come at once.
    pub(super) fn admits(&self) -> bool {
        let now = Instant::now();
        let mut next = self.next.lock().unwrap_or_else(PoisonError::into_inner);
        let due = next.unwrap_or(now).max(now) + Duration::from_secs(1) / self.rate;
        let admitted = due <= now + Duration::from_secs(1);
        if admitted {
            *next = Some(due);
        }
        admitted
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn the_streams_of_a_second_may_come_at_once() {
        let quota = Quota::parse("5/s, 50").unwrap();
        let admitted = || (0..20).filter(|_| quota.admits()).count();
        assert_eq!(admitted(), 5);
        tokio::time::advance(Duration::from_millis(199)).await;
        assert_eq!(admitted(), 0);
        tokio::time::advance(Duration::from_millis(2)).await;
        assert_eq!(admitted(), 1);
        tokio::time::advance(Duration::from_secs(60)).await;
        assert_eq!(admitted(), 5);
    }

    #[test]
    fn an_invalid_quota_is_refused() {
        for text in ["", "5", "5/s", "5,50", "0/s,50", "5/s,0", "5/m,50", "-1/s,50", "5/s,x", "5/s,50,1"] {
            assert!(Quota::parse(text).unwrap_err().contains("5/s,50"), "{text}");
        }
    }
}
