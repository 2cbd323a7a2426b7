//! Resolves a path component by component, and finds what other users can change on it.

use std::ffi::OsString;
use std::fs::{self, Metadata};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Component, Path, PathBuf};

use super::owners::Owners;
use crate::error::{Exposure, How};
use crate::platform::extra::file::has_access_list;

/// The most links on a path, as in the kernel.
const MOST_LINKS: usize = 40;

/// Where a path leads.
#[derive(Debug)]
pub(crate) struct Walked {
    /// The absolute path without links.
    pub(crate) resolved: PathBuf,
    /// The file or directory at its end; `None` if it is missing.
    pub(crate) found: Option<Metadata>,
    pub(crate) exposures: Vec<Exposure>,
}

/// Resolves `path` from the root, and examines each directory and link on it and the file at its end. If there are no
/// exposures, no other user can change what the path leads to.
///
/// # Errors
/// When the path cannot be resolved. A missing file or directory is no error.
pub(crate) fn walk(path: &Path, owners: &Owners, secret: bool) -> io::Result<Walked> {
    let mut walked = Walked { resolved: "/".into(), found: None, exposures: Vec::new() };
    let mut left = Vec::new();
    push(&mut left, &std::path::absolute(path)?);
    let mut links = 0;
    walked.examine("/".into(), &fs::symlink_metadata("/")?, owners, secret);
    while let Some(part) = left.pop() {
        if part == ".." {
            walked.resolved.pop();
            continue;
        }
        let next = walked.resolved.join(&part);
        let metadata = match fs::symlink_metadata(&next) {
            Ok(metadata) => metadata,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                walked.resolved = next;
                walked.resolved.extend(left.into_iter().rev());
                return Ok(walked);
            }
            Err(error) => return Err(error),
        };
        if metadata.is_symlink() {
            links += 1;
            if links > MOST_LINKS {
                return Err(rustix::io::Errno::LOOP.into());
            }
            let target = fs::read_link(&next)?;
            walked.examine(next, &metadata, owners, secret);
            if target.is_absolute() {
                walked.resolved = "/".into();
            }
            push(&mut left, &target);
        } else {
            walked.examine(next.clone(), &metadata, owners, secret);
            walked.resolved = next;
            walked.found = left.is_empty().then_some(metadata);
        }
    }
    if walked.found.is_none() {
        walked.found = fs::symlink_metadata(&walked.resolved).ok();
    }
    Ok(walked)
}

impl Walked {
    fn examine(&mut self, path: PathBuf, metadata: &Metadata, owners: &Owners, secret: bool) {
        let (owner, mode) = (metadata.uid(), metadata.mode());
        let how = if !owners.trusts(owner) {
            How::Own { owner, us: owners.us() }
        } else if !metadata.is_symlink() && writable(&path, metadata, owners, secret) {
            How::Write(mode)
        } else {
            return;
        };
        let exposure = Exposure { path, how };
        // A path may lead through a directory twice.
        if !self.exposures.contains(&exposure) {
            self.exposures.push(exposure);
        }
    }
}

/// Whether other users can write to a file, or replace files in a directory.
fn writable(path: &Path, metadata: &Metadata, owners: &Owners, secret: bool) -> bool {
    let mode = metadata.mode();
    // In a sticky directory, such as /tmp, only a file's owner can replace it.
    if mode & 0o022 == 0 || (metadata.is_dir() && mode & 0o1000 != 0) {
        return false;
    }
    // With an access list, the mode shows what the group can do, but not which other users can.
    mode & 0o002 != 0 || !owners.is_private(metadata.gid(), metadata.uid(), secret) || has_access_list(path)
}

