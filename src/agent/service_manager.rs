//! What systemd is told (`sd_notify`). Without it, or another that understands it, nobody is.

use std::convert::Infallible;
use std::future::pending;

use sd_notify::NotifyState;
use tokio::time::interval;

/// The agent has come as far as it will: in service, or else trying for ever.
pub(super) fn ready() {
    tell(&[NotifyState::Ready]);
}

/// What the agent is at, in words.
pub(super) fn status(text: &str) {
    tell(&[NotifyState::Status(text)]);
}

pub(super) fn reloading() {
    // Units of Type=notify-reload want to know since when.
    match NotifyState::monotonic_usec_now() {
        Ok(now) => tell(&[NotifyState::Reloading, now]),
        Err(_) => tell(&[NotifyState::Reloading]),
    }
}

pub(super) fn stopping() {
    tell(&[NotifyState::Stopping]);
}

/// Says that whoever polls this is alive, twice as often as systemd wants to hear it.
pub(super) async fn watchdog() -> Infallible {
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
