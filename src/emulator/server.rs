//! The two ports: TLS, and on one of them HTTP/1.1 with what it can be upgraded to.

use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::header::{
    AUTHORIZATION, DATE, HOST, HeaderValue, RETRY_AFTER, SEC_WEBSOCKET_PROTOCOL, SEC_WEBSOCKET_VERSION,
};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::upgrade::{OnUpgrade, Upgraded};
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use crate::backend::iothub::proto::WEBSOCKET_PATH;
use crate::time::clock;

use super::client_certificate::Thumbprint;
use super::faults::{GatewayFault, HubFault};
use super::gateway::{Rest, STALL};
use super::rest::Answer;
use super::sessions::NotJoined;
use super::{Hub, gateway, linger, mqtt, websocket};

/// TLS, and each request's head, are to be done in this time.
const HANDSHAKE: Duration = Duration::from_secs(30);
/// Connections on each port at a time.
const MAX_CONNECTIONS: usize = 2048;
/// How long a port rests when no connection can be accepted, as when files run out.
const REST: Duration = Duration::from_millis(100);
/// How often sessions are looked through for those nobody joined.
const SWEEP: Duration = Duration::from_secs(1);
/// What `hub=garbage` answers.
const GARBAGE: &[u8] = b"\x15\x03\x03\x00\x02\x02\x46 no HTTP here\r\n\r\n";

/// What becomes of a connection after its upgrade. It runs in the connection's own task.
type Afterwards = Pin<Box<dyn Future<Output = ()> + Send>>;

/// Serves both ports for ever; dropping the future ends every connection.
pub(super) async fn run(https: &TcpListener, mqtts: &TcpListener, acceptor: &TlsAcceptor, hub: &Arc<Hub>) {
    let sweep = async {
        loop {
            sleep(SWEEP).await;
            hub.sessions.expire();
        }
    };
    tokio::join!(
        accept(https, acceptor, hub, http),
        accept(mqtts, acceptor, hub, |io, hub| {
            let certificate = Thumbprint::of_peer(io.get_ref().1);
            mqtt::serve(io, hub, None, certificate)
        }),
        sweep,
    );
}

async fn accept<F>(
    listener: &TcpListener,
    acceptor: &TlsAcceptor,
    hub: &Arc<Hub>,
    serve: impl Fn(TlsStream<TcpStream>, Arc<Hub>) -> F + Clone + Send + 'static,
) where
    F: Future<Output = ()> + Send,
{
    let room = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    let mut connections = JoinSet::new();
    loop {
        // The semaphore is never closed.
        let Ok(place) = Arc::clone(&room).acquire_owned().await else { return };
        let tcp = tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((tcp, _)) => tcp,
                Err(error) => {
                    log::warn!("no connection can be accepted: {error}");
                    sleep(REST).await;
                    continue;
                }
            },
            Some(_) = connections.join_next() => continue,
        };
        let _ = tcp.set_nodelay(true);
        let (acceptor, hub, serve) = (acceptor.clone(), Arc::clone(hub), serve.clone());
        connections.spawn(async move {
            let _place = place;
            match timeout(HANDSHAKE, acceptor.accept(tcp)).await {
                Ok(Ok(tls)) => serve(tls, hub).await,
                Ok(Err(error)) => log::info!("tls: {error}"),
                Err(_) => log::info!("tls: no handshake in time"),
            }
        });
    }
}

/// Serves HTTP on one connection, and then what it was upgraded to.
async fn http(io: TlsStream<TcpStream>, hub: Arc<Hub>) {
    let certificate = Thumbprint::of_peer(io.get_ref().1);
    let spoilt = Arc::new(AtomicBool::new(false));
    let afterwards: Arc<Mutex<Option<Afterwards>>> = Arc::default();
    let service = service_fn(|request| {
        let (hub, spoilt, afterwards) = (Arc::clone(&hub), Arc::clone(&spoilt), Arc::clone(&afterwards));
        async move {
            let latency = hub.faults.latency;
            let clock = hub.faults.clock;
            let mut answer = answer(hub, request, certificate, &spoilt, &afterwards).await?;
            sleep(latency).await;
            if let Ok(date) = HeaderValue::from_str(&clock::http_date(clock.now())) {
                answer.headers_mut().insert(DATE, date);
            }
            Ok::<_, Dropped>(answer)
        }
    });
    let io = Spoilable { io, spoilt: Arc::clone(&spoilt) };
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HANDSHAKE)
        // The hub's clock is its own.
        .auto_date_header(false)
        .serve_connection(TokioIo::new(io), service)
        .with_upgrades();
    if let Err(error) = connection.await {
        log::info!("http: {error}");
    }
    let next = afterwards.lock().unwrap_or_else(PoisonError::into_inner).take();
    if let Some(next) = next {
        next.await;
    }
}

