//! What changes with a file's content.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::SystemTime;

/// A file's inode, size and time. Another content has another stamp, whether the file is replaced or written in place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stamp {
    device: u64,
    inode: u64,
    size: u64,
    modified: Option<SystemTime>,
}

impl Stamp {
    /// The stamp of the file that `path` leads to; `None` if it is missing, not accessible or a pipe.
    pub fn of(path: &Path) -> Option<Self> {
        let file = fs::metadata(path).ok().filter(fs::Metadata::is_file)?;
        Some(Self { device: file.dev(), inode: file.ino(), size: file.len(), modified: file.modified().ok() })
    }
}
