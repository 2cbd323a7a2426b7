//! Shared access keys.

use crate::error::Result;
use crate::secret::Secret;

/// A new shared access key: 32 random bytes, as the services make them \[D].
///
/// # Errors
/// The system has no randomness.
pub(super) fn new_key() -> Result<Secret> {
    let mut key = zeroize::Zeroizing::new([0; 32]);
    getrandom::fill(&mut key[..]).map_err(anyhow::Error::new)?;
    Ok(Secret::new(data_encoding::BASE64.encode(&key[..])))
}
