//! Signals: what they mean to a service, and to a helper of ssh's.

use std::future::pending;
use std::io::IsTerminal;

use rustix::process::{Pid, getppid};
use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::error::{Error, Result};

/// Resolves when whoever runs a command wants it to end: SIGHUP or SIGTERM.
pub(crate) fn hangup() -> Result<impl Future<Output = ()>> {
    let (mut hangup, mut terminate) = (listen(SignalKind::hangup())?, listen(SignalKind::terminate())?);
    Ok(async move {
        tokio::select! {
            _ = hangup.recv() => {}
            _ = terminate.recv() => {}
        }
    })
}

/// While the listener lives, the signal does nothing else.
pub(crate) fn listen(kind: SignalKind) -> Result<Signal> {
    signal(kind).map_err(Error::local_io("signals"))
}

/// The signals of a helper that shares a process group, and perhaps a terminal, with ssh. What was ignored when it was
/// started stays ignored: nohup and sftp see to that, and a handler would undo it.
pub(crate) struct HelperSignals {
    hangup: Option<Signal>,
    terminate: Option<Signal>,
    stats: Option<Signal>,
    /// Those of a terminal's keys: they are ssh's to understand, and a helper that died of them would take every
    /// session over its connection with it.
    _keys: Vec<Signal>,
    /// Whoever started the helper.
    parent: Option<Pid>,
}

/// What a signal asks of a helper.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Asked {
    Hangup,
    Terminate,
    Stats,
}

impl HelperSignals {
    pub(crate) fn listen() -> Result<Self> {
        let ignored = inherited_ignored();
        let unless_ignored = |kind: SignalKind| {
            let is_ignored = ignored >> (kind.as_raw_value() - 1) & 1 == 1;
            (!is_ignored).then(|| listen(kind)).transpose()
        };
        let mut keys = Vec::new();
        if !std::io::stdin().is_terminal() {
            const SIGTSTP: i32 = rustix::process::Signal::TSTP.as_raw();
            for kind in [SignalKind::interrupt(), SignalKind::quit(), SignalKind::from_raw(SIGTSTP)] {
                keys.extend(unless_ignored(kind)?);
            }
        }
        Ok(Self {
            hangup: unless_ignored(SignalKind::hangup())?,
            terminate: unless_ignored(SignalKind::terminate())?,
            stats: unless_ignored(SignalKind::user_defined1())?,
            _keys: keys,
            parent: getppid(),
        })
    }

    /// No signals: of a caller that is not this process's.
    pub(crate) fn none() -> Self {
        Self { hangup: None, terminate: None, stats: None, _keys: Vec::new(), parent: getppid() }
    }

    /// Resolves on SIGHUP or SIGTERM. Cancel-safe.
    pub(crate) async fn hangup(&mut self) {
        while self.next().await == Asked::Stats {}
    }

    /// The next signal. Cancel-safe.
    pub(crate) async fn next(&mut self) -> Asked {
        tokio::select! {
            () = received(&mut self.hangup) => Asked::Hangup,
            () = received(&mut self.terminate) => Asked::Terminate,
            () = received(&mut self.stats) => Asked::Stats,
        }
    }

    /// Whether whoever started the helper has gone: under `-f` and ControlPersist that ssh ends, and its child goes on.
    pub(crate) fn is_orphan(&self) -> bool {
        getppid() != self.parent
    }
}

async fn received(signal: &mut Option<Signal>) {
    match signal {
        Some(signal) => {
            signal.recv().await;
        }
        None => pending().await,
    }
}

/// The set of signals that were ignored when this process was started, as a mask. Elsewhere than on Linux it is empty.
fn inherited_ignored() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).unwrap_or(0)
}
