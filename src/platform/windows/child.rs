//! Programs that this one starts.

use std::ffi::OsStr;
use std::fs::File;
use std::io;
use std::os::windows::io::OwnedHandle;
use std::path::Path;
use std::process::{ExitStatus, Stdio};

use tokio::process::{Child, Command};
use win32job::{ExtendedLimitInfo, Job};

use super::blocking::{Reader, Writer};

/// The endings of programs where `PATHEXT` is not set.
const EXTENSIONS: &str = ".COM;.EXE;.BAT;.CMD";

/// A program and everything it starts: a job.
#[derive(Debug)]
pub(crate) struct Group(Job);

impl Group {
    /// Prepares `command`, for which there is nothing to do here.
    pub(crate) fn create(_: &mut Command) {}

    /// The group of a child. `None` once the child has been waited for, or where the system makes no job. What the child has
    /// started before this is not in it.
    pub(crate) fn of(child: &Child) -> Option<Self> {
        let job = Job::create().ok()?;
        job.assign_process(child.raw_handle()? as isize).ok()?;
        Some(Self(job))
    }

    /// Has the group killed when this is dropped.
    pub(crate) fn kill(&self) {
        // It fails only for arguments that are invalid.
        let _ = self.0.set_extended_limit_info(ExtendedLimitInfo::new().limit_kill_on_job_close());
    }
}

/// Makes two pipes the stdin and stdout of `command`, and returns our ends of them.
///
/// `command` holds the program's ends until it is dropped, and our end sees no EOF before.
///
/// # Errors
/// When the system makes no pipes.
pub(crate) fn attach_stdio(command: &mut Command, _send_buffer: usize) -> io::Result<(Reader, Writer)> {
    let (its_stdin, ours) = io::pipe()?;
    command.stdin(Stdio::from(its_stdin));
    let writer = Writer::start(File::from(OwnedHandle::from(ours)))?;
    let (ours, its_stdout) = io::pipe()?;
    command.stdout(Stdio::from(its_stdout));
    let reader = Reader::start(File::from(OwnedHandle::from(ours)))?;
    Ok((reader, writer))
}

/// A command that the system's shell runs: `cmd /C`.
pub(crate) fn shell(line: &str) -> Command {
    let mut command = Command::new(SHELL);
    // cmd has rules of its own for quotes: with /S it removes the outer ones and takes the rest as it is.
    command.arg("/D").arg("/S").arg("/C").raw_arg(format!("\"{line}\""));
    command
}

/// The system's shell.
pub(crate) const SHELL: &str = "cmd";

/// The exit status as a shell shows it.
pub(crate) fn shell_status(status: ExitStatus) -> Option<i32> {
    status.code()
}

/// Whether `path` is a program, by its ending. The ending of .exe may be missing, as for CreateProcess.
pub(crate) fn is_executable(path: &Path) -> bool {
    let extensions = std::env::var("PATHEXT").unwrap_or_else(|_| EXTENSIONS.into());
    let is_program = |found: &OsStr| {
        extensions.split(';').any(|extension| found.eq_ignore_ascii_case(extension.trim_start_matches('.')))
    };
    match path.extension() {
        Some(extension) => path.is_file() && is_program(extension),
        None => path.with_extension("exe").is_file(),
    }
}
