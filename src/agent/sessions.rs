//! How many streams there are, and how many there may be.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// The streams from offer to end, by target. The counts outlive a change of the configuration.
#[derive(Debug, Default)]
pub(super) struct Sessions(Mutex<HashMap<String, usize>>);

/// A stream's place among them; dropping it gives the place back.
#[derive(Debug)]
pub(super) struct Place {
    sessions: Arc<Sessions>,
    target: String,
}

impl Sessions {
    fn lock(&self) -> MutexGuard<'_, HashMap<String, usize>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes a place, unless there are `most` already, or `most_of_target` of this target.
    ///
    /// # Errors
    /// Which limit is reached.
    pub(super) fn enter(
        self: &Arc<Self>,
        target: &str,
        most: usize,
        most_of_target: Option<usize>,
    ) -> Result<Place, String> {
        let mut counts = self.lock();
        if counts.values().sum::<usize>() >= most {
            return Err(format!("there are {most} streams already (max-sessions)"));
        }
        let count = counts.entry(target.to_owned()).or_default();
        if let Some(most) = most_of_target.filter(|most| *count >= *most) {
            return Err(format!("there are {most} streams of this target already (its max-sessions)"));
        }
        *count += 1;
        Ok(Place { sessions: self.clone(), target: target.to_owned() })
    }
}

impl Drop for Place {
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
    fn places_are_given_back() {
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
