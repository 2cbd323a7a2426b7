//! Programs that this one starts.

use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream as StdUnixStream;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{ExitStatus, Stdio};

use rustix::process::{Pid, Signal, kill_process_group};
use socket2::SockRef;
use tokio::net::UnixStream;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::process::{Child, Command};

/// A program and everything it has started, as far as that stays in the program's process group.
#[derive(Debug)]
pub(crate) struct Group(Pid);

impl Group {
    /// Starts `command` in a new process group.
    pub(crate) fn create(command: &mut Command) {
        command.process_group(0);
    }

    /// The group of a child that was started after [`Self::create`]; `None` once the child has been waited for.
    pub(crate) fn of(child: &Child) -> Option<Self> {
        child.id().and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw).map(Self)
    }

    /// Kills the group. To be called only while the child has not been waited for: its number may be reused later.
    pub(crate) fn kill(&self) {
        // The processes may have ended just now.
        let _ = kill_process_group(self.0, Signal::KILL);
    }
}

/// Makes a byte stream the stdin and stdout of `command`, and returns our end of it. Each direction can be shut down alone,
/// as sshd's inetd mode expects. The program may be `send_buffer` bytes ahead of us.
///
/// `command` holds the program's end until it is dropped, and our end sees no EOF before.
///
/// # Errors
/// When the system makes no sockets.
pub(crate) fn attach_stdio(
    command: &mut Command,
    send_buffer: usize,
) -> io::Result<(OwnedReadHalf, OwnedWriteHalf)> {
    let (ours, theirs) = pair(send_buffer)?;
    let theirs: OwnedFd = theirs.into();
    command.stdin(Stdio::from(theirs.try_clone()?)).stdout(Stdio::from(theirs));
    Ok(ours.into_split())
}

/// Our end and the program's, which blocks.
fn pair(send_buffer: usize) -> io::Result<(UnixStream, StdUnixStream)> {
    let (ours, theirs) = StdUnixStream::pair()?;
    SockRef::from(&theirs).set_send_buffer_size(send_buffer)?;
    ours.set_nonblocking(true)?;
    Ok((UnixStream::from_std(ours)?, theirs))
}

/// A command that the system's shell runs.
pub(crate) fn shell(line: &str) -> Command {
    let mut command = Command::new(SHELL);
    command.arg("-c").arg(line);
    command
}

/// The system's shell.
pub(crate) const SHELL: &str = "sh";

/// The exit status as a shell shows it: 128 and the signal's number for a program that a signal killed.
pub(crate) fn shell_status(status: ExitStatus) -> Option<i32> {
    status.code().or_else(|| status.signal().map(|signal| 128 + signal))
}

/// Whether `path` is a program that somebody may execute.
pub(crate) fn is_executable(path: &Path) -> bool {
    path.metadata().is_ok_and(|file| file.is_file() && file.permissions().mode() & 0o111 != 0)
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    #[tokio::test]
    async fn a_program_cannot_write_far_ahead_of_its_reader() {
        const AHEAD: usize = 32 * 1024;
        let (_ours, mut theirs) = pair(AHEAD).unwrap();
        theirs.set_nonblocking(true).unwrap();
        let mut waiting = 0;
        let full = loop {
            match theirs.write(&[0; 4096]) {
                Ok(count) => waiting += count,
                Err(error) => break error,
            }
        };
        assert_eq!(full.kind(), io::ErrorKind::WouldBlock);
        // The kernel counts its own overhead for each write as well.
        assert!((AHEAD / 2..=AHEAD * 2).contains(&waiting), "{waiting}");
    }
}
