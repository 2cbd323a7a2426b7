//! The console: a secret typed without echo, and a question.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Write};

use tokio::sync::{Mutex, mpsc};
use zeroize::Zeroizing;

/// The longest answer to a question, in bytes.
const LONGEST_ANSWER: u64 = 1024;

/// Prints `prompt` and reads a secret from the console, without echo. The answer ends with its line.
///
/// # Errors
/// When the console cannot be read or written.
pub(crate) fn ask_secret(
    prompt: &str,
    _is_complete: impl Fn(&str) -> bool,
) -> io::Result<Zeroizing<Vec<u8>>> {
    let answer = Zeroizing::new(rpassword::prompt_password(prompt)?);
    Ok(Zeroizing::new(answer.as_bytes().to_vec()))
}

/// Asks `question` at the console of this process, and returns the line typed in answer to it.
///
/// Not cancel-safe: cancelled, it has asked the question and loses what was typed.
///
/// # Errors
/// When there is no console, or it cannot be read or written.
pub(crate) async fn ask(question: &str) -> io::Result<String> {
    let mut output = File::options().read(true).write(true).open("CONOUT$")?;
    let mut console = LINES.lock().await;
    let lines = match &mut *console {
        Some(lines) => lines,
        None => console.insert(read_lines()?),
    };
    // Nothing typed before the question answers it.
    while lines.try_recv().is_ok() {}
    output.write_all(question.as_bytes())?;
    lines.recv().await.ok_or_else(|| io::Error::other("the console has ended"))?
}

type Lines = mpsc::UnboundedReceiver<io::Result<String>>;

/// The lines typed at the console, once it was asked. One thread reads them for the whole process: reading cannot be
/// cancelled.
static LINES: Mutex<Option<Lines>> = Mutex::const_new(None);

fn read_lines() -> io::Result<Lines> {
    let mut input = BufReader::new(File::options().read(true).write(true).open("CONIN$")?);
    let (to, from) = mpsc::unbounded_channel();
    std::thread::Builder::new().name("console".into()).spawn(move || {
        loop {
            let mut line = String::new();
            let read = (&mut input).take(LONGEST_ANSWER).read_line(&mut line);
            let is_over = !matches!(read, Ok(1..));
            if to.send(read.map(|_| line)).is_err() || is_over {
                return;
            }
        }
    })?;
    Ok(from)
}
