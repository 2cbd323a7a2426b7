use std::process::Command;
use std::time::Duration;

use super::{Finished, LIMIT, Process};

/// The stdin of a command, which is a pipe, as under ssh.
#[derive(Clone, Copy)]
pub enum Stdin<'a> {
    /// These bytes, then the end.
    Ends(&'a [u8]),
    /// These bytes (at most what a pipe holds), written before the command starts, and no end.
    Stays(&'a [u8]),
}

/// Runs a command to its end, and until its stdout and stderr are closed.
///
/// # Panics
/// When that takes longer than `limit`.
#[track_caller]
pub fn run(command: &mut Command, stdin: Stdin<'_>, limit: Duration) -> Finished {
    let name = format!("{command:?}");
    match stdin {
        Stdin::Stays(bytes) => Process::start_with(&name, command, bytes).finish(limit),
        Stdin::Ends(bytes) => {
            let mut process = Process::start(&name, command);
            drop(process.write(bytes.to_vec()));
            process.finish(limit)
        }
    }
}

/// Runs a command with an empty stdin.
#[track_caller]
pub fn finish(command: &mut Command) -> Finished {
    run(command, Stdin::Ends(b""), LIMIT)
}