/// The connection ends without an answer.
#[derive(Debug)]
struct Dropped;

impl std::fmt::Display for Dropped {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("dropped on request")
    }
}

impl std::error::Error for Dropped {}

/// Why a connection does not change its protocol.
struct Refused {
    status: StatusCode,
    why: &'static str,
}

async fn answer(
    hub: Arc<Hub>,
    mut request: Request<Incoming>,
    certificate: Option<Thumbprint>,
    spoilt: &AtomicBool,
    afterwards: &Mutex<Option<Afterwards>>,
) -> Result<Answer, Dropped> {
    let authority =
        request.headers().get(HOST).and_then(|host| host.to_str().ok()).filter(|host| is_authority(host));
    let authority = authority.map_or_else(|| hub.address.to_string(), str::to_owned);
    let path = request.uri().path().to_owned();
    let upgraded = if path == WEBSOCKET_PATH {
        if let Some(status) = hub.faults.mqtt.take() {
            let mut answer = empty(status);
            if let Some(seconds) = hub.faults.retry_after {
                answer.headers_mut().insert(RETRY_AFTER, seconds.into());
            }
            return Ok(answer);
        }
        let upgrade = hyper::upgrade::on(&mut request);
        mqtt_upgrade(&hub, &request, upgrade, authority, certificate)
    } else if path.starts_with("/bridges/") {
        let upgrade = hyper::upgrade::on(&mut request);
        match hub.faults.gateway.take() {
            None => gateway_upgrade(&hub, &request, upgrade),
            Some(GatewayFault::Status(status)) => return Ok(empty(status)),
            Some(GatewayFault::NoUpgrade) => return Ok(empty(StatusCode::OK)),
            Some(GatewayFault::Silent) => std::future::pending().await,
        }
    } else {
        match hub.faults.hub.take() {
            None => {}
            Some(HubFault::Silent) => std::future::pending().await,
            Some(HubFault::Drop) => return Err(Dropped),
            Some(HubFault::Garbage) => {
                spoilt.store(true, Relaxed);
                return Ok(empty(StatusCode::OK));
            }
        }
        return Ok(hub.rest(request, authority).await);
    };
    Ok(match upgraded {
        Ok((answer, next)) => {
            *afterwards.lock().unwrap_or_else(PoisonError::into_inner) = Some(next);
            answer
        }
        Err(Refused { status, why }) => {
            log::info!("the upgrade of {path} is refused with {status}: {why}");
            let mut answer = Response::new(Full::from(why));
            *answer.status_mut() = status;
            if status == StatusCode::UPGRADE_REQUIRED {
                answer.headers_mut().insert(SEC_WEBSOCKET_VERSION, HeaderValue::from_static("13"));
            }
            answer
        }
    })
}

fn mqtt_upgrade(
    hub: &Arc<Hub>,
    request: &Request<Incoming>,
    upgrade: OnUpgrade,
    authority: String,
    certificate: Option<Thumbprint>,
) -> Result<(Answer, Afterwards), Refused> {
    let mut answer = switching(request)?;
    let subprotocol = websocket::mqtt_subprotocol(request.headers());
    let subprotocol = subprotocol.map_err(|why| Refused { status: StatusCode::BAD_REQUEST, why })?;
    if let Some(subprotocol) = subprotocol {
        answer.headers_mut().insert(SEC_WEBSOCKET_PROTOCOL, subprotocol);
    }
    let hub = Arc::clone(hub);
    Ok((
        answer,
        Box::pin(async move {
            if let Some(io) = upgraded(upgrade).await {
                websocket::as_byte_stream(io, |bytes| mqtt::serve(bytes, hub, Some(authority), certificate))
                    .await;
            }
        }),
    ))
}

