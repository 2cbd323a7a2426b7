//! A device's login over MQTT.

use std::fmt;

use super::{HubAddress, Identity, encode};

/// The path of MQTT over a WebSocket, on port 443 \[D].
pub(crate) const WEBSOCKET_PATH: &str = "/$iothub/websocket";
/// The subprotocol of MQTT over a WebSocket. Servers ignore its case \[S].
pub(crate) const WEBSOCKET_SUBPROTOCOL: &str = "mqtt";

/// The api-version of the last SDKs with device streams (C 1.9, C# 2020-10) \[S].
const API_VERSION: &str = "2020-09-30";

/// The client id and user name of an MQTT CONNECT. The password is a token, or absent with a certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Login {
    /// The client id.
    pub client_id: String,
    /// The user name.
    pub username: String,
}

impl Login {
    /// The user name is `{hub}/{clientId}/?api-version={V}&DeviceClientType={product}`, with the hub's name without port
    /// \[S]\[M].
    pub(crate) fn new(hub: &HubAddress, identity: &Identity, product: &str) -> Self {
        let client_id = identity.client_id();
        let username = format!(
            "{}/{client_id}/?api-version={API_VERSION}&DeviceClientType={}",
            hub.name,
            encode(product)
        );
        Self { client_id, username }
    }
}

/// Why a hub refuses a device: a return code of MQTT, or a refused subscription.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// CONNACK 1.
    NoMqtt311,
    /// CONNACK 2.
    UnknownId,
    /// CONNACK 3.
    Unavailable,
    /// CONNACK 4.
    BadCredential,
    /// CONNACK 5.
    NotAuthorized,
    /// SUBACK 0x80 for offers.
    NoStreams,
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Refusal::NoMqtt311 => "it does not speak MQTT 3.1.1",
            Refusal::UnknownId => "it does not accept the device id",
            Refusal::Unavailable => "it is unavailable",
            Refusal::BadCredential => "bad user name or password",
            Refusal::NotAuthorized => "not authorized",
            Refusal::NoStreams => "it does not let this device subscribe to device streams",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The C SDK's CONNECT was `dev-1` and `127.0.0.1/dev-1/?api-version=2020-09-30&DeviceClientType=…` \[M].
    #[test]
    fn sends_the_c_sdks_client_id_and_user_name() {
        let hub = HubAddress::parse("127.0.0.1:8443").unwrap();
        let login = |module| Login::new(&hub, &Identity::new("dev-1", module).unwrap(), "iotstream/1 (x)");
        assert_eq!(login(None).client_id, "dev-1");
        assert_eq!(
            login(None).username,
            "127.0.0.1/dev-1/?api-version=2020-09-30&DeviceClientType=iotstream%2F1%20%28x%29"
        );
        assert_eq!(login(Some("m")).client_id, "dev-1/m");
        assert!(login(Some("m")).username.starts_with("127.0.0.1/dev-1/m/?api-version="));
    }
}
