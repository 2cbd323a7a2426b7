//! The limits on the number of streams.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Counts the streams of each target, from offer to end, across changes of the configuration.
#[derive(Debug, Default)]
pub(super) struct StreamLimits(Mutex<HashMap<String, usize>>);

/// Permits one stream until it is dropped.
#[derive(Debug)]
pub(super) struct Permit {
    limits: Arc<StreamLimits>,
    target: String,
}

impl StreamLimits {
    fn lock(&self) -> MutexGuard<'_, HashMap<String, usize>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Permits a stream of `target`, unless there are already `most` streams, or `most_of_target` of this target.
    ///
    /// # Errors
    /// Returns which limit is reached.
    pub(super) fn acquire(
        self: &Arc<Self>,
        target: &str,
        most: usize,
        most_of_target: Option<usize>,
    ) -> Result<Permit, String> {
        let mut counts = self.lock();
        if counts.values().sum::<usize>() >= most {
            return Err(format!("there are {most} streams already (max-sessions)"));
        }
        let count = counts.entry(target.to_owned()).or_default();
        if let Some(most) = most_of_target.filter(|most| *count >= *most) {
            return Err(format!("there are {most} streams of this target already (its max-sessions)"));
        }
        *count += 1;
        Ok(Permit { limits: self.clone(), target: target.to_owned() })
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        let mut counts = self.limits.lock();
        if let Some(count) = counts.get_mut(&self.target) {
            *count -= 1;
            if *count == 0 {
                counts.remove(&self.target);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dropped_permit_allows_another_stream() {
        let limits = Arc::new(StreamLimits::default());
        let ssh = limits.acquire("ssh", 2, Some(1)).unwrap();
        assert!(limits.acquire("ssh", 2, Some(1)).unwrap_err().contains("of this target"));
        let web = limits.acquire("web", 2, None).unwrap();
        assert!(limits.acquire("web", 2, None).unwrap_err().contains("(max-sessions)"));
        drop(ssh);
        drop(limits.acquire("ssh", 2, Some(1)).unwrap());
        drop(web);
        assert!(limits.acquire("ssh", 0, None).is_err());
        assert!(limits.lock().is_empty());
    }
}
