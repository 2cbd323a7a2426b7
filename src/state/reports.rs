//! Copies of what devices have reported to their services: a file for each device or module, so that what a helper has read
//! is at hand for `host-keys` and completions.
//!
//! A second file beside it is locked while a process asks the service. It has the time of the last try that has not
//! succeeded, in milliseconds since 1970, and in further lines why.

use std::fs::{self, File};
use std::io::{self, Read as _, Seek, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::directory;
use crate::platform::is_remote;
use crate::platform::private_file::Unwritable;
use crate::time::clock::unix_seconds;

/// The name of the directory.
const DIRECTORY: &str = "reports";

/// The extensions of a copy and of the file beside it.
const COPY: &str = "json";
const TRY: &str = "try";

/// The most copies that are kept.
const MOST: usize = 4096;

/// The longest text of a try, in bytes.
const LONGEST_TRY: usize = 4096;

/// A copy of a report.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq, Serialize)]
pub(crate) struct Copied<R> {
    /// When the service was asked, in seconds since 1970.
    pub fetched: u64,
    /// The report.
    pub report: R,
}

impl<R> Copied<R> {
    /// When the service was asked, as the time since 1970.
    pub(crate) fn fetched(&self) -> Duration {
        Duration::from_secs(self.fetched)
    }
}

/// The files of one device or module.
#[derive(Clone, Debug)]
pub(crate) struct ReportFiles {
    name: String,
}

impl ReportFiles {
    /// The files of `device`, which may be `DEVICE/MODULE`, at the service with this key.
    pub(crate) fn of(service: &str, device: &str) -> Self {
        // Neither contains a line feed.
        let hash = Sha256::digest(format!("{service}\n{device}"));
        Self { name: format!("{DIRECTORY}/{}", data_encoding::HEXLOWER.encode(&hash[..16])) }
    }

    /// The copy, if there is one.
    pub(crate) fn read<R: DeserializeOwned>(&self) -> Option<Copied<R>> {
        serde_json::from_str(&directory::read(&self.copy())?).ok()
    }

    /// Stores a report that has just been fetched, readable only by its owner.
    ///
    /// # Errors
    /// Returns an error if the state directory cannot be written.
    pub(crate) fn keep<R: Serialize>(&self, report: R) -> io::Result<()> {
        let copied = Copied { fetched: unix_seconds(SystemTime::now()).0, report };
        let text = serde_json::to_string(&copied).map_err(io::Error::other)?;
        let is_new = directory::read(&self.copy()).is_none();
        directory::write(&self.copy(), &text).map_err(failed)?;
        match directory().filter(|_| is_new) {
            Some(directory) => prune(&directory, MOST),
            None => Ok(()),
        }
    }

    /// Removes the copy.
    pub(crate) fn forget(&self) {
        if let Some(state) = directory::directory() {
            // Without a copy, there is nothing to forget.
            let _ = fs::remove_file(state.join(self.copy()));
        }
    }

    /// Opens the file of the tries to ask the service.
    ///
    /// # Errors
    /// Returns an error if the state directory cannot be written.
    pub(crate) fn tries(&self) -> io::Result<Tries> {
        directory::open(&format!("{}.{TRY}", self.name)).map(Tries).map_err(failed)
    }

    fn copy(&self) -> String {
        format!("{}.{COPY}", self.name)
    }
}

/// A try to ask the service for a report that has not succeeded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Try {
    /// When it failed, or began, as the time since 1970.
    pub at: Duration,
    /// Why it failed; empty if it has only begun.
    pub problem: String,
}

/// The tries to ask the service for a report.
#[derive(Debug)]
pub(crate) struct Tries(File);

impl Tries {
    /// Locks the file until it is closed. `false` if another process holds the lock, and is asking the service.
    ///
    /// # Errors
    /// Returns the error of the file system.
    pub(crate) fn lock(&self) -> io::Result<bool> {
        // Locks of a network file system may hang. Without one, two processes may ask at once.
        if is_remote(&self.0)? {
            return Ok(true);
        }
        match self.0.try_lock() {
            Ok(()) => Ok(true),
            Err(fs::TryLockError::WouldBlock) => Ok(false),
            Err(fs::TryLockError::Error(error)) => Err(error),
        }
    }

    /// The last try, if it has not succeeded.
    pub(crate) fn last(&self) -> Option<Try> {
        let mut text = Vec::new();
        let mut file = &self.0;
        file.rewind().ok()?;
        file.take(LONGEST_TRY as u64).read_to_end(&mut text).ok()?;
        let text = String::from_utf8_lossy(&text);
        let (time, problem) = text.split_once('\n')?;
        Some(Try { at: Duration::from_millis(time.parse().ok()?), problem: problem.to_owned() })
    }

    /// Notes a try that has failed with `problem`, or has just begun if that is empty. Returns its time since 1970.
    ///
    /// # Errors
    /// Returns the error of the file system.
    pub(crate) fn note(&self, problem: &str) -> io::Result<Duration> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_millis();
        let text = format!("{now:013}\n{problem}").into_bytes();
        let text = &text[..text.len().min(LONGEST_TRY)];
        let mut file = &self.0;
        file.rewind()?;
        file.write_all(text)?;
        file.set_len(text.len() as u64)?;
        Ok(Duration::from_millis(u64::try_from(now).unwrap_or_default()))
    }

    /// Notes that a try has succeeded.
    ///
    /// # Errors
    /// Returns the error of the file system.
    pub(crate) fn clear(&self) -> io::Result<()> {
        self.0.set_len(0)
    }
}

