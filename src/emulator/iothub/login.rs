//! The login of a device: its MQTT CONNECT.

use super::authentication::Authentication;
use super::hub::Hub;
use super::policies::Permission;
use crate::backend::iothub::proto::{Identity, SasToken, UnixSeconds};
use crate::emulator::client_certificate::ClientCertificate;
use crate::emulator::mqtt::{Connect, Refusal};
use crate::secret::Secret;
use crate::time::clock;

/// A device that has proved who it is.
#[derive(Debug)]
pub(super) struct Login {
    pub(super) identity: Identity,
    /// When its token expires and the hub ends its hub connection \[D]; a certificate has no such time.
    pub(super) expiry: Option<UnixSeconds>,
    /// The hub as the device names it.
    pub(super) hub: String,
}

impl Hub {
    /// Checks an MQTT CONNECT.
    ///
    /// # Errors
    /// Why the device may not log in.
    pub(super) fn check_login(&self, connect: &Connect<'_>) -> Result<Login, Refusal> {
        let Connect { client_id, user_name, password, peer } = *connect;
        let certificate = peer.certificate.as_ref().map(ClientCertificate::thumbprint);
        let identity = parse_client_id(client_id).ok_or(Refusal::ClientId)?;
        let (hub, named) = user_name.and_then(parse_username).ok_or(Refusal::Malformed)?;
        if named != client_id {
            return Err(Refusal::NotAuthorized("the user name names another client"));
        }
        if !self.address.matches(hub) {
            return Err(Refusal::NotAuthorized("the user name is for another hub"));
        }
        let registration =
            self.registry.get(&identity).ok_or(Refusal::NotAuthorized("it is not registered"))?;
        let expiry = match &registration.authentication {
            Authentication::SelfSigned(known) if certificate == Some(*known) => None,
            Authentication::SelfSigned(_) => {
                return Err(Refusal::NotAuthorized(
                    "it has not shown the certificate that it is registered with",
                ));
            }
            Authentication::CertificateAuthority => {
                return Err(Refusal::NotAuthorized(
                    "the emulator knows no certificate authority for devices",
                ));
            }
            Authentication::SharedKeys { primary, secondary } => {
                Some(self.check_token(&identity, [primary, secondary], password)?)
            }
        };
        if !registration.enabled {
            return Err(Refusal::NotAuthorized("it is disabled"));
        }
        Ok(Login { identity, expiry, hub: hub.to_owned() })
    }

    /// Checks the token of an identity with the keys `own`. Returns its expiry.
    fn check_token(
        &self,
        identity: &Identity,
        own: [&Secret; 2],
        password: Option<&[u8]>,
    ) -> Result<UnixSeconds, Refusal> {
        let password = password.ok_or(Refusal::NotAuthorized("there is no password"))?;
        let token = std::str::from_utf8(password).ok().and_then(|text| SasToken::parse(text).ok());
        let token = token.ok_or(Refusal::Malformed)?;
        let is_signed = match token.policy() {
            None => own.iter().any(|key| token.is_signed_by(key)),
            Some(policy) => token.is_signed_by(
                self.registry
                    .policy_key(policy, &[Permission::DeviceConnect])
                    .ok_or(Refusal::NotAuthorized("its policy does not allow a login"))?,
            ),
        };
        if !is_signed {
            return Err(Refusal::NotAuthorized("the signature does not match"));
        }
        let name = identity.module().map_or_else(
            || identity.device().to_owned(),
            |module| format!("{}/modules/{module}", identity.device()),
        );
        // Some clients encode an id before they encode the whole, others do not: one layer of encoding may be left [S].
        let uri = token.uri();
        let twice = percent_encoding::percent_decode_str(&uri).decode_utf8_lossy().into_owned();
        let covers = [uri, twice].iter().filter_map(|uri| self.scope(uri)).any(|scope| match scope.devices {
            Some(devices) => devices == name,
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
}

/// `{device}` or `{device}/{module}` \[S].
fn parse_client_id(text: &str) -> Option<Identity> {
    match text.split_once('/') {
        None => Identity::new(text, None).ok(),
        Some((device, module)) => Identity::new(device, Some(module)).ok(),
    }
}

/// `{hub}/{clientId}/?api-version=…` \[S] into hub and client id; older clients leave out the `?` \[~].
fn parse_username(text: &str) -> Option<(&str, &str)> {
    let (hub, rest) = text.split_once('/')?;
    let (client_id, query) = rest.rsplit_once('/')?;
    let query = query.strip_prefix('?').unwrap_or(query);
    (query.starts_with("api-version=")).then_some((hub, client_id))
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
