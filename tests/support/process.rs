use std::fs::{self, File};
use std::io::Write;
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};

use super::{Sandbox, eventually};

/// A process that runs beside the test: stdin stays open, stdout and stderr go to files, and it ends with the test.
pub struct Process {
    name: String,
    child: Child,
    out: PathBuf,
    err: PathBuf,
}

impl Process {
    pub fn start(sandbox: &Sandbox, name: &str, command: &mut Command) -> Self {
        let (out, err) = (sandbox.log(&format!("{name}.out")), sandbox.log(&format!("{name}.err")));
        let child = command
            .stdin(Stdio::piped())
            .stdout(File::create(&out).unwrap())
            .stderr(File::create(&err).unwrap())
            .spawn()
            .unwrap_or_else(|error| panic!("{name} does not start: {error}"));
        Self { name: name.into(), child, out, err }
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Sends it a signal.
    pub fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }

    pub fn stdout(&self) -> String {
        String::from_utf8_lossy(&fs::read(&self.out).unwrap()).into_owned()
    }

    pub fn stderr(&self) -> String {
        String::from_utf8_lossy(&fs::read(&self.err).unwrap()).into_owned()
    }

    /// Waits for `lines` whole lines on stdout or stderr that contain `text`, and gives the last of them.
    ///
    /// # Panics
    /// When they do not come in time, or the process ends before.
    #[track_caller]
    pub fn says(&mut self, text: &str, lines: usize, limit: Duration) -> String {
        eventually(limit, || {
            let ended = self.child.try_wait().unwrap();
            let said = self.stdout() + &self.stderr();
            let whole = said.split_inclusive('\n').filter(|line| line.ends_with('\n'));
            if let Some(line) = whole.filter(|line| line.contains(text)).nth(lines - 1) {
                return Ok(line.trim_end().to_owned());
            }
            assert!(ended.is_none(), "{} ended ({ended:?}) and never said '{text}'", self.name);
            Err(format!("{} says '{text}' ({lines} times)", self.name))
        })
    }

    /// Writes to its stdin.
    pub fn say(&mut self, text: &str) {
        self.child.stdin.as_mut().unwrap().write_all(text.as_bytes()).unwrap();
    }

    /// The same to a process that may have ended.
    pub fn try_say(&mut self, text: &str) {
        let _ = self.child.stdin.as_mut().unwrap().write_all(text.as_bytes());
    }

    pub fn close_stdin(&mut self) {
        drop(self.child.stdin.take());
    }

    /// SIGKILL, and the end awaited.
    pub fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Waits for an end of its own.
    #[track_caller]
    pub fn ends(&mut self, limit: Duration) -> ExitStatus {
        eventually(limit, || {
            self.child.try_wait().unwrap().ok_or_else(|| format!("{} ends by itself", self.name))
        })
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Both fail only where there is nothing left to end.
        let _ = self.child.kill();
        let _ = self.child.wait();
        if thread::panicking() {
            for (stream, path) in [("stdout", &self.out), ("stderr", &self.err)] {
                let text = fs::read(path).unwrap_or_default();
                if !text.is_empty() {
                    eprintln!("--- {} of {}:\n{}", stream, self.name, String::from_utf8_lossy(&text));
                }
            }
        }
    }
}
