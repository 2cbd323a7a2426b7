//! Asking whoever is at the terminal: for a secret, which is not shown, and for consent.

use std::io::{IsTerminal, Read, Write};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::termios::{LocalModes, OptionalActions, Termios, tcgetattr, tcsetattr};
use zeroize::Zeroizing;

use crate::error::{Error, Result};
use crate::secret::Secret;
use crate::text::content::{self, BLANK};

/// Far more than any connection string has.
const LONGEST: u64 = 64 * 1024;

/// A terminal that shows nothing of what is typed, until this is dropped.
struct Quiet(Termios);

impl Quiet {
    fn new() -> std::io::Result<Self> {
        let before = tcgetattr(std::io::stdin())?;
        let mut quiet = before.clone();
        // Ctrl-C comes as a character: a signal would leave the terminal quiet.
        quiet.local_modes.remove(LocalModes::ECHO | LocalModes::ICANON | LocalModes::ISIG);
        tcsetattr(std::io::stdin(), OptionalActions::Flush, &quiet)?;
        Ok(Self(before))
    }
}

impl Drop for Quiet {
    fn drop(&mut self) {
        // Nothing more can be done where the terminal has gone.
        let _ = tcsetattr(std::io::stdin(), OptionalActions::Now, &self.0);
    }
}

/// The secret on stdin; `what` it is, for the prompt. On a terminal it ends with a line that makes it whole.
///
/// # Errors
/// When there is none, or the user gives up.
pub(super) fn secret(what: &str, is_whole: impl Fn(&str) -> bool) -> Result<Secret> {
    let text = if std::io::stdin().is_terminal() { ask(what, is_whole)? } else { read()? };
    let text = content::text(&text).map_err(|problem| Error::Usage {
        problem: format!("the {what} on stdin: {problem}"),
        hint: format!("pipe it in, or run the command in a terminal and paste the {what}"),
    })?;
    match text.expose().trim_matches(BLANK) {
        "" => Err(Error::Usage {
            problem: format!("there is no {what} on stdin"),
            hint: format!("pipe it in, or run the command in a terminal and paste the {what}"),
        }),
        text => Ok(Secret::new(text)),
    }
}

/// Asks on the terminal whether to go on; `None` where there is none to ask on. Only a yes is one.
///
/// # Errors
/// When the terminal cannot be read or written.
pub(super) fn consent(question: &str) -> Result<Option<bool>> {
    let mut stderr = std::io::stderr();
    if !(std::io::stdin().is_terminal() && stderr.is_terminal()) {
        return Ok(None);
    }
    write!(stderr, "{question} [y/N] ").map_err(Error::local_io("the terminal"))?;
    let mut answer = String::new();
    std::io::stdin().read_line(&mut answer).map_err(Error::local_io("the terminal"))?;
    Ok(Some(matches!(answer.trim().to_ascii_lowercase().as_str(), "y" | "yes")))
}

fn read() -> Result<Zeroizing<Vec<u8>>> {
    let mut text = Zeroizing::new(Vec::new());
    std::io::stdin().take(LONGEST).read_to_end(&mut text).map_err(Error::local_io("stdin"))?;
    Ok(text)
}

/// Whether more is being pasted: nobody types the next line so soon.
fn more_follows() -> bool {
    const SOON: Timespec = Timespec { tv_sec: 0, tv_nsec: 50_000_000 };
    poll(&mut [PollFd::new(&std::io::stdin(), PollFlags::IN)], Some(&SOON)).is_ok_and(|ready| ready > 0)
}

fn ask(what: &str, is_whole: impl Fn(&str) -> bool) -> Result<Zeroizing<Vec<u8>>> {
    let failed = || Error::local_io("the terminal");
    let quiet = Quiet::new().map_err(failed())?;
    let mut stderr = std::io::stderr();
    write!(stderr, "{what} (it is not shown): ").map_err(failed())?;
    let mut text = Zeroizing::new(Vec::new());
    let mut byte = [0];
    // Unbuffered, so that it can be seen whether there is more.
    while rustix::io::retry_on_intr(|| rustix::io::read(std::io::stdin(), &mut byte))
        .map_err(|error| failed()(error.into()))?
        > 0
    {
        match byte[0] {
            // The rest of a paste in several lines would be left for the shell to run and to remember.
            b'\r' | b'\n' if !std::str::from_utf8(&text).is_ok_and(&is_whole) && more_follows() => {
                text.push(b'\n');
            }
            b'\r' | b'\n' => break,
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
    drop(quiet);
    writeln!(stderr).map_err(failed())?;
    Ok(text)
}
