//! The files that a credential was read from, watched for a renewal.

use std::path::{Path, PathBuf};

use crate::platform::private_file::Stamp;

/// The files of a credential, and how each was before it was read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct WatchedFiles(Vec<(PathBuf, Option<Stamp>)>);

impl WatchedFiles {
    /// One file, which is going to be read.
    pub(crate) fn of(path: &Path) -> Self {
        let mut files = Self::default();
        files.add(path.to_owned());
        files
    }

    /// Adds a file that is going to be read. It may be missing.
    pub(crate) fn add(&mut self, path: PathBuf) {
        let stamp = Stamp::of(&path);
        self.0.push((path, stamp));
    }

    /// Whether a file has been replaced, changed, created or removed since it was added. Looks at the file system.
    pub(crate) fn have_changed(&self) -> bool {
        self.0.iter().any(|(path, stamp)| Stamp::of(path) != *stamp)
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;
    use std::time::{Duration, SystemTime};

    use super::*;

    #[test]
    fn notices_each_kind_of_change() {
        let directory = tempfile::tempdir().unwrap();
        let path = |name: &str| directory.path().join(name);
        let watched = |name: &str| {
            let files = WatchedFiles::of(&path(name));
            assert!(!files.have_changed(), "{name}");
            files
        };
        fs::write(path("a"), "one").unwrap();
        let before = watched("a");
        fs::write(path("a"), "longer").unwrap();
        assert!(before.have_changed(), "its size");

        let before = watched("a");
        let file = fs::File::options().write(true).open(path("a")).unwrap();
        file.set_modified(SystemTime::now() + Duration::from_secs(1)).unwrap();
        assert!(before.have_changed(), "its time");

        // Another file of the same size and time, as `cp -p` and `mv` make it.
        let modified = file.metadata().unwrap().modified().unwrap();
        let before = watched("a");
        fs::write(path("b"), "LONGER").unwrap();
        fs::File::options().write(true).open(path("b")).unwrap().set_modified(modified).unwrap();
        fs::rename(path("b"), path("a")).unwrap();
        assert!(before.have_changed(), "its inode");

        let before = watched("a");
        fs::remove_file(path("a")).unwrap();
        assert!(before.have_changed(), "it was removed");
        let before = watched("a");
        fs::write(path("a"), "").unwrap();
        assert!(before.have_changed(), "it was created");

        // As Kubernetes renews a secret.
        fs::create_dir_all(path("1")).unwrap();
        fs::create_dir_all(path("2")).unwrap();
        fs::write(path("1/key"), "one").unwrap();
        fs::write(path("2/key"), "two").unwrap();
        symlink("1", path("data")).unwrap();
        let files = WatchedFiles::of(&path("data/key"));
        symlink("2", path("new")).unwrap();
        fs::rename(path("new"), path("data")).unwrap();
        assert!(files.have_changed(), "its directory");
    }
}
