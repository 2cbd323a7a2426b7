//! What changes with a file's content.

use std::fs;
use std::path::Path;
use std::time::SystemTime;

/// A file's size and times. Another content has another stamp, whether the file is replaced or written in place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stamp {
    size: u64,
    created: Option<SystemTime>,
    modified: Option<SystemTime>,
}

impl Stamp {
    /// The stamp of the file that `path` leads to; `None` if it is missing or not accessible.
    pub fn of(path: &Path) -> Option<Self> {
        let file = fs::metadata(path).ok().filter(fs::Metadata::is_file)?;
        Some(Self { size: file.len(), created: file.created().ok(), modified: file.modified().ok() })
    }
}
