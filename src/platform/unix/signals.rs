//! Signals: what they ask of a service, of a command in the foreground, and of a helper that ssh has started.

use std::future::pending;
use std::io::IsTerminal;

use rustix::process::{Pid, getppid};
use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::error::{Error, Result};
use crate::platform::extra::signals::inherited_ignored;
use crate::platform::signal::{HelperSignal, ServiceSignal};

fn listen(kind: SignalKind) -> Result<Signal> {
    signal(kind).map_err(Error::local_io("signals"))
}

/// Ctrl-C. Once this is made, it does nothing else in this process.
pub(crate) struct Interrupts(Signal);

impl Interrupts {
    /// # Errors
    /// When the system refuses the handler.
    pub(crate) fn listen() -> Result<Self> {
        listen(SignalKind::interrupt()).map(Self)
    }

    /// Resolves at the next Ctrl-C. Cancel-safe.
    pub(crate) async fn next(&mut self) {
        self.0.recv().await;
    }
}

/// Returns a future that resolves when the caller of a command wants it to end: at SIGHUP or SIGTERM.
///
/// # Errors
/// When the system refuses the handlers.
pub(crate) fn hangup() -> Result<impl Future<Output = ()>> {
    either(SignalKind::hangup(), SignalKind::terminate())
}

/// Returns a future that resolves when a server in the foreground is to stop: at SIGINT or SIGTERM.
///
/// # Errors
/// When the system refuses the handlers.
pub(crate) fn stop() -> Result<impl Future<Output = ()>> {
    either(SignalKind::interrupt(), SignalKind::terminate())
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

/// Makes the limit of a file's size an error like any other. Unhandled, its signal ends the process.
pub(crate) fn survive_file_size_limit() {
    const SIGXFSZ: i32 = rustix::process::Signal::XFSZ.as_raw();
    // The handler stays when the listener is dropped; without it nothing else changes.
    let _ = signal(SignalKind::from_raw(SIGXFSZ));
}

/// The signals of a service.
pub(crate) struct ServiceSignals {
    hangup: Signal,
    terminate: Signal,
    interrupt: Signal,
    leave: Signal,
}

impl ServiceSignals {
    /// # Errors
    /// When the system refuses the handlers.
    pub(crate) fn listen() -> Result<Self> {
        Ok(Self {
            hangup: listen(SignalKind::hangup())?,
            terminate: listen(SignalKind::terminate())?,
            interrupt: listen(SignalKind::interrupt())?,
            leave: listen(SignalKind::user_defined2())?,
        })
    }

    /// Resolves at the next signal. Cancel-safe.
    pub(crate) async fn next(&mut self) -> ServiceSignal {
        tokio::select! {
            _ = self.hangup.recv() => ServiceSignal::Reload,
            _ = self.terminate.recv() => ServiceSignal::Stop,
            _ = self.interrupt.recv() => ServiceSignal::Stop,
            _ = self.leave.recv() => ServiceSignal::Leave,
        }
    }
}

/// The signals of a helper that shares a process group, and perhaps a terminal, with ssh. Signals that were ignored when
/// the helper started, as under nohup and sftp, stay ignored: a handler would undo that.
pub(crate) struct HelperSignals {
    hangup: Option<Signal>,
    terminate: Option<Signal>,
    stats: Option<Signal>,
    /// Those of a terminal's keys. ssh acts on them; a helper that died of one would end every session over its
    /// connection.
    _keys: Vec<Signal>,
    /// The process that started the helper.
    parent: Option<Pid>,
}

impl HelperSignals {
    /// # Errors
    /// When the system refuses the handlers.
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

    /// Handles none, for a caller that is not this process's own.
    pub(crate) fn none() -> Self {
        Self { hangup: None, terminate: None, stats: None, _keys: Vec::new(), parent: getppid() }
    }

    /// Resolves at SIGHUP or SIGTERM. Cancel-safe.
    pub(crate) async fn hangup(&mut self) {
        while self.next().await == HelperSignal::Stats {}
    }

    /// Resolves at the next signal. Cancel-safe.
    pub(crate) async fn next(&mut self) -> HelperSignal {
        tokio::select! {
            () = received(&mut self.hangup) => HelperSignal::Hangup,
            () = received(&mut self.terminate) => HelperSignal::Terminate,
            () = received(&mut self.stats) => HelperSignal::Stats,
        }
    }

    /// Whether the process that started the helper has ended. Under `-f` and ControlPersist that is an ssh whose child
    /// goes on.
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
