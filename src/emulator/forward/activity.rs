//! When a stream last carried a frame.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::time::{Instant, sleep_until};

/// The time of a stream's last frame, in either direction.
#[derive(Clone, Debug)]
pub(super) struct Activity {
    last: Arc<Mutex<Instant>>,
    limit: Option<Duration>,
}

impl Activity {
    /// A stream that may carry nothing for `limit`; without a limit, for ever.
    pub(super) fn new(limit: Option<Duration>) -> Self {
        Self { last: Arc::new(Mutex::new(Instant::now())), limit }
    }

    fn last(&self) -> Instant {
        *self.last.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes a frame.
    pub(super) fn note(&self) {
        if self.limit.is_some() {
            *self.last.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
        }
    }

    /// Resolves once the stream has been idle for too long. Cancel-safe.
    pub(super) async fn ended(&self) {
        let Some(limit) = self.limit else { return std::future::pending().await };
        while self.last().elapsed() < limit {
            sleep_until(self.last() + limit).await;
        }
    }
}
