//! Signals, as futures.

use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::error::{Error, Result};

/// Resolves when ssh, or whoever runs a helper, wants it to end: SIGHUP or SIGTERM.
pub(super) fn hangup() -> Result<impl Future<Output = ()>> {
    let (mut hangup, mut terminate) = (listen(SignalKind::hangup())?, listen(SignalKind::terminate())?);
    Ok(async move {
        tokio::select! {
            _ = hangup.recv() => {}
            _ = terminate.recv() => {}
        }
    })
}

/// While the listener lives, the signal does nothing else.
pub(super) fn listen(kind: SignalKind) -> Result<Signal> {
    signal(kind).map_err(Error::local_io("signals"))
}
