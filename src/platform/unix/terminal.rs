//! The terminal: a secret typed without echo, and a question at the controlling terminal.

use std::fs::File;
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::OFlags;
use rustix::process::getpgrp;
use rustix::termios::{
    LocalModes, OptionalActions, QueueSelector, Termios, tcflush, tcgetattr, tcgetpgrp, tcsetattr,
};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, BufReader};
use tokio::net::unix::pipe;
use zeroize::Zeroizing;

/// The longest answer to a question, in bytes.
const LONGEST_ANSWER: u64 = 1024;

/// How soon the next line of a paste follows; nobody types one as fast.
const PASTE_PAUSE: Timespec = Timespec { tv_sec: 0, tv_nsec: 50_000_000 };

/// The terminal on stdin without echo; dropping it restores the terminal.
struct NoEcho(Termios);

impl NoEcho {
    fn new() -> io::Result<Self> {
        let before = tcgetattr(io::stdin())?;
        let mut without = before.clone();
        // Ctrl-C arrives as a character: the signal would end the process and leave the terminal without echo.
        without.local_modes.remove(LocalModes::ECHO | LocalModes::ICANON | LocalModes::ISIG);
        tcsetattr(io::stdin(), OptionalActions::Flush, &without)?;
        Ok(Self(before))
    }
}

impl Drop for NoEcho {
    fn drop(&mut self) {
        // It fails only when the terminal has gone.
        let _ = tcsetattr(io::stdin(), OptionalActions::Now, &self.0);
    }
}

/// Prints `prompt` on stderr and reads a secret from the terminal on stdin, without echo. The answer ends with its line,
/// unless it is incomplete and more is being pasted; Ctrl-C and Ctrl-D make it empty.
///
/// # Errors
/// When the terminal cannot be read or written.
pub(crate) fn ask_secret(prompt: &str, is_complete: impl Fn(&str) -> bool) -> io::Result<Zeroizing<Vec<u8>>> {
    let no_echo = NoEcho::new()?;
    let mut stderr = io::stderr();
    stderr.write_all(prompt.as_bytes())?;
    let mut text = Zeroizing::new(Vec::new());
    let mut byte = [0];
    // Unbuffered, so that polling stdin tells whether more follows.
    while rustix::io::retry_on_intr(|| rustix::io::read(io::stdin(), &mut byte))? > 0 {
        match byte[0] {
            // Otherwise the shell would run the rest of a paste, and remember it.
            b'\r' | b'\n' if !std::str::from_utf8(&text).is_ok_and(&is_complete) && more_follows() => {
                text.push(b'\n');
            }
            b'\r' | b'\n' => break,
            // Ctrl-C and Ctrl-D.
            0x03 | 0x04 => {
                text.clear();
                break;
            }
            0x08 | 0x7f => {
                text.pop();
            }
            // Ctrl-U.
            0x15 => text.clear(),
            byte => text.push(byte),
        }
    }
    drop(no_echo);
    writeln!(stderr)?;
    Ok(text)
}

fn more_follows() -> bool {
    poll(&mut [PollFd::new(&io::stdin(), PollFlags::IN)], Some(&PASTE_PAUSE)).is_ok_and(|ready| ready > 0)
}

/// Asks `question` at the controlling terminal of this process, and returns the line typed in answer to it.
///
/// Not cancel-safe: cancelled, it has asked the question and loses what was typed.
///
/// # Errors
/// When there is no such terminal, this process is in its background, or it cannot be read or written.
pub(crate) async fn ask(question: &str) -> io::Result<String> {
    let nonblocking = i32::try_from(OFlags::NONBLOCK.bits()).unwrap_or_default();
    let mut terminal = File::options().read(true).write(true).custom_flags(nonblocking).open("/dev/tty")?;
    // A background process that reads the terminal is stopped.
    if tcgetpgrp(&terminal).ok() != Some(getpgrp()) {
        return Err(io::Error::other("the agent is in its background"));
    }
    // Nothing typed before the question answers it.
    let _ = tcflush(&terminal, QueueSelector::IFlush);
    terminal.write_all(question.as_bytes())?;
    // A terminal is no pipe, but polling works the same.
    let terminal = pipe::Receiver::from_file_unchecked(terminal)?;
    let mut line = Vec::new();
    BufReader::new(terminal.take(LONGEST_ANSWER)).read_until(b'\n', &mut line).await?;
    Ok(String::from_utf8_lossy(&line).into_owned())
}
