//! Who may use the REST API: tokens that a policy's key has signed.

use super::hub::Hub;
use super::policies::Permission;
use crate::backend::iothub::proto::{Code, HubFailure, SasToken};
use crate::time::clock;

/// The scope of a token's resource.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Scope {
    /// `{id}` or `{id}/modules/{id}` after `{hub}/devices/`; `None` for the whole hub.
    pub(super) devices: Option<String>,
}

impl Hub {
    /// Checks an `Authorization` header for a policy that allows one of `permissions`. A device's token names no
    /// policy, and is refused, as the service does \[I].
    ///
    /// # Errors
    /// The answer that tells the client why it may not.
    pub(super) fn authorize(
        &self,
        header: Option<&[u8]>,
        permissions: &[Permission],
    ) -> Result<(), HubFailure> {
        let denied = |code: Code, message: &str| HubFailure {
            status: 401,
            code: Some(code),
            message: Some(message.to_owned()),
            ..HubFailure::default()
        };
        let unauthorized = |message: &str| denied(Code::UNAUTHORIZED_ACCESS, message);
        let text = header.and_then(|header| std::str::from_utf8(header).ok());
        let text = text.ok_or_else(|| unauthorized("Unauthorized: there is no Authorization header"))?;
        let token =
            SasToken::parse(text).map_err(|problem| unauthorized(&format!("Unauthorized: {problem}")))?;
        let key = token
            .policy()
            .and_then(|policy| self.registry.policy_key(policy, permissions))
            .ok_or_else(|| unauthorized("Unauthorized: the token names no policy that allows this"))?;
        if !token.is_signed_by(key) {
            return Err(unauthorized("Unauthorized: the signature does not match"));
        }
        // A policy's token for `{hub}/devices/{id}` is accepted, and is not limited to that device [I].
        self.scope(&token.uri()).ok_or_else(|| unauthorized("Unauthorized: the token is for another hub"))?;
        if token.expiry() <= clock::unix_seconds(self.faults.clock.now()) {
            // Which of the two codes an expired token gets is not known; this one was seen with expired links [~].
            return Err(denied(Code::UNAUTHORIZED, "Unauthorized: the token has expired"));
        }
        Ok(())
    }

    /// The scope of a decoded `sr=`; `None` for another hub.
    pub(super) fn scope(&self, uri: &str) -> Option<Scope> {
        let (host, path) = uri.split_once('/').map_or((uri, None), |(host, path)| (host, Some(path)));
        self.address.matches(host).then(|| Scope {
            devices: path.and_then(|path| path.strip_prefix("devices/")).map(str::to_owned),
        })
    }
}
