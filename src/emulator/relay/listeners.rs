//! The listeners that are connected to a hybrid connection.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::mpsc;

use super::tracking::base;

/// Listeners at a time \[P].
const MOST: usize = 25;
/// Messages that wait for a listener that does not read.
const WAITING: usize = 1024;

/// The listeners. Several may have the same id: one that reconnects is there twice until its old channel has ended.
#[derive(Clone, Debug, Default)]
pub(super) struct Listeners(Arc<Mutex<Connected>>);

#[derive(Debug, Default)]
struct Connected {
    listeners: Vec<Listener>,
    last: u64,
}

#[derive(Debug)]
struct Listener {
    number: u64,
    id: String,
    messages: mpsc::Sender<String>,
}

/// A connected listener; dropping it disconnects it.
#[derive(Debug)]
pub(super) struct Registration {
    listeners: Listeners,
    number: u64,
    /// What it is to be sent.
    pub(super) messages: mpsc::Receiver<String>,
}

/// Which listeners may get a sender, by their ids.
#[derive(Debug, Default)]
pub(super) struct Choice {
    pub(super) allowed: Option<Vec<String>>,
    pub(super) disallowed: Vec<String>,
}

/// Why no listener gets a sender.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NoListener {
    /// None is connected.
    Connected,
    /// None meets the sender's choice.
    Chosen,
}

impl Listeners {
    fn lock(&self) -> MutexGuard<'_, Connected> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Connects a listener; `None` when there are too many.
    pub(super) fn register(&self, id: &str) -> Option<Registration> {
        let mut connected = self.lock();
        if connected.listeners.len() >= MOST {
            return None;
        }
        let (sender, messages) = mpsc::channel(WAITING);
        connected.last += 1;
        let number = connected.last;
        connected.listeners.push(Listener { number, id: base(id).to_owned(), messages: sender });
        Some(Registration { listeners: self.clone(), number, messages })
    }

    /// How many are connected.
    pub(super) fn count(&self) -> usize {
        self.lock().listeners.len()
    }

    /// Any listener that meets `choice`, at random \[P].
    ///
    /// # Errors
    /// There is none.
    pub(super) fn choose(&self, choice: &Choice) -> Result<mpsc::Sender<String>, NoListener> {
        let connected = self.lock();
        if connected.listeners.is_empty() {
            return Err(NoListener::Connected);
        }
        let among = |ids: &[String], id: &str| ids.iter().any(|known| base(known).eq_ignore_ascii_case(id));
        let met: Vec<&Listener> = connected
            .listeners
            .iter()
            .filter(|one| choice.allowed.as_ref().is_none_or(|allowed| among(allowed, &one.id)))
            .filter(|one| !among(&choice.disallowed, &one.id))
            .collect();
        let random = getrandom::u32().unwrap_or_default() as usize;
        match met.len() {
            0 => Err(NoListener::Chosen),
            count => Ok(met[random % count].messages.clone()),
        }
    }
}

impl Registration {
    /// How many listeners are connected, with this one.
    pub(super) fn count(&self) -> usize {
        self.listeners.count()
    }
}

impl Drop for Registration {
    fn drop(&mut self) {
        self.listeners.lock().listeners.retain(|one| one.number != self.number);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sender_gets_any_listener_that_meets_its_choice() {
        let listeners = Listeners::default();
        let none = Choice::default();
        assert_eq!(listeners.choose(&none).unwrap_err(), NoListener::Connected);
        let mut connected = ["a_G1", "b", "b"].map(|id| listeners.register(id).unwrap());
        let ids = |ids: &[&str]| ids.iter().map(|id| (*id).to_owned()).collect::<Vec<_>>();
        let only = |allowed: &[&str]| Choice { allowed: Some(ids(allowed)), ..Choice::default() };
        let not = |disallowed: &[&str]| Choice { disallowed: ids(disallowed), ..Choice::default() };
        for (choice, chosen) in
            [(none, [true; 3]), (only(&["A"]), [true, false, false]), (not(&["A_G7"]), [false, true, true])]
        {
            let mut seen = [false; 3];
            for _ in 0..200 {
                listeners.choose(&choice).unwrap().try_send(String::new()).unwrap();
                for (seen, one) in seen.iter_mut().zip(&mut connected) {
                    *seen |= one.messages.try_recv().is_ok();
                }
            }
            assert_eq!(seen, chosen, "{choice:?}");
        }
        assert_eq!(listeners.choose(&only(&["c"])).unwrap_err(), NoListener::Chosen);
        assert_eq!(listeners.choose(&only(&[])).unwrap_err(), NoListener::Chosen);
        // The older of two with one id ends, and the other stays.
        let [_, old, new] = connected;
        drop(old);
        assert_eq!(listeners.count(), 2);
        listeners.choose(&only(&["b"])).unwrap();
        drop(new);
        assert_eq!(listeners.choose(&only(&["b"])).unwrap_err(), NoListener::Chosen);
    }

    #[test]
    fn listeners_are_limited() {
        let listeners = Listeners::default();
        let mut all: Vec<_> = (0..25).map(|_| listeners.register("x").unwrap()).collect();
        assert!(listeners.register("x").is_none());
        all.pop();
        assert!(listeners.register("x").is_some());
    }
}