fn gateway_upgrade(
    hub: &Arc<Hub>,
    request: &Request<Incoming>,
    upgrade: OnUpgrade,
) -> Result<(Answer, Afterwards), Refused> {
    // No subprotocol is answered, whatever was offered: all known clients accept that [S][M].
    let answer = switching(request)?;
    let authorization = request.headers().get(AUTHORIZATION).and_then(|value| value.to_str().ok());
    let token = authorization.and_then(|value| {
        let (scheme, token) = value.split_once(' ')?;
        scheme.eq_ignore_ascii_case("bearer").then_some(token.trim())
    });
    let joined = hub.sessions.join(request.uri().path(), token, hub.faults.clock.now());
    let (ends, place) = joined.map_err(|problem| {
        let (status, why) = match problem {
            NotJoined::NotFound => (StatusCode::NOT_FOUND, "The token is for no such path."),
            NotJoined::Unauthorized => {
                (StatusCode::UNAUTHORIZED, "The token is missing, invalid, expired or used up.")
            }
            NotJoined::WrongRole => (StatusCode::FORBIDDEN, "The token is for the other side."),
            NotJoined::Taken => (StatusCode::CONFLICT, "This side of the stream is connected already."),
        };
        Refused { status, why }
    })?;
    let max_frame = hub.max_frame();
    Ok((
        answer,
        Box::pin(async move {
            if let Some(io) = upgraded(upgrade).await {
                let left = gateway::relay(io, ends, max_frame).await;
                drop(place);
                if let Some((io, rest)) = left {
                    end(io, rest).await;
                }
            }
        }),
    ))
}

fn switching(request: &Request<Incoming>) -> Result<Answer, Refused> {
    let accept = websocket::accept_key(request)
        .map_err(|status| Refused { status, why: "The request is no WebSocket's opening handshake." })?;
    let mut answer = empty(StatusCode::SWITCHING_PROTOCOLS);
    websocket::switching(accept, answer.headers_mut());
    Ok(answer)
}

async fn upgraded(upgrade: OnUpgrade) -> Option<TokioIo<Upgraded>> {
    match upgrade.await {
        Ok(upgraded) => Some(TokioIo::new(upgraded)),
        Err(error) => {
            log::info!("http: {error}");
            None
        }
    }
}

/// Ends a side's connection in a way that its client notices, even if it does not read.
async fn end(io: TokioIo<Upgraded>, rest: Rest) {
    let Ok(parts) = io.into_inner().downcast::<TokioIo<Spoilable>>() else { return };
    let spoilable = parts.io.into_inner();
    let tcp = spoilable.io.get_ref().0;
    match rest {
        Rest::Waits => linger::wait(tcp).await,
        Rest::Abandoned => linger::wait_or_reset(tcp, STALL).await,
        Rest::Stalled => linger::reset(tcp),
    }
}

fn empty(status: StatusCode) -> Answer {
    let mut answer = Response::new(Full::<Bytes>::default());
    *answer.status_mut() = status;
    answer
}

/// Whether a Host header can stand in a URL.
fn is_authority(host: &str) -> bool {
    !host.is_empty() && host.bytes().all(|b| b.is_ascii_alphanumeric() || b"-._:[]".contains(&b))
}

/// A connection whose next answer can be made something that is no HTTP.
struct Spoilable {
    io: TlsStream<TcpStream>,
    spoilt: Arc<AtomicBool>,
}

impl AsyncRead for Spoilable {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.io).poll_read(cx, buf)
    }
}

impl AsyncWrite for Spoilable {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<std::io::Result<usize>> {
        if !self.spoilt.load(Relaxed) {
            return Pin::new(&mut self.io).poll_write(cx, buf);
        }
        match Pin::new(&mut self.io).poll_write(cx, GARBAGE) {
            Poll::Ready(Ok(_)) => {
                self.spoilt.store(false, Relaxed);
                Poll::Ready(Err(std::io::ErrorKind::ConnectionAborted.into()))
            }
            other => other,
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}
