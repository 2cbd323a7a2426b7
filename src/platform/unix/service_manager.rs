//! What systemd is told (`sd_notify`). Without it, or another that understands it, nobody is.

use std::convert::Infallible;
use std::future::pending;
use std::sync::{Mutex, PoisonError};

use sd_notify::NotifyState;
use tokio::time::interval;

use crate::error::escape;

/// The agent has come as far as it will: in service, or else trying for ever.
pub(crate) fn ready() {
    tell(&[NotifyState::Ready]);
}

/// What the status says: what the agent is at, and what is wrong beside that.
static STATUS: Mutex<(String, Option<String>)> = Mutex::new((String::new(), None));

/// What the agent is at, in words.
pub(crate) fn status(text: &str) {
    show(|status| text.clone_into(&mut status.0));
}

/// What is wrong, whatever the agent is at.
pub(crate) fn trouble(what: Option<String>) {
    show(|status| status.1 = what);
}

fn show(change: impl FnOnce(&mut (String, Option<String>))) {
    let mut status = STATUS.lock().unwrap_or_else(PoisonError::into_inner);
    change(&mut status);
    let (text, trouble) = &*status;
    let all: Vec<&str> = [Some(text.as_str()), trouble.as_deref()].into_iter().flatten().collect();
    tell(&[NotifyState::Status(&escape(&all.join("; ")))]);
}

pub(crate) fn reloading() {
    // Units of Type=notify-reload want to know since when.
    match NotifyState::monotonic_usec_now() {
        Ok(now) => tell(&[NotifyState::Reloading, now]),
        Err(_) => tell(&[NotifyState::Reloading]),
    }
}

pub(crate) fn stopping() {
    tell(&[NotifyState::Stopping]);
}

/// Says that whoever polls this is alive, twice as often as systemd wants to hear it.
pub(crate) async fn watchdog() -> Infallible {
    let Some(patience) = sd_notify::watchdog_enabled().filter(|patience| !patience.is_zero()) else {
        return pending().await;
    };
    let mut ticks = interval(patience / 2);
    loop {
        ticks.tick().await;
        tell(&[NotifyState::Watchdog]);
    }
}

fn tell(states: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        log::debug!("the service manager cannot be told: {error}");
    }
}
