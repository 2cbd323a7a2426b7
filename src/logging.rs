//! The log, on stderr and optionally in a file. It accepts only this crate's records: the WebSocket library logs
//! Authorization headers at its most verbose level.

use std::fs::File;
use std::io::{IsTerminal, Write};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Mutex, OnceLock, PoisonError};

use log::{Level, LevelFilter, Log, Metadata, Record};

use crate::error::{Error, escape};
use crate::platform::{private_file, stdio, system_log};

/// The variable of `--log-file`.
const LOG_FILE: &str = "IOTSTREAM_LOG_FILE";

/// Set once stderr has been released: messages then go to the system log.
static RELEASED: AtomicBool = AtomicBool::new(false);

static LOGGER: OnceLock<Logger> = OnceLock::new();

struct Logger {
    /// The most verbose level on stderr.
    stderr: LevelFilter,
    file: Option<Mutex<File>>,
}

impl Log for Logger {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.target().starts_with(env!("CARGO_CRATE_NAME"))
    }

    fn log(&self, record: &Record<'_>) {
        if self.enabled(record.metadata()) {
            self.write(record.level(), &record.args().to_string(), record.level() <= self.stderr);
        }
    }

    fn flush(&self) {}
}

impl Logger {
    fn write(&self, level: Level, text: &str, to_user: bool) {
        let text = escape(text);
        if to_user && RELEASED.load(Relaxed) {
            system_log::send(level, &text);
        } else if to_user {
            to_stderr(&format!("iotstream: {text}\n"));
        }
        if let Some(file) = &self.file {
            let time = crate::time::clock::iso8601(std::time::SystemTime::now());
            let level = level.as_str().to_lowercase();
            // The line already contains the level.
            let text = text.strip_prefix("error: ").unwrap_or(&text);
            let line = format!("{time} [{}] {level}: {text}\n", std::process::id());
            // A stream continues without its log.
            let _ = file.lock().unwrap_or_else(PoisonError::into_inner).write_all(line.as_bytes());
        }
    }
}

/// Writes CR LF to a terminal: during a session ssh keeps it in raw mode, where LF does not return to the first column.
fn to_stderr(text: &str) {
    let mut stderr = std::io::stderr();
    let text = if stderr.is_terminal() { text.replace('\n', "\r\n") } else { text.to_owned() };
    // A failure to write to stderr cannot be reported.
    let _ = stderr.write_all(text.as_bytes());
}

/// The settings of the log.
#[derive(Clone, Debug)]
pub struct Options {
    /// The most verbose level on stderr.
    pub stderr: LevelFilter,
    /// The log file.
    pub file: Option<PathBuf>,
    /// An agent warns about a log file that other users can change, and writes it. Other commands warn and do
    /// not write it.
    pub is_agent: bool,
}

/// Sets up the process's log. Warns about a log file that cannot be opened.
pub fn start(options: Options) {
    let Options { stderr, file: path, is_agent } = options;
    let opened = path.as_ref().map(|path| private_file::log_if_possible(path, is_agent));
    let (file, problem) = opened.unwrap_or_default();
    let file = file.map(Mutex::new);
    log::set_max_level(if file.is_some() { stderr.max(LevelFilter::Info) } else { stderr });
    // Fails on a second call, in tests, which keeps the first logger.
    let _ = log::set_logger(LOGGER.get_or_init(|| Logger { stderr, file }));
    if let Some(problem) = problem {
        let is_from_variable =
            path.is_some_and(|path| std::env::var_os(LOG_FILE).is_some_and(|value| value == *path));
        log::warn!(
            "{problem}{}",
            if is_from_variable { format!("; {LOG_FILE} names it") } else { String::new() }
        );
    }
}

/// Closes a stderr whose reader waits for its end, so that a stream that continues does not block the reader. With -v,
/// stderr stays open.
pub fn release_stderr() {
    let is_verbose = LOGGER.get().is_some_and(|logger| logger.stderr > LevelFilter::Warn);
    if !is_verbose && stdio::release_stderr() {
        RELEASED.store(true, Relaxed);
    }
}

/// Prints a message at any log level.
pub fn notice(text: &str) {
    if let Some(logger) = LOGGER.get() {
        logger.write(Level::Info, text, true);
    }
}

/// Prints the error that ends the command and its hint on stderr, and logs them.
pub fn report(error: &Error) {
    if !RELEASED.load(Relaxed) {
        to_stderr(&error.report());
    }
    record(error);
}

/// Logs the error without stderr, when ssh has already shown it.
pub fn record(error: &Error) {
    if let Some(logger) = LOGGER.get() {
        let hint = error.hint().map_or_else(String::new, |hint| format!("; hint: {hint}"));
        logger.write(Level::Error, &format!("error: {error}{hint}"), RELEASED.load(Relaxed));
        causes(error);
    }
}

/// Logs, for -vv, what the errors behind this one say beyond its message.
pub fn causes(error: &Error) {
    for cause in error.causes() {
        log::debug!("cause: {cause}");
    }
}
