//! The name of this machine.

use crate::error::Problem;

/// The host name.
///
/// # Errors
/// Returns an error if it is not text.
pub(crate) fn host_name() -> Result<String, Problem> {
    gethostname::gethostname().into_string().map_err(|_| "the host name is not text".into())
}
