//! The last listed device ids of a hub. They restore the case of names that ssh lower-cases.

use std::path::Path;

use sha2::{Digest, Sha256};

use super::directory;
use crate::platform::private_file::Unwritable;
use crate::text::percent::encode;

/// The name of the state file. It differs for profiles of the same name in different profile files.
fn file(profiles: &Path, profile: &str) -> String {
    let path = std::path::absolute(profiles).unwrap_or_else(|_| profiles.to_owned());
    let hash = Sha256::digest(path.as_os_str().as_encoded_bytes());
    format!("devices-{}-{}", encode(profile), data_encoding::HEXLOWER.encode(&hash[..8]))
}

/// The last listed device ids of `profile` in the file `profiles`; none if they were never listed.
pub(crate) fn known(profiles: &Path, profile: &str) -> Vec<String> {
    let text = directory::read(&file(profiles, profile)).unwrap_or_default();
    text.lines().map(str::to_owned).collect()
}

/// Stores ids for [`known`].
///
/// # Errors
/// Returns an error if the state directory cannot be written.
pub(crate) fn keep<'a>(
    profiles: &Path,
    profile: &str,
    ids: impl Iterator<Item = &'a str>,
) -> Result<(), Unwritable> {
    // Ids are checked when the list is read, and contain no line feed.
    let lines: String = ids.flat_map(|id| [id, "\n"]).collect();
    directory::write(&file(profiles, profile), &lines)
}
