use std::io::Write;
use std::path::Path;
use std::time::Duration;

use windows_tests::pipe::{End, Pipes};
use windows_tests::process::{Process, Stderr};

use super::output::Output;
use super::{LIMIT, Sandbox, variable};

/// The path of the program.
pub fn exe() -> String {
    variable("TEST_EXE")
}

/// A command line of iotstream.exe.
#[derive(Clone)]
pub struct Iotstream {
    line: String,
    pipes: Pipes,
    environment: Vec<(String, String)>,
}

impl Iotstream {
    pub fn new(sandbox: &Sandbox, arguments: &[&str]) -> Self {
        let quoted = arguments.iter().map(|argument| format!(" \"{argument}\""));
        Self::of_line(sandbox, format!("\"{}\"{}", exe(), quoted.collect::<String>()))
    }

    /// A whole command line, which names the program too.
    pub fn of_line(sandbox: &Sandbox, line: String) -> Self {
        let command = Self { line, pipes: Pipes::Overlapped, environment: Vec::new() };
        command
            .env("USERPROFILE", &sandbox.home(""))
            .env("LOCALAPPDATA", &sandbox.home(r"AppData\Local"))
            .env("APPDATA", &sandbox.home(r"AppData\Roaming"))
    }

    pub fn pipes(self, pipes: Pipes) -> Self {
        Self { pipes, ..self }
    }

    pub fn env(mut self, name: &str, value: &Path) -> Self {
        self.environment.retain(|(other, _)| other != name);
        self.environment.push((name.to_owned(), value.to_str().unwrap().to_owned()));
        self
    }

    #[track_caller]
    pub fn start(&self) -> Program {
        let mut process = Process::start(&self.line, self.pipes, Stderr::Piped, &self.environment)
            .unwrap_or_else(|error| panic!("{}: {error}", self.line));
        let stderr = Output::of(process.stderr.take().unwrap());
        Program { stdin: process.stdin.take(), stdout: process.stdout.take(), stderr, process }
    }

    /// Runs it to its end, with `input` as all of stdin.
    #[track_caller]
    pub fn finish(&self, input: &str) -> Finished {
        let mut program = self.start();
        program.say(input);
        drop(program.stdin.take());
        program.finish(LIMIT)
    }
}

/// iotstream.exe, running. It ends with this value.
pub struct Program {
    pub stdin: Option<End>,
    pub stdout: Option<End>,
    pub stderr: Output,
    process: Process,
}

/// How it ended, and what it said.
#[derive(Debug)]
pub struct Finished {
    pub status: u32,
    pub stdout: Vec<u8>,
    pub stderr: String,
}

impl Finished {
    #[track_caller]
    pub fn succeeded(self) -> Self {
        assert_eq!(self.status, 0, "{}", self.stderr);
        self
    }

    #[track_caller]
    pub fn text(&self) -> &str {
        std::str::from_utf8(&self.stdout).unwrap()
    }
}

impl Program {
    /// Writes to its stdin, if it still reads.
    pub fn say(&mut self, text: &str) {
        let _ = self.stdin.as_mut().unwrap().write_all(text.as_bytes());
    }

    /// Collects its stdout from now on.
    pub fn stdout(&mut self) -> Output {
        Output::of(self.stdout.take().unwrap())
    }

    /// Ends it as Win32-OpenSSH does.
    pub fn terminate(&self) {
        self.process.terminate().unwrap();
    }

    /// Waits for its end, which need not be the end of its stdin. Returns the exit status.
    #[track_caller]
    pub fn ends(&self, limit: Duration) -> u32 {
        let status = self.process.wait(Some(limit)).unwrap();
        status.unwrap_or_else(|| panic!("it runs after {limit:?}: {}", self.stderr.text()))
    }

    /// The same, with all that it wrote.
    #[track_caller]
    pub fn finish(mut self, limit: Duration) -> Finished {
        let stdout = self.stdout.take().map(Output::of);
        let status = self.ends(limit);
        let stdout = stdout.map(|stdout| stdout.whole(limit)).unwrap_or_default();
        let stderr = String::from_utf8(self.stderr.whole(limit)).unwrap();
        Finished { status, stdout, stderr }
    }
}
