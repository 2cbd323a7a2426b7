//! The file `~/.ssh/iotstream.conf`, and its Include in the user's ssh configuration.

use std::io;
use std::path::{Path, PathBuf};
use std::{fs, str};

use crate::error::{Error, Result};
use crate::platform::Runner;
use crate::platform::private_file::{Access, Unwritable, read_plain, replace};

const OWN: &str = "iotstream.conf";
const BACKUP: &str = "config.iotstream-backup";

/// A user's `~/.ssh`.
#[derive(Debug)]
pub(crate) struct SshDirectory {
    runner: Runner,
    directory: PathBuf,
}

/// A change of a file.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Change {
    /// The file.
    pub path: PathBuf,
    /// The content before; `None` for a missing file.
    pub before: Option<Vec<u8>>,
    /// The content after; `None` removes the file.
    pub after: Option<Vec<u8>>,
}

impl SshDirectory {
    pub(crate) fn new(runner: Runner, directory: PathBuf) -> Self {
        Self { runner, directory }
    }

    /// The changes that write `blocks` and include them.
    ///
    /// # Errors
    /// Returns an error if a file cannot be read, or the directory's path is not valid in an Include.
    pub(crate) fn write(&self, blocks: &str) -> Result<Vec<Change>> {
        let include = self.include()?;
        let own =
            format!("# Written by `iotstream ssh-config --write`, which overwrites changes.\n\n{blocks}");
        let config = read(&self.directory.join("config"))?;
        let mut changes = vec![self.change(OWN, Some(own.into_bytes()))?];
        if !config.as_deref().is_some_and(includes) {
            let text = [include.as_bytes(), config.as_deref().unwrap_or_default()].concat();
            changes.push(Change {
                path: self.directory.join(BACKUP),
                before: read(&self.directory.join(BACKUP))?,
                after: config,
            });
            changes.push(self.change("config", Some(text))?);
        }
        Ok(meaningful(changes))
    }

    /// The changes that undo [`Self::write`].
    ///
    /// # Errors
    /// Returns an error if a file cannot be read.
    pub(crate) fn remove(&self) -> Result<Vec<Change>> {
        let mut changes = Vec::new();
        let (config, backup) = (read(&self.directory.join("config"))?, read(&self.directory.join(BACKUP))?);
        if let Some(config) = &config
            && let Ok(include) = self.include()
            && let Some(at) = config.windows(include.len()).position(|window| window == include.as_bytes())
        {
            let rest = [&config[..at], &config[at + include.len()..]].concat();
            // Without a backup, there was no file before.
            let rest = Some(rest).filter(|rest| backup.is_some() || !rest.is_empty());
            if backup == rest {
                changes.push(self.change(BACKUP, None)?);
            }
            changes.push(self.change("config", rest)?);
        }
        changes.push(self.change(OWN, None)?);
        Ok(meaningful(changes))
    }

    fn change(&self, name: &str, after: Option<Vec<u8>>) -> Result<Change> {
        let path = self.directory.join(name);
        Ok(Change { before: read(&path)?, path, after })
    }

    /// The lines for the top of the user's configuration. Below a `Host` line they would apply to that host only.
    fn include(&self) -> Result<String> {
        // On Windows, the ssh of Git takes a path with a drive for a relative one. Relative ones are below ~/.ssh.
        let own = match self.runner {
            Runner::Shell => self.directory.join(OWN),
            Runner::CreateProcess => OWN.into(),
        };
        // Some versions of ssh expand these characters even within quotes.
        let plain = |c: &char| !c.is_control() && !"\"\\*?[]{}$%~".contains(*c);
        match own.to_str().filter(|path| path.chars().all(|c| plain(&c))) {
            Some(own) => {
                Ok(format!("# `iotstream ssh-config --remove` takes this out.\nInclude \"{own}\"\n\n"))
            }
            None => Err(Error::usage(
                format!("the path {} cannot be written in ssh's Include", own.display()),
                "print the blocks with `iotstream ssh-config`, and put them into a file that ssh reads",
            )),
        }
    }
}

impl Change {
    /// Makes the change. An existing file keeps its mode; a new one is private to its owner.
    ///
    /// # Errors
    /// Returns an error if the file cannot be written.
    pub(crate) fn make(&self) -> Result<()> {
        let make = || match &self.after {
            Some(after) => replace(&self.path, after, Access::Unchanged),
            None => Ok(fs::remove_file(&self.path)?),
        };
        make().map_err(|problem: Unwritable| problem.into_error(self.path.display().to_string()))
    }
}

