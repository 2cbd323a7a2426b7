//! What gives other users access to a file: its mode or access list, its owner, or a directory or link on its path.

use std::fmt;
use std::path::{Path, PathBuf};

/// A file, or a directory or link on its path, that other users can read or change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Exposure {
    pub path: PathBuf,
    pub how: How,
}

/// What other users can do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum How {
    /// Read a secret, by this mode.
    Read(u32),
    /// Write to the file, or replace files in the directory, by this mode.
    Write(u32),
    /// Everything that an owner can: `owner` is another user than `us`, who runs this program.
    Own { owner: u32, us: u32 },
    /// Read a secret, by an access list of Windows.
    ReadGranted(Grants),
    /// Write to the file, or replace files in the directory, by an access list.
    WriteGranted(Grants),
    /// Everything that an owner can, on Windows.
    OwnAccount { owner: Account, us: Account },
}

/// What an access list grants to other users. Without any grant, there is no list, which leaves everything to everyone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Grants {
    pub others: Vec<Grant>,
    /// The account that runs this program.
    pub us: Account,
}

/// An entry of an access list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Grant {
    pub account: Account,
    /// What it lets the account do.
    pub right: &'static str,
    /// It comes from the access list of a directory above.
    pub inherited: bool,
}

/// A user or a group of Windows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Account {
    /// The security identifier, `S-1-…`.
    pub sid: String,
    /// The name with its domain, or the identifier of an account without a name.
    pub name: String,
}

impl fmt::Display for Grants {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.others.is_empty() {
            return f.write_str("no access list");
        }
        for (index, Grant { account, right, .. }) in self.others.iter().enumerate() {
            write!(f, "{}{}: {right}", if index == 0 { "" } else { ", " }, account.name)?;
        }
        Ok(())
    }
}

impl Grants {
    /// The command that leaves `path` to its user and the administrators, the same in cmd and PowerShell. Identifiers are
    /// right in every language of Windows.
    fn icacls(&self, path: &Path) -> String {
        let inherit = if path.is_dir() { "(OI)(CI)" } else { "" };
        let mut command = format!("icacls {} /inheritance:r", double_quoted(path));
        let explicit = self.others.iter().filter(|grant| !grant.inherited);
        for (index, Grant { account, .. }) in explicit.enumerate() {
            let option = if index == 0 { " /remove:g" } else { "" };
            command += &format!("{option} \"*{}\"", account.sid);
        }
        command += " /grant:r";
        for sid in [SYSTEM, ADMINISTRATORS].into_iter().filter(|&sid| sid != self.us.sid) {
            command += &format!(" \"*{sid}:{inherit}F\"");
        }
        command + &format!(" \"*{}:{inherit}F\"", self.us.sid)
    }
}

/// The identifiers of the accounts that can access every file.
const SYSTEM: &str = "S-1-5-18";
const ADMINISTRATORS: &str = "S-1-5-32-544";

impl fmt::Display for Exposure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ", self.path.display())?;
        match &self.how {
            How::Read(mode) => {
                write!(f, "holds secrets and is accessible to other users (mode {:04o})", mode & 0o7777)
            }
            How::Write(mode) => write!(f, "is writable by other users (mode {:04o})", mode & 0o7777),
            How::Own { owner, us: 0 } => write!(f, "belongs to another user (uid {owner}, not to root)"),
            How::Own { owner, us } => write!(f, "belongs to another user (uid {owner}, not {us} or root)"),
            How::ReadGranted(grants) => {
                write!(f, "holds secrets and is accessible to other users ({grants})")
            }
            How::WriteGranted(grants) => write!(f, "is writable by other users ({grants})"),
            How::OwnAccount { owner, us } => {
                write!(f, "belongs to another user ({}, not {} or an administrator)", owner.name, us.name)
            }
        }
    }
}

impl Exposure {
    /// The command or the action that closes the exposure.
    pub fn fix(&self) -> String {
        let path = quoted(&self.path);
        match &self.how {
            How::Read(_) if self.path.with_file_name("..data").is_symlink() => {
                format!("{path} is in a Kubernetes volume: set defaultMode: 0400 on the volume")
            }
            How::Read(_) => format!("chmod 600 {path}"),
            How::Write(_) => format!("chmod go-w {path}"),
            How::Own { owner, us } => {
                let of_link = if self.path.is_symlink() { "-h " } else { "" };
                let chown = format!("chown {of_link}{us} {path}");
                match (*us, self.path.is_dir()) {
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
            How::WriteGranted(grants) if self.path.is_dir() => {
                format!(
                    "move the file to a directory that only you can change, or {}",
                    grants.icacls(&self.path)
                )
            }
            How::ReadGranted(grants) | How::WriteGranted(grants) => grants.icacls(&self.path),
            How::OwnAccount { .. } if self.path.is_dir() => {
                "move the file to a directory that you own".into()
            }
            How::OwnAccount { us, .. } => format!(
                "use a copy that you own, or if you trust its content, as an administrator: icacls {} /setowner \"*{}\"",
                double_quoted(&self.path),
                us.sid
            ),
        }
    }
}

/// A path, quoted for cmd and PowerShell.
fn double_quoted(path: &Path) -> String {
    format!("\"{}\"", path.display())
}

/// A path, quoted for a shell.
pub fn quoted(path: &Path) -> String {
    format!("'{}'", path.display().to_string().replace('\'', "'\\''"))
}
