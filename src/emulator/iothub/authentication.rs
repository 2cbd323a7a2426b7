//! How a device or module proves who it is.

use crate::emulator::client_certificate::Thumbprint;
use crate::emulator::key::new_key;
use crate::error::Result;
use crate::secret::Secret;

/// The authentication of an identity, under the registry's names \[D].
#[derive(Clone, Debug)]
pub(in crate::emulator) enum Authentication {
    /// Tokens that one of two keys signs.
    SharedKeys { primary: Secret, secondary: Secret },
    /// The certificate with this thumbprint; its issuer does not matter.
    SelfSigned(Thumbprint),
    /// Any certificate of a known authority. The emulator knows none, so nobody logs in.
    CertificateAuthority,
}

impl Authentication {
    /// Tokens that new keys sign.
    ///
    /// # Errors
    /// The system has no randomness.
    pub(super) fn with_new_keys() -> Result<Self> {
        Self::with_key(new_key()?)
    }

    /// Tokens that `primary` signs, or a new secondary key.
    ///
    /// # Errors
    /// The system has no randomness.
    pub(in crate::emulator) fn with_key(primary: Secret) -> Result<Self> {
        Ok(Self::SharedKeys { primary, secondary: new_key()? })
    }
}
