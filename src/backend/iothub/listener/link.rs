//! The way to the hub: dialling, logging in, and what its failures mean.

use std::future::pending;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use http_body_util::Full;
use hyper::header::HOST;
use tokio::io::{AsyncRead, AsyncWrite, DuplexStream, ReadBuf};
use tokio::sync::oneshot;
use tokio::time::timeout;

use super::hub_connection::{ConnectionError, HubConnection};
use crate::agent::config::Config;
use crate::agent::schema::Transport;
use crate::backend::iothub::proto::{Login, Refusal, WEBSOCKET_PATH, WEBSOCKET_SUBPROTOCOL};
use crate::error::{Error, Result, Skew};
use crate::net::{Endpoint, Network, Upgrade, WssUrl, exchange};
use crate::secret::Secret;
use crate::time::phase::{Phase, Phases};
use crate::tunnel::{self, Close, Controls, End, Meter, Settings};

const PRODUCT: &str = concat!("iotstream/", env!("CARGO_PKG_VERSION"));

/// The WebSocket that carries MQTT has MQTT's own keepalive.
const MQTT_BRIDGE: Settings = Settings {
    keepalive: None,
    linger: Some(Duration::from_secs(1)),
    drain: Some(Duration::ZERO),
    rest: Some(Duration::from_secs(1)),
    half_close: true,
    failed: |_| Close::new(Close::GOING_AWAY, ""),
    // What was published last is to arrive.
    reset: false,
};

/// How long the hub may take to tell the time, and how much it may say.
const TIME_LIMIT: Duration = Duration::from_secs(10);
const TIME_LENGTH: usize = 64 * 1024;

/// A connection that carries MQTT, over either transport.
pub(crate) type Link = Box<dyn ByteStream>;

pub(crate) trait ByteStream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> ByteStream for T {}

/// Where HTTPS of the hub, or of the gateway before it, is.
pub(crate) fn https(config: &Config) -> Endpoint {
    let address = config.credential.gateway.as_ref().unwrap_or(config.hub());
    Endpoint::new(&*address.name, address.port.unwrap_or(443))
}

/// Dials the hub.
///
/// # Errors
/// Which phase failed.
pub(crate) async fn dial(config: Arc<Config>, network: Network) -> Result<Link> {
    let network = match config.credential.certificate() {
        Some(certificate) => network.with_certificate(certificate),
        None => network,
    };
    let https = https(&config);
    let mut phases = Phases::default();
    if config.transport == Transport::Mqtt {
        let endpoint = Endpoint::new(https.host, config.mqtt_port);
        return Ok(Box::new(network.connect(&endpoint, &mut phases).await?));
    }
    let url = WssUrl { endpoint: https, path: WEBSOCKET_PATH.into() };
    let asked = Upgrade { phase: Phase::Hub, bearer: None, subprotocol: Some(WEBSOCKET_SUBPROTOCOL) };
    let websocket = network.open(&url, asked, &mut phases).await?;
    // Frames carry MQTT as a byte stream [S]: the same bridge serves, with a pipe for its local side.
    let (io, theirs) = tokio::io::duplex(16 * 1024);
    let (tell, end) = oneshot::channel();
    tokio::spawn(async move {
        let local = tokio::io::split(theirs);
        let controls = Controls { hangup: pending(), gone: pending() };
        let meter = Meter::default();
        let bridge = tunnel::bridge(local, websocket.io, &websocket.early, &MQTT_BRIDGE, &meter, controls);
        // MQTT's side may be gone by then.
        let _ = tell.send(bridge.await);
    });
    Ok(Box::new(OverWebSocket { io, end: Some(end) }))
}

/// MQTT's side of the bridge, which tells why the WebSocket ended.
struct OverWebSocket {
    io: DuplexStream,
    end: Option<oneshot::Receiver<End>>,
}

