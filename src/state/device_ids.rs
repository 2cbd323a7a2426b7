//! The ids of a hub's devices when they were last listed: ids are case-sensitive, and ssh lower-cases host names.

use std::path::Path;

use sha2::{Digest, Sha256};

use super::directory;
use crate::platform::private_file::Unwritable;
use crate::text::percent::encode;

/// The file's name tells profiles of the same name in different files apart.
fn file(profiles: &Path, profile: &str) -> String {
    let path = std::path::absolute(profiles).unwrap_or_else(|_| profiles.to_owned());
    let hash = Sha256::digest(path.as_os_str().as_encoded_bytes());
    format!("devices-{}-{}", encode(profile), data_encoding::HEXLOWER.encode(&hash[..8]))
}

/// The ids of the devices of `profile`, in the file `profiles`, when they were last listed; none if they never were.
pub fn known(profiles: &Path, profile: &str) -> Vec<String> {
    let text = directory::read(&file(profiles, profile)).unwrap_or_default();
    text.lines().map(str::to_owned).collect()
}

/// Keeps ids for [`known`].
///
/// # Errors
/// When the state directory cannot be written.
pub fn keep<'a>(
    profiles: &Path,
    profile: &str,
    ids: impl Iterator<Item = &'a str>,
) -> Result<(), Unwritable> {
    // An id holds no line feed: ids are checked when the list is read.
    let lines: String = ids.flat_map(|id| [id, "\n"]).collect();
    directory::write(&file(profiles, profile), &lines)
}
