use std::env;
use std::ffi::OsStr;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use rustix::process::{Signal, kill_process};
use tempfile::TempDir;

use super::procfs::{self, Seen};
use super::{Process, eventually, finish, iotstream};

/// This variable marks every process of a test and what those start, so that processes that outlive their parents are
/// found.
pub const MARKER: &str = "IOTSTREAM_TEST_ID";

/// A test's directory and the mark of its processes.
pub struct Sandbox {
    dir: TempDir,
    id: String,
}

impl Sandbox {
    pub fn new() -> Self {
        Self { dir: tempfile::tempdir().unwrap(), id: data_encoding::HEXLOWER.encode(&super::random(16)) }
    }

    pub fn path(&self, name: impl AsRef<Path>) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Writes a file that nobody else can read.
    pub fn write(&self, name: &str, content: impl AsRef<[u8]>) -> PathBuf {
        let path = self.path(name);
        fs::write(&path, content).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        path
    }

    pub fn mark(&self) -> String {
        format!("{MARKER}={}", self.id)
    }

    /// A command with the mark, and without the user's own settings.
    pub fn command(&self, program: impl AsRef<OsStr>) -> Command {
        let mut command = Command::new(program);
        for (name, _) in env::vars_os() {
            let shown = name.to_string_lossy().to_ascii_uppercase();
            let personal = ["IOTSTREAM_", "XDG_", "GIT_", "RSYNC_", "SSH_"];
            if shown.ends_with("_PROXY") || personal.iter().any(|prefix| shown.starts_with(prefix)) {
                command.env_remove(name);
            }
        }
        command
            .env(MARKER, &self.id)
            .env("HOME", self.dir.path())
            .env("SHELL", "/bin/sh")
            .env("LC_ALL", "C")
            // Agents of other tests, and one of this machine, have sockets of their own.
            .env("IOTSTREAM_CONTROL", self.dir.path().join("control.sock"))
            .current_dir(self.dir.path());
        command
    }

    pub fn iotstream(&self) -> Command {
        self.command(iotstream())
    }

    /// Writes a program for sh, which its owner alone can run. Another process does it: what this one has open for
    /// writing, children of other tests have open until they execute their programs, and till then it cannot be run.
    pub fn write_script(&self, name: &str, commands: &str) -> PathBuf {
        let path = self.path(name);
        let write = r#"printf '#!/bin/sh\n%s\n' "$1" >"$0" && chmod 700 "$0""#;
        finish(self.command("sh").args(["-c", write]).arg(&path).arg(commands)).succeeded();
        path
    }

    /// Copies an executable, in another process as well.
    pub fn copy_executable(&self, from: impl AsRef<OsStr>, to: &Path) {
        finish(self.command("cp").arg(from).arg(to)).succeeded();
    }

    /// Copies the program.
    pub fn copy_program(&self, to: &Path) {
        self.copy_executable(iotstream(), to);
    }

    /// The processes of this test, and the descendants of `roots`: sshd wipes its environment, and the mark with it.
    pub fn processes(&self, roots: &[&Process]) -> Vec<Seen> {
        let roots: Vec<u32> = roots.iter().map(|process| process.pid()).collect();
        procfs::marked_or_below(&self.mark(), &roots)
    }

    /// Waits until only `expected` is left of all that this test started.
    #[track_caller]
    pub fn leaves_only(&self, limit: Duration, expected: &[&Process]) {
        let pids: Vec<u32> = expected.iter().map(|process| process.pid()).collect();
        eventually(limit, || {
            let mut seen = self.processes(expected);
            let alive = pids.iter().all(|pid| seen.iter().any(|seen| seen.pid == *pid));
            assert!(alive, "a process that should remain has ended: {pids:?} of {seen:?}");
            seen.retain(|seen| !pids.contains(&seen.pid));
            if seen.is_empty() { Ok(()) } else { Err(format!("still there: {seen:?}")) }
        });
    }
}

impl Drop for Sandbox {
    /// Ends the processes that a failed test leaves behind; only this test's processes have the mark.
    fn drop(&mut self) {
        for left in procfs::marked_or_below(&self.mark(), &[]) {
            // It may have ended already.
            let _ = kill_process(left.pid(), Signal::KILL);
        }
    }
}
