//! The profile file and what it refers to.

mod credential_sources;
mod file_permissions;
mod hub_keys;
mod relay_keys;
mod windows_files;

use crate::support::Finished;

const CONFIG: i32 = 78;

/// Expects a profile error that contains `says` and shows no key.
#[track_caller]
pub fn refused(done: &Finished, says: &str) {
    assert_eq!(done.status.code(), Some(CONFIG), "{}", done.stderr);
    assert!(done.stderr.contains(says), "{says} is not in: {}", done.stderr);
    assert!(!done.stderr.contains("aHVudGVyMg"), "{}", done.stderr);
}
