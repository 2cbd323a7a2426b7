//! A service that restarts without cutting its streams. Its main process, the one that the service manager knows, starts the
//! agent as a child. At a restart, the child leaves the hub and the main process ends; the child serves its streams to
//! their end beside its successor. This needs a service manager that kills the main process alone, such as systemd with
//! `KillMode=process`.

use std::ffi::OsString;
use std::os::fd::OwnedFd;
use std::os::unix::process::ExitStatusExt;
use std::process::{ExitCode, ExitStatus};
use std::sync::OnceLock;

use rustix::net::SendFlags;
use rustix::process::{Pid, Signal, getpid, getppid, kill_process};
use sd_notify::NotifyState;
use tokio::net::UnixDatagram;
use tokio::process::Command;
use tokio::signal::unix::{SignalKind, signal};

use crate::error::{Error, Result};
use crate::platform::extra::parent;

/// The number of the main process, in its child.
static MAIN: OnceLock<u32> = OnceLock::new();

/// What the child says once it has left the hub. Its other messages are for the service manager, which listens to the main
/// process alone.
const LEFT: &str = "left";

/// The longest message that is passed on, in bytes.
const MESSAGE: usize = 4096;

/// Is the main process of a child, which gets `words` and the option `--main-process` on its command line. Ends with the
/// child's exit status, or once the child has left the hub.
///
/// # Errors
/// When the child cannot be started or watched.
pub(crate) async fn run(words: Vec<OsString>) -> Result<ExitCode> {
    let mut signals = Signals::listen()?;
    // Messages come from the child's stdin: its stdout may be the audit log.
    let (messages, its) = UnixDatagram::pair().map_err(Error::local_io("a pair of sockets"))?;
    let its = its.into_std().and_then(|its| its.set_nonblocking(false).map(|()| OwnedFd::from(its)));
    let program = std::env::current_exe().map_err(Error::local_io("this program's own file"))?;
    let mut command = Command::new(&program);
    command.args(words).arg("--main-process").arg(getpid().to_string());
    command.stdin(its.map_err(Error::local_io("a pair of sockets"))?);
    // The watchdog takes the child's word. A signal from a terminal reaches the child through this process alone.
    command.env_remove("WATCHDOG_PID").process_group(0);
    let mut child = command.spawn().map_err(Error::local_io(program.display().to_string()))?;
    drop(command);
    let pid = child.id().and_then(|id| Pid::from_raw(id.try_into().ok()?));
    let mut message = [0; MESSAGE];
    let mut is_leaving = false;
    loop {
        tokio::select! {
            Ok(length) = messages.recv(&mut message) => match &*String::from_utf8_lossy(&message[..length]) {
                LEFT => return Ok(ExitCode::SUCCESS),
                message => pass_on(message),
            },
            ended = child.wait() => return Ok(exit(ended.map_err(Error::local_io("the agent's process"))?)),
            signal = signals.next() => if let Some(pid) = pid.filter(|_| !is_leaving) {
                // Once it leaves, the service manager's own signal must not stop it.
                is_leaving = signal == Signal::USR2;
                // It fails only if the child has ended.
                let _ = kill_process(pid, signal);
            },
        }
    }
}

fn pass_on(message: &str) {
    if let Err(error) = sd_notify::notify(&[NotifyState::Custom(message)]) {
        log::debug!("cannot notify the service manager: {error}");
    }
}

fn exit(status: ExitStatus) -> ExitCode {
    match (status.code(), status.signal()) {
        (Some(code), _) => u8::try_from(code).map_or(ExitCode::FAILURE, ExitCode::from),
        (None, signal) => {
            log::error!("the agent's process was killed by signal {}", signal.unwrap_or_default());
            ExitCode::FAILURE
        }
    }
}

/// The signals that the child gets through the main process.
struct Signals([(Signal, tokio::signal::unix::Signal); 4]);

impl Signals {
    fn listen() -> Result<Self> {
        let listen = |number: Signal| {
            let kind = SignalKind::from_raw(number.as_raw());
            signal(kind).map(|signal| (number, signal)).map_err(Error::local_io("signals"))
        };
        Ok(Self([listen(Signal::USR2)?, listen(Signal::HUP)?, listen(Signal::TERM)?, listen(Signal::INT)?]))
    }

    async fn next(&mut self) -> Signal {
        let [leave, hangup, terminate, interrupt] = &mut self.0;
        // At a restart, SIGTERM follows SIGUSR2 at once.
        tokio::select! {
            biased;
            _ = leave.1.recv() => leave.0,
            _ = hangup.1.recv() => hangup.0,
            _ = terminate.1.recv() => terminate.0,
            _ = interrupt.1.recv() => interrupt.0,
        }
    }
}

/// Makes this process the child of the main process `pid`: it is killed when that ends, unless it has left the hub.
///
/// # Errors
/// When the main process has ended.
pub(crate) fn serve_for(pid: u32) -> Result<()> {
    parent::die_with_it(true);
    if getppid().is_none_or(|parent| i64::from(parent.as_raw_nonzero().get()) != i64::from(pid)) {
        return Err(Error::usage("--main-process does not name the parent process", "use --restartable"));
    }
    let _ = MAIN.set(pid);
    Ok(())
}

/// The number of the main process, in its child.
pub(crate) fn main_process() -> Option<u32> {
    MAIN.get().copied()
}

/// Tells the service manager something through the main process. Returns whether this process has one.
pub(crate) fn tell(message: &str) -> bool {
    let is_child = main_process().is_some();
    if is_child {
        // It fails if the main process has ended, or does not read: then the service manager misses the messages, and ends it.
        let _ = rustix::net::send(rustix::stdio::stdin(), message.as_bytes(), SendFlags::DONTWAIT);
    }
    is_child
}

/// Tells the main process, if there is one, that the agent has left the hub, and outlives it.
pub(crate) fn has_left() {
    if main_process().is_some() {
        parent::die_with_it(false);
        tell(LEFT);
    }
}
