//! The directory that the emulator keeps: what outlives a restart, and the files that clients are given. Which files
//! these are is the services' own affair; the authority's are `ca.pem` and `ca.key`.

use std::fs;
use std::io::{self, ErrorKind, Write};
use std::path::{Path, PathBuf};

use crate::error::{Error, Problem, Result};
use crate::platform::private_file::{Access, create_directories, put, replacement};
use crate::secret::Secret;

/// The directory. Files are named by their path in it.
#[derive(Clone, Debug)]
pub(super) struct Directory {
    path: PathBuf,
}

impl Directory {
    /// Opens the directory. A missing one is made, closed to other users; one that exists keeps its mode.
    ///
    /// # Errors
    /// It cannot be made or found.
    pub(super) fn open(path: &Path) -> Result<Self> {
        make(path)?;
        let path = path.canonicalize();
        Ok(Self { path: path.map_err(Error::local_io("emulator's directory"))? })
    }

    /// Creates a missing folder in it, private to its owner.
    ///
    /// # Errors
    /// It cannot be made.
    pub(super) fn make_folder(&self, folder: &str) -> Result<()> {
        make(&self.path.join(folder))
    }

    /// The names of the files in a folder that are UTF-8 and end with `.` and `extension`.
    ///
    /// # Errors
    /// The folder cannot be read.
    pub(super) fn list(&self, folder: &str, extension: &str) -> Result<Vec<String>> {
        let folder = self.path.join(folder);
        let unreadable = || Error::local_io(format!("directory {}", folder.display()));
        let mut names = Vec::new();
        for entry in fs::read_dir(&folder).map_err(unreadable())? {
            let name = entry.map_err(unreadable())?.file_name();
            if let Some(name) = name.to_str()
                && Path::new(name).extension().is_some_and(|found| found == extension)
            {
                names.push(name.to_owned());
            }
        }
        Ok(names)
    }

    /// A file's whole path.
    pub(super) fn path(&self, file: &str) -> PathBuf {
        self.path.join(file)
    }

    /// Reads a file; `None` when there is none.
    ///
    /// # Errors
    /// It cannot be read.
    pub(super) fn read(&self, file: &str) -> Result<Option<Secret>> {
        let path = self.path(file);
        match fs::read_to_string(&path) {
            Ok(text) => Ok(Some(Secret::new(text))),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(source) => Err(Error::LocalIo { what: format!("file {}", path.display()), source }),
        }
    }

    /// Replaces a file that its owner alone can read.
    ///
    /// # Errors
    /// It cannot be written.
    pub(super) fn write_secret(&self, file: &str, text: &Secret) -> Result<()> {
        self.write(file, Access::Owner, text.expose())
    }

    /// Replaces a file that everybody can read.
    ///
    /// # Errors
    /// It cannot be written.
    pub(super) fn write_public(&self, file: &str, text: &str) -> Result<()> {
        self.write(file, Access::Everyone, text)
    }

    /// Removes a file, if there is one.
    ///
    /// # Errors
    /// It is there and cannot be removed.
    pub(super) fn remove(&self, file: &str) -> Result<()> {
        let path = self.path(file);
        match fs::remove_file(&path) {
            Err(error) if error.kind() != ErrorKind::NotFound => {
                Err(Error::LocalIo { what: format!("file {}", path.display()), source: error })
            }
            _ => Ok(()),
        }
    }

    /// The error for a file whose content is invalid.
    pub(super) fn invalid(&self, file: &str, problem: impl Into<Problem>) -> Error {
        Error::file(&self.path(file), problem, "remove the file and start the emulator again")
    }

    /// Replaces a file in one step: a reader sees the old text or the new.
    fn write(&self, file: &str, access: Access, text: &str) -> Result<()> {
        let path = self.path(file);
        let replace = || -> io::Result<()> {
            let mut file = replacement(&path, access)?;
            file.write_all(text.as_bytes())?;
            put(file, &path)
        };
        replace().map_err(Error::local_io(format!("file {}", path.display())))
    }
}

fn make(path: &Path) -> Result<()> {
    let made = create_directories(path, Access::Owner);
    made.map_err(Error::local_io(format!("emulator's directory {}", path.display())))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::Permissions;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn files_have_their_modes_whatever_the_mode_of_an_old_one() {
        let temporary = tempfile::tempdir().unwrap();
        let path = temporary.path().join("new");
        let directory = Directory::open(&path).unwrap();
        directory.make_folder("part").unwrap();
        fs::write(path.join("part/secret"), "old").unwrap();
        fs::set_permissions(path.join("part/secret"), Permissions::from_mode(0o666)).unwrap();
        directory.write_secret("part/secret", &Secret::new("a")).unwrap();
        directory.write_public("public", "b").unwrap();
        for (file, mode) in [("", 0o700), ("part", 0o700), ("part/secret", 0o600), ("public", 0o644)] {
            let found = fs::metadata(path.join(file)).unwrap().permissions().mode();
            assert_eq!(found & 0o777, mode, "{file}");
        }
        assert_eq!(directory.read("part/secret").unwrap().unwrap().expose(), "a");
        directory.remove("public").unwrap();
        directory.remove("public").unwrap();
        assert_eq!(directory.read("public").unwrap(), None);
    }
}
