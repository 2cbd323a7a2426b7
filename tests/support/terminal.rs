use std::thread;
use std::time::{Duration, Instant};

use super::{LIMIT, Process, Sandbox, eventually, need};

/// A terminal with a shell that has job control. It echoes what is typed, as a real one does.
pub struct Terminal(Process);

/// Ctrl-C and Ctrl-Z.
pub const INTERRUPT: &str = "\x03";
pub const SUSPEND: &str = "\x1a";

/// Copies stdin to a new terminal and the terminal to stdout, until the program on it ends. Ctrl-C works even if the
/// tests run in the background of a script, where SIGINT is ignored.
const PTY: &str = "import pty, signal, sys
for each in signal.SIGINT, signal.SIGQUIT:
    signal.signal(each, signal.SIG_DFL)
pty.spawn(sys.argv[1:])";

impl Terminal {
    pub fn open(sandbox: &Sandbox) -> Self {
        let mut python = sandbox.command(need("python3"));
        python.args(["-c", PTY, "sh", "-i"]);
        let mut terminal = Self(Process::start("terminal", &mut python));
        terminal.types_until("echo re''ady\n", "ready");
        terminal
    }

    pub fn types(&mut self, text: &str) {
        self.0.say(text);
    }

    /// Types until the answer is shown: a program that handles a key drops what was typed after it.
    #[track_caller]
    pub fn types_until(&mut self, text: &str, answer: &str) {
        for _ in 0..30 {
            self.types(text);
            let deadline = Instant::now() + Duration::from_secs(2);
            while Instant::now() < deadline {
                if self.text().contains(answer) {
                    return;
                }
                thread::sleep(Duration::from_millis(10));
            }
        }
        panic!("'{answer}' is not shown: {}", self.text());
    }

    /// Waits for a whole line with `text`.
    #[track_caller]
    pub fn shows(&mut self, text: &str) {
        self.0.says(text, 1, LIMIT);
    }

    /// Waits until a question, which is not a whole line, is shown for the `times`th time.
    #[track_caller]
    pub fn asks(&mut self, question: &str, times: u32) {
        eventually(LIMIT, || {
            let text = self.text();
            let shown = text.matches(question).count();
            if shown >= times as usize {
                Ok(())
            } else {
                Err(format!("'{question}' is shown {shown} times: {text}"))
            }
        });
    }

    /// All that the terminal has shown.
    pub fn text(&self) -> String {
        self.0.stdout()
    }
}
