//! What a stream has carried so far, readable while it runs.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// Counts of payload bytes: what the user sees, without frames and TLS.
#[derive(Debug, Default)]
pub struct Meter {
    sent: AtomicU64,
    received: AtomicU64,
}

impl Meter {
    /// Bytes taken from the local side and put onto the stream.
    pub fn sent(&self) -> u64 {
        self.sent.load(Relaxed)
    }

    /// Bytes taken from the stream and written to the local side.
    pub fn received(&self) -> u64 {
        self.received.load(Relaxed)
    }

    pub(super) fn add_sent(&self, bytes: usize) {
        self.sent.fetch_add(bytes as u64, Relaxed);
    }

    pub(super) fn add_received(&self, bytes: usize) {
        self.received.fetch_add(bytes as u64, Relaxed);
    }
}
