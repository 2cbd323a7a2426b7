//! The fault that cuts a stream (`--inject cut=BYTES`).

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use tokio::sync::watch;

/// Cuts both sides of a stream off after a number of relayed bytes.
#[derive(Clone, Debug)]
pub(super) struct Cut {
    left: Arc<AtomicU64>,
    fired: watch::Sender<bool>,
}

impl Cut {
    /// A cut after `bytes`; without a number, never.
    pub(super) fn after(bytes: Option<u64>) -> Self {
        Self { left: Arc::new(AtomicU64::new(bytes.unwrap_or(u64::MAX))), fired: watch::Sender::new(false) }
    }

    /// How many of `bytes` may still be relayed. Once fewer or none may be, [`Cut::fire`] is due.
    pub(super) fn take(&self, bytes: usize) -> usize {
        let wanted = bytes as u64;
        let left = self.left.load(Relaxed);
        if left == u64::MAX {
            return bytes;
        }
        self.left.store(left.saturating_sub(wanted), Relaxed);
        usize::try_from(left.min(wanted)).unwrap_or(bytes)
    }

    /// Whether the cut is to fire.
    pub(super) fn is_due(&self) -> bool {
        self.left.load(Relaxed) == 0
    }

    /// Makes the cut.
    pub(super) fn fire(&self) {
        self.fired.send_replace(true);
    }

    /// Resolves once the cut has fired. Cancel-safe.
    pub(super) async fn fired(&self) {
        // The sender lives as long as `self`.
        let _ = self.fired.subscribe().wait_for(|fired| *fired).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cut_counts_both_directions() {
        let cut = Cut::after(Some(10));
        assert_eq!((cut.take(6), cut.is_due()), (6, false));
        assert_eq!((cut.clone().take(6), cut.is_due()), (4, true));
        let never = Cut::after(None);
        assert_eq!((never.take(usize::MAX), never.is_due()), (usize::MAX, false));
    }
}
