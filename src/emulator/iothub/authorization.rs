//! Who may do what: tokens of policies for the service's side, and of devices for MQTT.

use crate::backend::iothub::proto::{Code, HubFailure, Identity, SasToken, UnixSeconds};
use crate::secret::Secret;
use crate::time::clock;

use super::authentication::Authentication;
use super::hub::Hub;
use super::policies::Permission;
use crate::emulator::client_certificate::Thumbprint;

/// A device that has proved who it is.
#[derive(Debug)]
pub(super) struct Admission {
    pub(super) identity: Identity,
    /// When its token expires and the hub drops the connection [D]; a certificate has no such time.
    pub(super) expiry: Option<UnixSeconds>,
    /// The hub as the device names it.
    pub(super) hub: String,
}

/// Why a device is not let in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Refusal {
    /// The client id names no identity.
    ClientId,
    /// User name and password are not of their form.
    Malformed,
    NotAuthorized(&'static str),
}

/// What a token's resource covers.
#[derive(Debug, PartialEq, Eq)]
struct Scope {
    /// `{id}` or `{id}/modules/{id}` after `{hub}/devices/`; the whole hub has none.
    devices: Option<String>,
}

impl Hub {
    /// Checks an `Authorization` header for a policy that allows one of `permissions`.
    ///
    /// A device's token names no policy, and is refused here as the service does [I].
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
        // Tokens of a policy for `{hub}/devices/{id}` are accepted and not confined [I].
        self.scope(&token.uri()).ok_or_else(|| unauthorized("Unauthorized: the token is for another hub"))?;
        if token.expiry() <= clock::unix_seconds(self.faults.clock.now()) {
            // Which of the two codes an expired token gets is not known; this one is seen with expired links [~].
            return Err(denied(Code::UNAUTHORIZED, "Unauthorized: the token has expired"));
        }
        Ok(())
    }

    /// Checks an MQTT CONNECT over a connection on which the client has shown `certificate`, if any.
    pub(super) fn admit(
        &self,
        client_id: &str,
        username: Option<&str>,
        password: Option<&[u8]>,
        certificate: Option<Thumbprint>,
    ) -> Result<Admission, Refusal> {
        let identity = parse_client_id(client_id).ok_or(Refusal::ClientId)?;
        let (hub, named) = username.and_then(parse_username).ok_or(Refusal::Malformed)?;
        if named != client_id {
            return Err(Refusal::NotAuthorized("the user name is another client's"));
        }
        if !self.address.matches(hub) {
            return Err(Refusal::NotAuthorized("the user name is for another hub"));
        }
        let registration =
            self.registry.get(&identity).ok_or(Refusal::NotAuthorized("it is not registered"))?;
        let expiry = match &registration.authentication {
            Authentication::SelfSigned(known) if certificate == Some(*known) => None,
            Authentication::SelfSigned(_) => {
                return Err(Refusal::NotAuthorized("it has not shown the certificate it is known by"));
            }
            Authentication::CertificateAuthority => {
                return Err(Refusal::NotAuthorized(
                    "the emulator knows no authority of devices' certificates",
                ));
            }
            Authentication::SharedKey(key) => Some(self.check_token(&identity, key, password)?),
        };
        if !registration.enabled {
            return Err(Refusal::NotAuthorized("it is disabled"));
        }
        Ok(Admission { identity, expiry, hub: hub.to_owned() })
    }

    /// Checks the token of an identity whose key is `own_key`, and tells when it expires.
    fn check_token(
        &self,
        identity: &Identity,
        own_key: &Secret,
        password: Option<&[u8]>,
    ) -> Result<UnixSeconds, Refusal> {
        let password = password.ok_or(Refusal::NotAuthorized("there is no password"))?;
        let token = std::str::from_utf8(password).ok().and_then(|text| SasToken::parse(text).ok());
        let token = token.ok_or(Refusal::Malformed)?;
        let key: &Secret = match token.policy() {
            None => own_key,
            Some(policy) => self
                .registry
                .policy_key(policy, &[Permission::DeviceConnect])
                .ok_or(Refusal::NotAuthorized("its policy does not allow it"))?,
        };
        if !token.is_signed_by(key) {
            return Err(Refusal::NotAuthorized("the signature does not match"));
        }
        let own = identity.module().map_or_else(
            || identity.device().to_owned(),
            |module| format!("{}/modules/{module}", identity.device()),
        );
        // Some clients encode an id before they encode the whole, others do not: one layer may be left [S].
        let uri = token.uri();
        let twice = percent_encoding::percent_decode_str(&uri).decode_utf8_lossy().into_owned();
        let covers = [uri, twice].iter().filter_map(|uri| self.scope(uri)).any(|scope| match scope.devices {
            Some(devices) => devices == own,
            None => token.policy().is_some(),
        });
        if !covers {
            return Err(Refusal::NotAuthorized("the token is for something else"));
        }
        if token.expiry() <= clock::unix_seconds(self.faults.clock.now()) {
            return Err(Refusal::NotAuthorized("the token has expired"));
        }
        Ok(token.expiry())
    }

    /// What of this hub a decoded `sr=` covers; `None` when it is for another.
    fn scope(&self, uri: &str) -> Option<Scope> {
        let (host, path) = uri.split_once('/').map_or((uri, None), |(host, path)| (host, Some(path)));
        self.address.matches(host).then(|| Scope {
            devices: path.and_then(|path| path.strip_prefix("devices/")).map(str::to_owned),
        })
    }
}

/// `{device}` or `{device}/{module}` [S].
fn parse_client_id(text: &str) -> Option<Identity> {
    match text.split_once('/') {
        None => Identity::new(text, None).ok(),
        Some((device, module)) => Identity::new(device, Some(module)).ok(),
    }
}

/// `{hub}/{clientId}/?api-version=…` [S] into hub and client id; older clients leave out the `?` [~].
fn parse_username(text: &str) -> Option<(&str, &str)> {
    let (hub, rest) = text.split_once('/')?;
    let (client_id, query) = rest.rsplit_once('/')?;
    let query = query.strip_prefix('?').unwrap_or(query);
    (query.starts_with("api-version=")).then_some((hub, client_id))
}

/// Which CONNACK a client gets: 2 identifier, 4 form, 5 all else.
impl Refusal {
    pub(super) fn reason(self) -> &'static str {
        match self {
            Refusal::ClientId => "the client id names no device",
            Refusal::Malformed => "the user name or the password is not of its form",
            Refusal::NotAuthorized(reason) => reason,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn user_names() {
        assert_eq!(
            parse_username("127.0.0.1/dev-1/?api-version=2020-09-30&DeviceClientType=x%2f1"),
            Some(("127.0.0.1", "dev-1"))
        );
        assert_eq!(parse_username("h/d/m/?api-version=1"), Some(("h", "d/m")));
        assert_eq!(parse_username("h/d/api-version=1"), Some(("h", "d")));
        for text in ["", "h", "h/d", "h/?api-version=1", "h/d/?x=1"] {
            assert_eq!(parse_username(text), None, "{text}");
        }
    }

    #[test]
    fn client_ids() {
        assert_eq!(parse_client_id("d/m"), Identity::new("d", Some("m")).ok());
        for text in ["", "/", "d/", "/m", "a/b/c", "a b"] {
            assert_eq!(parse_client_id(text), None, "{text}");
        }
    }
}
