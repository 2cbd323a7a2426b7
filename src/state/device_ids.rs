//! The ids of a hub's devices as last seen: ssh lower-cases names, and ids are case-sensitive.

use std::path::Path;

use sha2::{Digest, Sha256};

use super::directory;
use crate::platform::private_file::Unwritable;
use crate::text::percent::encode;

/// Profiles of different files may have the same name.
fn file(profiles: &Path, profile: &str) -> String {
    let path = std::path::absolute(profiles).unwrap_or_else(|_| profiles.to_owned());
    let hash = Sha256::digest(path.as_os_str().as_encoded_bytes());
    format!("devices-{}-{}", encode(profile), data_encoding::HEXLOWER.encode(&hash[..8]))
}

/// The ids that the hub of `profile` in the file `profiles` had when it was last asked; none if it never was.
pub fn known(profiles: &Path, profile: &str) -> Vec<String> {
    let text = directory::read(&file(profiles, profile)).unwrap_or_default();
    text.lines().map(str::to_owned).collect()
}

/// Keeps ids for [`known`].
///
/// # Errors
/// When there is no place to write to.
pub fn keep<'a>(
    profiles: &Path,
    profile: &str,
    ids: impl Iterator<Item = &'a str>,
) -> Result<(), Unwritable> {
    // An id holds no line feed: the hub's names are checked when they are read.
    let lines: String = ids.flat_map(|id| [id, "\n"]).collect();
    directory::write(&file(profiles, profile), &lines)
}
