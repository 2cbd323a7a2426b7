//! How a device or module proves who it is.

use crate::emulator::client_certificate::Thumbprint;
use crate::secret::Secret;

/// What an identity is registered with, under the registry's own names for it [D].
#[derive(Clone, Debug)]
pub(super) enum Authentication {
    /// Tokens that this key signs.
    SharedKey(Secret),
    /// The certificate with this thumbprint; its issuer does not matter.
    SelfSigned(Thumbprint),
    /// Any certificate of a known authority. The emulator knows none, so nobody logs in.
    CertificateAuthority,
}
