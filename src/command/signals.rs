//! Signals, as futures.

use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::error::{Error, Result};

/// Resolves when a service is asked to end: SIGTERM, or SIGINT from a terminal.
pub(super) fn termination() -> Result<impl Future<Output = ()>> {
    either(SignalKind::terminate(), SignalKind::interrupt())
}

/// Resolves when ssh, or whoever runs a helper, wants it to end: SIGHUP or SIGTERM.
pub(super) fn hangup() -> Result<impl Future<Output = ()>> {
    either(SignalKind::hangup(), SignalKind::terminate())
}

fn either(one: SignalKind, other: SignalKind) -> Result<impl Future<Output = ()>> {
    let (mut one, mut other) = (listen(one)?, listen(other)?);
    Ok(async move {
        tokio::select! {
            _ = one.recv() => {}
            _ = other.recv() => {}
        }
    })
}

/// While the listener lives, the signal does nothing else.
pub(super) fn listen(kind: SignalKind) -> Result<Signal> {
    signal(kind).map_err(Error::local_io("signals"))
}
