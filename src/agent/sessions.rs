//! The limits on the number of streams.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// The number of streams of each target, from offer to end. The counts outlive a change of the configuration.
#[derive(Debug, Default)]
pub(super) struct Sessions(Mutex<HashMap<String, usize>>);

/// Counts one stream until it is dropped.
#[derive(Debug)]
pub(super) struct Permit {
    sessions: Arc<Sessions>,
    target: String,
}

impl Sessions {
    fn lock(&self) -> MutexGuard<'_, HashMap<String, usize>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Counts a stream of `target`, unless there are `most` streams already, or `most_of_target` of this target.
    ///
    /// # Errors
    /// Which limit is reached.
    pub(super) fn enter(
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
        Ok(Permit { sessions: self.clone(), target: target.to_owned() })
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        let mut counts = self.sessions.lock();
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
    fn a_dropped_permit_frees_its_stream() {
        let sessions = Arc::new(Sessions::default());
        let ssh = sessions.enter("ssh", 2, Some(1)).unwrap();
        assert!(sessions.enter("ssh", 2, Some(1)).unwrap_err().contains("of this target"));
        let web = sessions.enter("web", 2, None).unwrap();
        assert!(sessions.enter("web", 2, None).unwrap_err().contains("(max-sessions)"));
        drop(ssh);
        drop(sessions.enter("ssh", 2, Some(1)).unwrap());
        drop(web);
        assert!(sessions.enter("ssh", 0, None).is_err());
        assert!(sessions.lock().is_empty());
    }
}
