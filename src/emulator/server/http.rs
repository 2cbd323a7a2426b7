//! HTTP/1.1 on one connection, and what it is upgraded to.

use std::fmt;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use hyper::body::Incoming;
use hyper::header::{DATE, HOST, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::TcpStream;
use tokio::time::sleep;

use super::connection::{Connection, Upgraded};
use super::head::{Head, Recording};
use super::service::{Answer, Client, Reply, Service, empty};
use crate::emulator::client_certificate::ClientCertificate;
use crate::emulator::clock::Clock;
use crate::net::{ServerStream, carrier};
use crate::time::clock;

/// Limit of a request's head.
const HEAD: Duration = Duration::from_secs(30);

/// What answers on the HTTPS port.
pub(in crate::emulator) struct Http {
    /// The first that serves a path answers the request.
    pub(in crate::emulator) services: Vec<Arc<dyn Service>>,
    /// Delay of every answer.
    pub(in crate::emulator) latency: Duration,
    /// The clock of the `Date` header.
    pub(in crate::emulator) clock: Clock,
}

impl Http {
    /// Serves HTTP on one connection, and then what it was upgraded to.
    pub(in crate::emulator) async fn serve(self: Arc<Self>, io: ServerStream<TcpStream>) {
        let certificate = ClientCertificate::of_peer(&io);
        let peer = carrier(&io).peer_addr().ok();
        let garbage = Arc::new(AtomicBool::new(false));
        let recording = Arc::new(Recording::new());
        let afterwards = Mutex::new(None);
        let service = service_fn(async |mut request: Request<Incoming>| {
            let upgrade = hyper::upgrade::on(&mut request);
            let answer = match self.reply(request, certificate.clone(), peer, recording.take()).await {
                Reply::Answer(answer) => answer,
                Reply::Upgrade(answer, next) => {
                    recording.stop();
                    *afterwards.lock().unwrap_or_else(PoisonError::into_inner) = Some((upgrade, next));
                    answer
                }
                Reply::Drop => return Err(Dropped),
                Reply::Garbage => {
                    garbage.store(true, Relaxed);
                    empty(StatusCode::OK)
                }
            };
            sleep(self.latency).await;
            Ok(self.dated(answer))
        });
        let connection = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(HEAD)
            .auto_date_header(false)
            .serve_connection(
                TokioIo::new(Connection::new(io, Arc::clone(&garbage), Arc::clone(&recording))),
                service,
            )
            .with_upgrades();
        if let Err(error) = connection.await {
            log::info!("http: {error}");
        }
        let next = afterwards.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some((upgrade, next)) = next {
            match upgrade.await {
                Ok(upgraded) => next(Upgraded::new(upgraded)).await,
                Err(error) => log::info!("http: {error}"),
            }
        }
    }

    async fn reply(
        &self,
        request: Request<Incoming>,
        certificate: Option<ClientCertificate>,
        address: Option<SocketAddr>,
        head: Head,
    ) -> Reply {
        let host = request.headers().get(HOST).and_then(|host| host.to_str().ok());
        let authority = host.filter(|host| is_authority(host)).map(str::to_owned);
        let path = request.uri().path();
        let service = self.services.iter().find(|service| service.serves(path));
        match service {
            Some(service) => {
                Arc::clone(service).answer(request, Client { authority, certificate, address, head }).await
            }
            None => empty(StatusCode::NOT_FOUND).into(),
        }
    }

    fn dated(&self, mut answer: Answer) -> Answer {
        if let Ok(date) = HeaderValue::from_str(&clock::http_date(self.clock.now())) {
            answer.headers_mut().insert(DATE, date);
        }
        answer
    }
}

impl fmt::Debug for Http {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Http").finish_non_exhaustive()
    }
}

/// The connection ends without an answer.
#[derive(Debug)]
struct Dropped;

impl fmt::Display for Dropped {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("dropped on request")
    }
}

impl std::error::Error for Dropped {}

/// Whether a `Host` header can stand in a URL.
fn is_authority(host: &str) -> bool {
    !host.is_empty() && host.bytes().all(|b| b.is_ascii_alphanumeric() || b"-._:[]".contains(&b))
}
