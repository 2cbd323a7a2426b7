//! Notifications to a service manager, which Windows does not read.

use std::convert::Infallible;
use std::future::pending;

/// The agent has started.
pub(crate) fn ready() {}

/// Reports what the agent is doing.
pub(crate) fn status(_: &str) {}

/// Reports a problem that does not change what the agent is doing; `None` once it is over.
pub(crate) fn trouble(_: Option<String>) {}

/// The agent reads its configuration again.
pub(crate) fn reloading() {}

/// The agent is stopping.
pub(crate) fn stopping() {}

/// Never resolves.
pub(crate) async fn watchdog() -> Infallible {
    pending().await
}
