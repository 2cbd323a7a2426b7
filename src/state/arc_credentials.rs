//! The relay credentials of Arc machines, until they expire.

use sha2::{Digest, Sha256};

use super::directory;
use crate::secret::Secret;

/// The name of the state file. A machine's resource id is long.
fn file(server: &str, machine: &str) -> String {
    let hash = Sha256::digest(format!("{server}{machine}").to_ascii_lowercase());
    format!("arc-{}", data_encoding::HEXLOWER.encode(&hash[..8]))
}

/// The last credentials of `machine` that `server` has listed.
pub(crate) fn known(server: &str, machine: &str) -> Option<Secret> {
    directory::read(&file(server, machine)).map(Secret::new)
}

/// Stores credentials for [`known`], readable only by their owner.
pub(crate) fn keep(server: &str, machine: &str, credentials: &Secret) {
    // A failure only slows the next connection down.
    if let Err(error) = directory::write(&file(server, machine), credentials.expose()) {
        log::debug!("cannot store the machine's credentials: {error}");
    }
}
