//! Events of the console, in place of signals. They reach every process of a console.

use std::future::pending;
use std::io::IsTerminal;

use tokio::signal::windows::{self, CtrlBreak, CtrlC, CtrlClose, CtrlLogoff, CtrlShutdown};

use super::service_manager;
use crate::error::{Error, Result};
use crate::platform::signal::{HelperSignal, ServiceSignal};

fn listening<T>(listening: std::io::Result<T>) -> Result<T> {
    listening.map_err(Error::local_io("console events"))
}

/// Ctrl-C. Once this is made, it does nothing else in this process.
pub(crate) struct Interrupts(CtrlC);

impl Interrupts {
    /// # Errors
    /// When the system refuses the handler.
    pub(crate) fn listen() -> Result<Self> {
        listening(windows::ctrl_c()).map(Self)
    }

    /// Resolves at the next Ctrl-C. Cancel-safe.
    pub(crate) async fn next(&mut self) {
        self.0.recv().await;
    }
}

/// The end of the console, or of the user's session. Windows kills the process a few seconds later.
struct Leaving {
    close: CtrlClose,
    logoff: CtrlLogoff,
    shutdown: CtrlShutdown,
}

impl Leaving {
    fn listen() -> Result<Self> {
        Ok(Self {
            close: listening(windows::ctrl_close())?,
            logoff: listening(windows::ctrl_logoff())?,
            shutdown: listening(windows::ctrl_shutdown())?,
        })
    }

    /// Resolves at the first of them. Cancel-safe.
    async fn next(&mut self) {
        tokio::select! {
            _ = self.close.recv() => {}
            _ = self.logoff.recv() => {}
            _ = self.shutdown.recv() => {}
        }
    }
}

/// Returns a future that resolves when the caller of a command wants it to end.
///
/// # Errors
/// When the system refuses the handlers.
pub(crate) fn hangup() -> Result<impl Future<Output = ()>> {
    let mut leaving = Leaving::listen()?;
    Ok(async move { leaving.next().await })
}

/// Returns a future that resolves when a server in the foreground is to stop.
///
/// # Errors
/// When the system refuses the handlers.
pub(crate) fn stop() -> Result<impl Future<Output = ()>> {
    let (mut interrupt, mut leaving) = (listening(windows::ctrl_c())?, Leaving::listen()?);
    let mut break_key = listening(windows::ctrl_break())?;
    Ok(async move {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = break_key.recv() => {}
            () = leaving.next() => {}
        }
    })
}

/// Does nothing: a limit of a file's size is an error like any other.
pub(crate) fn survive_file_size_limit() {}

/// The events of a service.
pub(crate) struct ServiceSignals {
    interrupt: CtrlC,
    reload: CtrlBreak,
    leaving: Leaving,
}

impl ServiceSignals {
    /// # Errors
    /// When the system refuses the handlers.
    pub(crate) fn listen() -> Result<Self> {
        Ok(Self {
            interrupt: listening(windows::ctrl_c())?,
            reload: listening(windows::ctrl_break())?,
            leaving: Leaving::listen()?,
        })
    }

    /// Resolves at the next event. Cancel-safe.
    pub(crate) async fn next(&mut self) -> ServiceSignal {
        tokio::select! {
            _ = self.reload.recv() => ServiceSignal::Reload,
            _ = self.interrupt.recv() => ServiceSignal::Stop,
            () = self.leaving.next() => ServiceSignal::Stop,
            signal = service_manager::next_signal() => signal,
        }
    }
}

/// The events of a helper that shares a console with ssh. ssh acts on the keys; a helper that died of one would end the
/// session.
pub(crate) struct HelperSignals {
    leaving: Option<Leaving>,
    _keys: Option<(CtrlC, CtrlBreak)>,
}

impl HelperSignals {
    /// # Errors
    /// When the system refuses the handlers.
    pub(crate) fn listen() -> Result<Self> {
        let keys = if std::io::stdin().is_terminal() {
            None
        } else {
            Some((listening(windows::ctrl_c())?, listening(windows::ctrl_break())?))
        };
        Ok(Self { leaving: Some(Leaving::listen()?), _keys: keys })
    }

    /// Handles none, for a caller that is not this process's own.
    pub(crate) fn none() -> Self {
        Self { leaving: None, _keys: None }
    }

    /// Resolves when the console closes. Cancel-safe.
    pub(crate) async fn hangup(&mut self) {
        self.next().await;
    }

    /// Resolves at the next event. Cancel-safe.
    pub(crate) async fn next(&mut self) -> HelperSignal {
        match &mut self.leaving {
            Some(leaving) => leaving.next().await,
            None => pending().await,
        }
        HelperSignal::Hangup
    }

    /// Whether the process that started the helper has ended, which Windows does not tell.
    pub(crate) fn is_orphan(&self) -> bool {
        false
    }
}
