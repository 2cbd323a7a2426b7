//! How a device or module proves who it is.

use crate::emulator::client_certificate::Thumbprint;
use crate::secret::Secret;

/// The authentication of an identity, under the registry's names \[D].
#[derive(Clone, Debug)]
pub(in crate::emulator) enum Authentication {
    /// Tokens that this key signs.
    SharedKey(Secret),
    /// The certificate with this thumbprint; its issuer does not matter.
    SelfSigned(Thumbprint),
    /// Any certificate of a known authority. The emulator knows none, so nobody logs in.
    CertificateAuthority,
}