impl AsyncRead for OverWebSocket {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        ready!(Pin::new(&mut self.io).poll_read(cx, buf))?;
        if buf.filled().len() > before {
            return Poll::Ready(Ok(()));
        }
        let Some(end) = &mut self.end else { return Poll::Ready(Ok(())) };
        let ended = ready!(Pin::new(end).poll(cx));
        self.end = None;
        Poll::Ready(match ended {
            Ok(End::Violation(what)) => {
                Err(io::Error::other(format!("it broke the WebSocket protocol: {what}")))
            }
            Ok(End::Peer(Close { code: Some(code), reason })) => {
                let reason = if reason.is_empty() { reason } else { format!(": {reason}") };
                Err(io::Error::other(format!("it closed its WebSocket with {code}{reason}")))
            }
            Ok(End::Peer(Close { code: None, .. })) => {
                Err(io::Error::other("it closed its WebSocket without a code"))
            }
            Ok(End::PeerEmptied) => Err(io::Error::other("it sends nothing but empty WebSocket messages")),
            Ok(End::Cut(error)) => Err(error),
            _ => Ok(()),
        })
    }
}

impl AsyncWrite for OverWebSocket {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}

/// Logs in and subscribes.
///
/// # Errors
/// Why the hub does not take the device; a clock that is wrong is named.
pub(crate) async fn log_in(
    link: Link,
    password: Option<&Secret>,
    config: &Config,
    network: &Network,
) -> Result<HubConnection<Link>> {
    let login = Login::new(config.hub(), config.identity(), PRODUCT);
    match HubConnection::begin(link, &login, password, config.keepalive).await {
        Ok(session) => Ok(session),
        Err(ConnectionError::Refused(refusal)) => Err(Error::MqttRefused {
            hub: config.hub().to_string(),
            identity: config.identity().clone(),
            refusal,
            skew: match refusal {
                Refusal::BadCredential | Refusal::NotAuthorized => {
                    clock(config, network).await.ok().and_then(|hub| Skew::between(SystemTime::now(), hub))
                }
                _ => None,
            },
        }),
        Err(error) => Err(session_error(config, error)),
    }
}

/// The hub's clock: any answer of its HTTPS port has it.
///
/// # Errors
/// When there is no answer, or no time in it.
pub(crate) async fn clock(config: &Config, network: &Network) -> Result<SystemTime> {
    let endpoint = https(config);
    let request = hyper::Request::get("/").header(HOST, endpoint.authority()).body(Full::<Bytes>::default());
    let request = request.map_err(|error| Error::Bug(format!("a request cannot be made: {error}")))?;
    let asking = async {
        let stream = network.connect(&endpoint, &mut Phases::default()).await?;
        exchange(stream, &endpoint, request, TIME_LENGTH).await
    };
    let timed_out = |_| Error::Timeout { phase: Phase::Hub, target: endpoint.to_string(), after: TIME_LIMIT };
    let reply = timeout(TIME_LIMIT, asking).await.map_err(timed_out)??;
    reply.date().ok_or_else(|| Error::Protocol {
        target: format!("the hub {endpoint}"),
        problem: "its answer does not say what time it is".into(),
    })
}

pub(crate) fn session_error(config: &Config, error: ConnectionError) -> Error {
    let hub = config.hub().to_string();
    let lost = |problem: String| Error::Network { phase: Phase::Hub, target: hub.clone(), problem };
    match error {
        ConnectionError::Refused(refusal) => {
            Error::MqttRefused { hub, identity: config.identity().clone(), refusal, skew: None }
        }
        ConnectionError::Protocol(problem) => Error::Protocol { target: format!("the hub {hub}"), problem },
        ConnectionError::Network(error)
            if error.kind() == io::ErrorKind::UnexpectedEof && error.get_ref().is_none() =>
        {
            lost("it ended the connection".into())
        }
        ConnectionError::Network(error) => lost(format!("the connection was cut: {error}")),
        ConnectionError::Silent(what) => lost(format!("no answer to {what}")),
    }
}
