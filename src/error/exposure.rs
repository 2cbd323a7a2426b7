//! What gives other users access to a file: its mode, its owner, or a directory or link on its path.

use std::fmt;
use std::path::{Path, PathBuf};

/// A file, or a directory or link on its path, that other users can read or change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Exposure {
    pub path: PathBuf,
    pub how: How,
}

/// What other users can do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum How {
    /// Read a secret, by this mode.
    Read(u32),
    /// Write to the file, or replace files in the directory, by this mode.
    Write(u32),
    /// Everything that an owner can: `owner` is another user than `us`, who runs this program.
    Own { owner: u32, us: u32 },
}

impl fmt::Display for Exposure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ", self.path.display())?;
        match self.how {
            How::Read(mode) => {
                write!(f, "holds secrets and is accessible to other users (mode {:04o})", mode & 0o7777)
            }
            How::Write(mode) => write!(f, "is writable by other users (mode {:04o})", mode & 0o7777),
            How::Own { owner, us: 0 } => write!(f, "belongs to another user (uid {owner}, not to root)"),
            How::Own { owner, us } => write!(f, "belongs to another user (uid {owner}, not {us} or root)"),
        }
    }
}

impl Exposure {
    /// The command or the action that closes the exposure.
    pub fn fix(&self) -> String {
        let path = quoted(&self.path);
        match self.how {
            How::Read(_) if self.path.with_file_name("..data").is_symlink() => {
                format!("{path} is in a Kubernetes volume: set defaultMode: 0400 on the volume")
            }
            How::Read(_) => format!("chmod 600 {path}"),
            How::Write(_) => format!("chmod go-w {path}"),
            How::Own { owner, us } => {
                let of_link = if self.path.is_symlink() { "-h " } else { "" };
                let chown = format!("chown {of_link}{us} {path}");
                match (us, self.path.is_dir()) {
                    // Not chown: the owner needs the directory, and only root could change it.
                    (0, true) => {
                        format!("run this as uid {owner}, or move the file to a directory that root owns")
                    }
                    (_, true) => "move the file to a directory that you or root own".into(),
                    // An administrator may be looking at the files of a service's user.
                    (0, false) => format!("run this as uid {owner}, or if you trust its content, {chown}"),
                    (_, false) => {
                        format!("use a copy that you own, or if you trust its content, as root: {chown}")
                    }
                }
            }
        }
    }
}

/// A path, quoted for a shell.
pub fn quoted(path: &Path) -> String {
    format!("'{}'", path.display().to_string().replace('\'', "'\\''"))
}
