//! Random ids.

use data_encoding::HEXLOWER;

/// 32 hexadecimal digits, the form of the service's ids of streams and of tracking \[I].
///
/// # Errors
/// The system has no randomness.
pub(super) fn random_id() -> Result<String, getrandom::Error> {
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes)?;
    Ok(HEXLOWER.encode(&bytes))
}
