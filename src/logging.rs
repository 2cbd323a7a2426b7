//! The log: lines on stderr, and in a file on request. Only this crate's own records pass: the WebSocket library
//! writes Authorization headers at its most verbose level.

use std::fs::File;
use std::io::{IsTerminal, Write};
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Mutex, OnceLock, PoisonError};

use log::{Level, LevelFilter, Log, Metadata, Record};
use rustix::fs::{FileType, fstat};

use crate::cli;
use crate::error::{Error, escape};
use crate::platform::private_file;

/// The variable that stands for `--log-file`.
const LOG_FILE: &str = "IOTSTREAM_LOG_FILE";

/// Once stderr has been released, what must be said goes to the system's log.
static RELEASED: AtomicBool = AtomicBool::new(false);

static LOGGER: OnceLock<Logger> = OnceLock::new();

struct Logger {
    /// What goes to stderr.
    stderr: LevelFilter,
    file: Option<Mutex<File>>,
}

impl Log for Logger {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.target().starts_with(env!("CARGO_CRATE_NAME"))
    }

    fn log(&self, record: &Record<'_>) {
        if self.enabled(record.metadata()) {
            self.say(record.level(), &record.args().to_string(), record.level() <= self.stderr);
        }
    }

    fn flush(&self) {}
}

impl Logger {
    fn say(&self, level: Level, text: &str, aloud: bool) {
        let text = escape(text);
        if aloud && RELEASED.load(Relaxed) {
            to_system_log(level, &text);
        } else if aloud {
            to_stderr(&format!("iotstream: {text}\n"));
        }
        if let Some(file) = &self.file {
            let time = crate::time::clock::iso8601(std::time::SystemTime::now());
            let level = level.as_str().to_lowercase();
            // The level says it already.
            let text = text.strip_prefix("error: ").unwrap_or(&text);
            let line = format!("{time} [{}] {level}: {text}\n", std::process::id());
            // A log that cannot be written must not end the stream it is about.
            let _ = file.lock().unwrap_or_else(PoisonError::into_inner).write_all(line.as_bytes());
        }
    }
}

/// In mid-session ssh has the terminal in raw mode, where a bare line feed makes a staircase.
fn to_stderr(text: &str) {
    let mut stderr = std::io::stderr();
    let text = if stderr.is_terminal() { text.replace('\n', "\r\n") } else { text.to_owned() };
    // With stderr gone there is nobody left to tell.
    let _ = stderr.write_all(text.as_bytes());
}

/// One datagram in the form of RFC 3164, as syslog daemons and the journal take it.
fn to_system_log(level: Level, text: &str) {
    const USER_FACILITY: u8 = 1 << 3;
    let severity = match level {
        Level::Error => 3,
        Level::Warn => 4,
        Level::Info => 6,
        Level::Debug | Level::Trace => 7,
    };
    let message = format!("<{}>iotstream[{}]: {text}", USER_FACILITY | severity, std::process::id());
    // Without a system log, nothing is left but the log file.
    let _ = UnixDatagram::unbound().and_then(|socket| socket.send_to(message.as_bytes(), "/dev/log"));
}

/// Sets up the log for the whole process: warnings by default, `-v` for information, `-vv` for all, `-q` for nothing. What
/// is wrong with the log file is no reason to fail.
pub fn start(args: &cli::Log, is_agent: bool) {
    let stderr = match (args.quiet, args.verbose) {
        (true, _) => LevelFilter::Off,
        (_, 0) => LevelFilter::Warn,
        (_, 1) => LevelFilter::Info,
        _ => LevelFilter::Debug,
    };
    let opened = args.log_file.as_ref().map(|path| private_file::log_if_possible(path, is_agent));
    let (file, problem) = opened.unwrap_or_default();
    let file = file.map(Mutex::new);
    log::set_max_level(if file.is_some() { stderr.max(LevelFilter::Info) } else { stderr });
    // A second call, in a test, keeps the first logger.
    let _ = log::set_logger(LOGGER.get_or_init(|| Logger { stderr, file }));
    if let Some(problem) = problem {
        let path = args.log_file.as_deref().unwrap_or(Path::new(""));
        let is_from_variable = std::env::var_os(LOG_FILE).is_some_and(|value| value == *path);
        log::warn!(
            "{problem}{}",
            if is_from_variable { format!("; {LOG_FILE} names it") } else { String::new() }
        );
    }
}

/// Lets go of a stderr that somebody may read to its end, so that they are not held up by a stream that lives on: a
/// terminal and a file have no such reader, and whoever asked for messages gets them.
pub fn release_stderr() {
    let talkative = LOGGER.get().is_some_and(|logger| logger.stderr > LevelFilter::Warn);
    let is_read = fstat(rustix::stdio::stderr()).is_ok_and(|stderr| {
        matches!(FileType::from_raw_mode(stderr.st_mode), FileType::Fifo | FileType::Socket)
    });
    if talkative || !is_read {
        return;
    }
    let null = File::options().write(true).open("/dev/null");
    if null.is_ok_and(|null| rustix::stdio::dup2_stderr(null).is_ok()) {
        RELEASED.store(true, Relaxed);
    }
}

/// Says what was asked for, whatever the level.
pub fn notice(text: &str) {
    if let Some(logger) = LOGGER.get() {
        logger.say(Level::Info, text, true);
    }
}

/// Tells of the error that ends the command, in its two lines.
pub fn report(error: &Error) {
    if !RELEASED.load(Relaxed) {
        to_stderr(&error.report());
    }
    record(error);
}

/// Tells of it in the log alone, for a user who has been told.
pub fn record(error: &Error) {
    if let Some(logger) = LOGGER.get() {
        let hint = error.hint().map_or_else(String::new, |hint| format!("; hint: {hint}"));
        logger.say(Level::Error, &format!("error: {error}{hint}"), RELEASED.load(Relaxed));
    }
}
