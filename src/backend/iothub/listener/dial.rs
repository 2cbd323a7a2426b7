//! Dials the hub over either transport.

use hyper::HeaderMap;
use hyper::header::{HeaderValue, SEC_WEBSOCKET_PROTOCOL};
use tokio::io::{AsyncRead, AsyncWrite};

use super::hub_listener::Device;
use super::over_websocket::OverWebSocket;
use crate::backend::iothub::error::Error as HubError;
use crate::backend::iothub::phase::HUB;
use crate::backend::iothub::proto::{WEBSOCKET_PATH, WEBSOCKET_SUBPROTOCOL};
use crate::backend::settings::Transport;
use crate::error::Result;
use crate::net::{Endpoint, Network, Upgrade, WssUrl};
use crate::time::phase::Phases;

/// A connection to the hub that carries MQTT.
pub(super) type MqttIo = Box<dyn ByteStream>;

pub(super) trait ByteStream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> ByteStream for T {}

/// Dials the hub.
///
/// Cancel-safe: dropping the future drops the connection.
///
/// # Errors
/// Returns an error with the phase that failed.
pub(super) async fn dial(device: &Device, network: &Network) -> Result<MqttIo> {
    let network = match device.credential.certificate() {
        Some(certificate) => network.with_certificate(certificate),
        None => network.clone(),
    };
    let https = device.https();
    let mut phases = Phases::default();
    match device.settings.transport {
        Transport::Mqtt => {
            let endpoint = Endpoint::new(https.host, device.settings.mqtt_port);
            Ok(Box::new(network.connect(&endpoint, &mut phases).await?))
        }
        Transport::WebSocket => {
            let url = WssUrl { endpoint: https, path: WEBSOCKET_PATH.into() };
            let subprotocol = (SEC_WEBSOCKET_PROTOCOL, HeaderValue::from_static(WEBSOCKET_SUBPROTOCOL));
            let headers = HeaderMap::from_iter([subprotocol]);
            let asked = Upgrade { phase: HUB, headers, limit: Upgrade::LIMIT };
            let opened = network.open(&url, &asked, &mut phases).await?;
            let websocket = opened.map_err(|refusal| HubError::WebSocket(refusal.into()))?;
            Ok(Box::new(OverWebSocket::new(websocket)))
        }
    }
}