fn meaningful(changes: Vec<Change>) -> Vec<Change> {
    changes.into_iter().filter(|change| change.before != change.after).collect()
}

fn read(path: &Path) -> Result<Option<Vec<u8>>> {
    match read_plain(path) {
        Ok(bytes) => Ok(Some(bytes.to_vec())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(Error::local_io(path.display().to_string())(error)),
    }
}

/// Whether a configuration has an Include of our file in any spelling.
fn includes(config: &[u8]) -> bool {
    config.split(|&byte| byte == b'\n').filter_map(|line| str::from_utf8(line).ok()).any(|line| {
        let line = line.trim_start();
        let keyword = line.get(..7).is_some_and(|word| word.eq_ignore_ascii_case("include"));
        keyword && line.contains(OWN)
    })
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;
    use proptest::prelude::*;

    fn make(changes: &[Change]) {
        changes.iter().for_each(|change| change.make().unwrap());
    }

    fn files(directory: &Path) -> Vec<(String, Vec<u8>, u32)> {
        let mut files: Vec<_> = fs::read_dir(directory)
            .unwrap()
            .map(|entry| {
                let entry = entry.unwrap();
                let mode = entry.metadata().unwrap().permissions().mode() & 0o777;
                (entry.file_name().into_string().unwrap(), fs::read(entry.path()).unwrap(), mode)
            })
            .collect();
        files.sort();
        files
    }

    #[test]
    fn keeps_the_users_own_include() {
        let home = tempfile::tempdir().unwrap();
        let ssh = SshDirectory::new(Runner::Shell, home.path().to_owned());
        fs::write(home.path().join("config"), "  include ~/.ssh/iotstream.conf\nHost *\n").unwrap();
        let changed: Vec<_> = ssh.write("x").unwrap().into_iter().map(|change| change.path).collect();
        assert_eq!(changed, [home.path().join(OWN)]);
    }

    #[test]
    fn removes_files_that_did_not_exist_before() {
        let home = tempfile::tempdir().unwrap();
        let ssh = SshDirectory::new(Runner::Shell, home.path().join(".ssh"));
        make(&ssh.write("x").unwrap());
        let written = files(&home.path().join(".ssh"));
        let modes: Vec<_> = written.iter().map(|(name, _, mode)| (name.as_str(), *mode)).collect();
        assert_eq!(modes, [("config", 0o600), (OWN, 0o600)]);
        let directory = fs::metadata(home.path().join(".ssh")).unwrap().permissions().mode() & 0o777;
        assert_eq!(directory, 0o700);
        make(&ssh.remove().unwrap());
        assert!(files(&home.path().join(".ssh")).is_empty());
        assert_eq!(ssh.remove().unwrap(), []);
    }

    #[test]
    fn on_windows_the_include_is_relative() {
        let ssh = SshDirectory::new(Runner::CreateProcess, r"C:\Users\ann\.ssh".into());
        assert!(ssh.include().unwrap().ends_with("\nInclude \"iotstream.conf\"\n\n"));
    }

    #[test]
    fn keeps_lines_added_since() {
        let home = tempfile::tempdir().unwrap();
        let ssh = SshDirectory::new(Runner::Shell, home.path().to_owned());
        let config = home.path().join("config");
        fs::write(&config, "Host a\n").unwrap();
        make(&ssh.write("x").unwrap());
        let with_more = [b"# new\n".to_vec(), fs::read(&config).unwrap(), b"Host b\n".to_vec()].concat();
        fs::write(&config, with_more).unwrap();
        make(&ssh.remove().unwrap());
        assert_eq!(fs::read(&config).unwrap(), b"# new\nHost a\nHost b\n");
        assert_eq!(fs::read(home.path().join(BACKUP)).unwrap(), b"Host a\n");
    }

    proptest! {
        #[test]
        fn writing_twice_changes_nothing_and_removing_restores(
            config in proptest::option::of(proptest::collection::vec(any::<u8>(), 0..200)),
            mode in prop_oneof![Just(0o600u32), Just(0o644), Just(0o400)],
            blocks in "\\PC{0,40}",
        ) {
            let home = tempfile::tempdir().unwrap();
            let ssh = SshDirectory::new(Runner::Shell, home.path().to_owned());
            if let Some(config) = &config {
                let path = home.path().join("config");
                fs::write(&path, config).unwrap();
                fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
            }
            let before = files(home.path());
            make(&ssh.write(&blocks).unwrap());
            prop_assert_eq!(ssh.write(&blocks).unwrap(), vec![]);
            make(&ssh.remove().unwrap());
            prop_assert_eq!(files(home.path()), before);
        }
    }
}
