//! What is read and written of files that other users must not be able to change.

use std::fs::File;
use std::io;
use std::path::Path;

use zeroize::Zeroizing;

use crate::error::{Exposure, How};

/// The longest file with a secret, in bytes: far longer than any connection string, key or profile file.
pub const LONGEST: u64 = 1024 * 1024;

/// Who may read a file that is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// Its owner.
    Owner,
    /// Every user of the system.
    Everyone,
    /// Those who may read the file it replaces; a new file, its owner.
    Unchanged,
}

/// The content of a file, and what gives other users access to it.
#[derive(Debug)]
pub struct Read {
    pub bytes: Zeroizing<Vec<u8>>,
    /// What lets other users change it.
    pub changeable: Vec<Exposure>,
    /// What lets other users read it, which matters if it holds a secret.
    pub readable: Option<Exposure>,
}

impl Read {
    /// Every exposure of a file that holds a secret.
    pub fn secret_exposures(&self) -> impl Iterator<Item = &Exposure> {
        // One chmod closes a mode that lets others both read and write.
        let same = |exposure: &&Exposure| {
            let readable = self.readable.as_ref();
            !readable.is_some_and(|readable| {
                readable.path == exposure.path && matches!(exposure.how, How::Write(_))
            })
        };
        self.readable.iter().chain(self.changeable.iter().filter(same))
    }
}

/// A log open for appending, and what other users can change about it.
#[derive(Debug)]
pub struct Log {
    pub file: File,
    pub exposures: Vec<Exposure>,
}

/// The file of a log at `path`, if it was opened, and a warning.
pub(crate) fn with_warning(path: &Path, opened: io::Result<Log>) -> (Option<File>, Option<String>) {
    let about = |text: String| Some(format!("log file {}: {text}", path.display()));
    match opened {
        Err(error) => (None, about(format!("not written: {error}"))),
        Ok(Log { file, exposures }) => (
            Some(file),
            exposures.first().and_then(|exposure| about(format!("{exposure}: {}", exposure.fix()))),
        ),
    }
}
