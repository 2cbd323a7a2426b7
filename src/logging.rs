//! The log: lines on stderr, and in a file on request. Only this crate's own records pass: the WebSocket library
//! writes Authorization headers at its most verbose level.

use std::fs::File;
use std::io::{IsTerminal, Write};
use std::sync::Mutex;

use log::{LevelFilter, Log, Metadata, Record};

use crate::cli;
use crate::error::{Error, Result, escape};

struct Logger {
    /// What goes to stderr.
    stderr: LevelFilter,
    /// In mid-session ssh has the terminal in raw mode, where a bare line feed makes a staircase.
    line_end: &'static str,
    file: Option<Mutex<File>>,
}

impl Log for Logger {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.target().starts_with(env!("CARGO_CRATE_NAME"))
    }

    fn log(&self, record: &Record<'_>) {
        if !self.enabled(record.metadata()) {
            return;
        }
        let text = escape(&record.args().to_string());
        // A log that cannot be written must not end the stream it is about.
        if record.level() <= self.stderr {
            let _ = std::io::stderr().write_all(format!("iotstream: {text}{}", self.line_end).as_bytes());
        }
        if let Some(file) = &self.file {
            let time = crate::clock::iso8601(std::time::SystemTime::now());
            let line = format!(
                "{time} [{}] {}: {text}\n",
                std::process::id(),
                record.level().as_str().to_lowercase()
            );
            let _ = file.lock().unwrap_or_else(std::sync::PoisonError::into_inner).write_all(line.as_bytes());
        }
    }

    fn flush(&self) {}
}

/// Sets up the log for the whole process: warnings by default, `-v` for information, `-vv` for all, `-q` for nothing.
///
/// # Errors
/// When the log file cannot be opened.
pub fn start(args: &cli::Log) -> Result<()> {
    let stderr = match (args.quiet, args.verbose) {
        (true, _) => LevelFilter::Off,
        (_, 0) => LevelFilter::Warn,
        (_, 1) => LevelFilter::Info,
        _ => LevelFilter::Debug,
    };
    let file = args
        .log_file
        .as_ref()
        .map(|path| {
            let open = File::options().append(true).create(true).open(path);
            open.map(Mutex::new).map_err(Error::local_io(format!("log file {}", path.display())))
        })
        .transpose()?;
    log::set_max_level(if file.is_some() { stderr.max(LevelFilter::Info) } else { stderr });
    let line_end = if std::io::stderr().is_terminal() { "\r\n" } else { "\n" };
    // A second call, in a test, keeps the first logger.
    let _ = log::set_boxed_logger(Box::new(Logger { stderr, line_end, file }));
    Ok(())
}