/// All reports of which there are copies.
pub(crate) fn all<R: DeserializeOwned>() -> Vec<R> {
    let entries = directory().and_then(|directory| fs::read_dir(directory).ok()).into_iter().flatten();
    let names = entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
    names
        .filter(|name| has_extension(Path::new(name), COPY))
        .filter_map(|name| {
            let text = directory::read(&format!("{DIRECTORY}/{name}"))?;
            serde_json::from_str(&text).ok().map(|copied: Copied<R>| copied.report)
        })
        .collect()
}

fn directory() -> Option<PathBuf> {
    directory::directory().map(|state| state.join(DIRECTORY))
}

fn failed(problem: Unwritable) -> io::Error {
    io::Error::other(problem.to_string())
}

fn has_extension(path: &Path, extension: &str) -> bool {
    path.extension().is_some_and(|found| found == extension)
}

/// Removes the oldest files, so that at most `most` copies are left, and as many files of tries.
fn prune(directory: &Path, most: usize) -> io::Result<()> {
    let paths: Vec<PathBuf> =
        fs::read_dir(directory)?.map(|entry| Ok(entry?.path())).collect::<io::Result<_>>()?;
    // A process that ended while it wrote has left a temporary file.
    let (tries, copies): (Vec<_>, Vec<_>) = paths.into_iter().partition(|path| has_extension(path, TRY));
    for paths in [tries, copies] {
        let Some(excess) = paths.len().checked_sub(most).filter(|&excess| excess > 0) else { continue };
        let mut dated: Vec<(SystemTime, PathBuf)> = paths
            .into_iter()
            .map(|path| {
                let modified = path.symlink_metadata().and_then(|file| file.modified());
                (modified.unwrap_or(UNIX_EPOCH), path)
            })
            .collect();
        dated.sort_unstable();
        for (_, path) in dated.into_iter().take(excess) {
            // Another process may have removed it.
            let _ = fs::remove_file(path);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tries(directory: &Path) -> Tries {
        let mut options = File::options();
        options.read(true).write(true).create(true).truncate(false);
        Tries(options.open(directory.join("x.try")).unwrap())
    }

    #[test]
    fn one_process_holds_the_lock_and_all_see_the_last_try() {
        let directory = tempfile::tempdir().unwrap();
        let (first, second) = (tries(directory.path()), tries(directory.path()));
        assert_eq!((first.lock().unwrap(), second.lock().unwrap()), (true, false));
        assert_eq!(second.last(), None);
        let at = second.note("a problem\na hint").unwrap();
        let noted = Try { at, problem: "a problem\na hint".into() };
        assert_eq!((first.last().as_ref(), second.last().as_ref()), (Some(&noted), Some(&noted)));
        let at = first.note("").unwrap();
        assert_eq!(second.last(), Some(Try { at, problem: String::new() }));
        first.note(&"ä".repeat(LONGEST_TRY)).unwrap();
        assert!(second.last().unwrap().problem.starts_with("ää"));
        first.clear().unwrap();
        assert_eq!(second.last(), None);
        drop(first);
        assert!(second.lock().unwrap());
        for text in ["garbage", "garbage\n", "-1\n", "1", "99999999999999999999999999999999999\n", "\n1"] {
            fs::write(directory.path().join("x.try"), text).unwrap();
            assert_eq!(second.last(), None, "{text}");
        }
    }

    #[test]
    fn the_oldest_files_are_removed() {
        let directory = tempfile::tempdir().unwrap();
        let names = |extension: &str| {
            let mut names: Vec<String> = fs::read_dir(directory.path())
                .unwrap()
                .map(|entry| entry.unwrap().file_name().into_string().unwrap())
                .filter(|name| name.ends_with(extension))
                .collect();
            names.sort_unstable();
            names
        };
        for at in 0..6 {
            for extension in [COPY, TRY] {
                let file = File::create(directory.path().join(format!("{at}.{extension}"))).unwrap();
                file.set_modified(UNIX_EPOCH + Duration::from_secs(10 - at)).unwrap();
            }
        }
        let left_over = File::create(directory.path().join(".tmp")).unwrap();
        left_over.set_modified(UNIX_EPOCH).unwrap();
        prune(directory.path(), 4).unwrap();
        assert_eq!(names(COPY), ["0.json", "1.json", "2.json", "3.json"]);
        assert_eq!(names(TRY), ["0.try", "1.try", "2.try", "3.try"]);
        assert_eq!(names(".tmp"), Vec::<String>::new());
        prune(directory.path(), 4).unwrap();
        assert_eq!(names(COPY).len(), 4);
    }

    #[test]
    fn identities_have_files_of_their_own() {
        let name = |service, device| ReportFiles::of(service, device).name;
        assert_eq!(name("hub", "a"), name("hub", "a"));
        for (service, device) in [("hub", "A"), ("hub", "a/m"), ("other", "a"), ("hub\na", "")] {
            assert_ne!(name("hub", "a"), name(service, device));
        }
    }
}
