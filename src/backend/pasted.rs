//! A pasted connection string.

use crate::secret::Secret;

/// A connection string for a profile, and its properties.
#[derive(Clone, Debug)]
pub(crate) struct Pasted {
    /// The connection string without the text around it.
    pub connection_string: Secret,
    /// The service, as `HOST` or `HOST:PORT`.
    pub service: String,
    /// The policy of its key, if it names one.
    pub policy: Option<String>,
    /// Why another credential would be better.
    pub warning: Option<String>,
}
