//! A connection string that a user has pasted.

use crate::secret::Secret;

/// A connection string that a profile can keep, and what it is good for.
#[derive(Clone, Debug)]
pub struct Pasted {
    /// The connection string alone, without what stood around it.
    pub connection_string: Secret,
    /// The service that it gives access to.
    pub service: String,
    /// The policy that it has the key of, where it names one.
    pub policy: Option<String>,
    /// Why another credential would be better.
    pub warning: Option<String>,
}
