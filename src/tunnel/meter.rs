//! Byte counts of a running stream.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// Counts payload bytes, without the overhead of frames and TLS.
#[derive(Debug, Default)]
pub(crate) struct Meter {
    sent: AtomicU64,
    received: AtomicU64,
}

impl Meter {
    /// Bytes read from the local side and sent.
    pub(crate) fn sent(&self) -> u64 {
        self.sent.load(Relaxed)
    }

    /// Bytes received and written to the local side.
    pub(crate) fn received(&self) -> u64 {
        self.received.load(Relaxed)
    }

    pub(super) fn add_sent(&self, bytes: usize) {
        self.sent.fetch_add(bytes as u64, Relaxed);
    }

    pub(super) fn add_received(&self, bytes: usize) {
        self.received.fetch_add(bytes as u64, Relaxed);
    }
}
