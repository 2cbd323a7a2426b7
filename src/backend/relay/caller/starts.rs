//! The tracking ids of starts that have not succeeded yet.

use std::sync::{Mutex, PoisonError};

use uuid::Uuid;

/// The ids of failed starts. A retry continues one of them: an agent that has asked a person for an id does not ask again.
#[derive(Debug, Default)]
pub(crate) struct Starts(Mutex<Vec<Uuid>>);

impl Starts {
    /// The id for a start: that of a failed one, else a new one.
    pub(crate) fn begin(&self) -> Uuid {
        self.ids().pop().unwrap_or_else(Uuid::new_v4)
    }

    /// Keeps the id of a failed start for the next.
    pub(crate) fn failed(&self, id: Uuid) {
        self.ids().push(id);
    }

    fn ids(&self) -> std::sync::MutexGuard<'_, Vec<Uuid>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_retry_continues_the_failed_start() {
        let starts = Starts::default();
        let (one, other) = (starts.begin(), starts.begin());
        assert_ne!(one, other);
        starts.failed(one);
        assert_eq!(starts.begin(), one);
        assert_ne!(starts.begin(), one);
    }
}