/// Pushes the components of a path on a stack, the first one on top.
fn push(stack: &mut Vec<OsString>, path: &Path) {
    let parts = path.components().rev().filter_map(|part| match part {
        Component::Normal(name) => Some(name.to_owned()),
        Component::ParentDir => Some("..".into()),
        _ => None,
    });
    stack.extend(parts);
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt, symlink};

    use super::super::owners::tests::machine;
    use super::*;

    fn mode(path: &Path, mode: u32) {
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    }

    /// The exposures of `path` below `directory`, as our own user sees them.
    fn exposed(directory: &Path, path: &str, group: &str) -> Vec<(String, How)> {
        let us = rustix::process::geteuid().as_raw();
        let users = format!("me:x:{us}:{us}::/:/bin/sh\nann:x:7001:7001::/:/bin/sh\n");
        let owners = machine(us, directory, &users, group);
        let walked = walk(&directory.join(path), &owners, true).unwrap();
        let name = |path: &Path| path.strip_prefix(directory).unwrap().display().to_string();
        walked.exposures.into_iter().map(|exposure| (name(&exposure.path), exposure.how)).collect()
    }

    #[test]
    fn every_directory_and_link_on_the_path_counts() {
        let temporary = tempfile::tempdir().unwrap();
        let directory = temporary.path().canonicalize().unwrap();
        fs::create_dir_all(directory.join("a/b/c")).unwrap();
        fs::write(directory.join("a/b/c/file"), "").unwrap();
        mode(&directory.join("a/b/c/file"), 0o600);
        symlink("b", directory.join("a/link")).unwrap();
        symlink("loop", directory.join("loop")).unwrap();
        let none: Vec<(String, How)> = Vec::new();
        let gid = fs::metadata(directory.join("a")).unwrap().gid();
        let (shared, private) = (format!("g:x:{gid}:ann\n"), format!("g:x:{gid}:me\n"));
        for (changed, to, group, how) in [
            ("a/b/c/file", 0o600, &shared, None),
            ("a/b/c/file", 0o620, &shared, Some(How::Write(0o100_620))),
            ("a/b/c/file", 0o620, &private, None),
            ("a/b/c/file", 0o602, &private, Some(How::Write(0o100_602))),
            ("a/b/c", 0o775, &shared, Some(How::Write(0o40_775))),
            ("a/b/c", 0o775, &private, None),
            ("a/b/c", 0o1777, &shared, None),
            // Directories above the file's own count as well.
            ("a/b", 0o777, &private, Some(How::Write(0o40_777))),
        ] {
            let path = directory.join(changed);
            let before = fs::metadata(&path).unwrap().mode() & 0o7777;
            mode(&path, to);
            let expected = how.map_or(none.clone(), |how| vec![(changed.to_owned(), how)]);
            for way in ["a/b/c/file", "a/link/c/file", "a/link/../b/./c/file"] {
                assert_eq!(exposed(&directory, way, group), expected, "{changed} {to:o} by {way}");
            }
            mode(&path, before);
        }
        assert_eq!(exposed(&directory, "a/b/none/at/all", &shared), none);
        let owners = Owners::here();
        assert!(walk(&directory.join("loop"), &owners, true).is_err());
        let missing = walk(&directory.join("a/link/none/x"), &owners, true).unwrap();
        assert_eq!((missing.resolved, missing.found.is_none()), (directory.join("a/b/none/x"), true));
    }

    #[test]
    fn files_of_another_user_are_exposed() {
        let temporary = tempfile::tempdir().unwrap();
        let directory = temporary.path().canonicalize().unwrap();
        fs::write(directory.join("file"), "").unwrap();
        let mine = fs::metadata(&directory).unwrap().uid();
        // To another user, everything of ours is exposed, unless we are root.
        let owners = machine(mine + 1, &directory, "", "");
        let walked = walk(&directory.join("file"), &owners, true).unwrap();
        let seen = walked.exposures.iter().any(|exposure| {
            exposure.path == directory.join("file") && exposure.how == How::Own { owner: mine, us: mine + 1 }
        });
        assert_eq!(seen, mine != 0, "{walked:?}");
    }
}
