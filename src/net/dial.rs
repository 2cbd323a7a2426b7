//! From a host name to an open connection. Each phase has a time limit.

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use super::carrier::Carrier;
use super::tls_stream::TlsStream;
use super::{ClientCertificate, Endpoint, Proxies, Tls};
use crate::error::{Error, Problem, Result};
use crate::platform::tcp;
use crate::time::phase::{Phase, Phases};

/// The time limit of each of DNS, TCP and TLS.
const PHASE_LIMIT: Duration = Duration::from_secs(10);

/// The delay between connection attempts to successive addresses (RFC 8305, section 5).
const HEAD_START: Duration = Duration::from_millis(250);

/// An established connection with TLS.
pub(crate) type Stream = TlsStream<Carrier>;

/// How this machine reaches servers: its TLS settings and proxies.
#[derive(Clone, Debug)]
pub struct Network {
    tls: Tls,
    proxies: Proxies,
    /// When dialling ends.
    deadline: Option<Instant>,
}

impl Network {
    /// Dials with these TLS settings and proxies.
    pub fn new(tls: Tls, proxies: Proxies) -> Self {
        Self { tls, proxies, deadline: None }
    }

    /// The same network with `certificate` for servers that request one.
    #[must_use]
    pub fn with_certificate(&self, certificate: &ClientCertificate) -> Self {
        let mut network = self.clone();
        network.tls = self.tls.with_certificate(certificate);
        network
    }

    /// The same network for servers that want the key exchange with secp384r1.
    ///
    /// # Errors
    /// Returns the error of [`Tls::preferring_p384`].
    pub fn preferring_p384(&self) -> Result<Self> {
        Ok(Self { tls: self.tls.preferring_p384()?, ..self.clone() })
    }

    /// The same network, which dials until `deadline` at the latest.
    #[must_use]
    pub fn until(&self, deadline: Instant) -> Self {
        Self { deadline: Some(deadline), ..self.clone() }
    }

    /// The time limit of a phase that may last for `most`.
    pub(super) fn limit(&self, most: Duration) -> Duration {
        let left = self.deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
        left.map_or(most, |left| left.min(most))
    }

    /// Connects to `endpoint` with TLS, through a proxy if one applies, and records the time of each phase.
    ///
    /// Not cancel-safe: dropping the future drops the connection.
    ///
    /// # Errors
    /// Returns [`Error::Network`] or [`Error::Timeout`] with the phase that failed, or an error about the certificate,
    /// the trust roots or the proxy.
    pub async fn connect(&self, endpoint: &Endpoint, phases: &mut Phases) -> Result<Stream> {
        let carrier = match self.proxies.find(endpoint) {
            Some(proxy) => self.through(proxy, endpoint, phases).await?,
            None => Carrier::Tcp(self.tcp(endpoint, phases).await?),
        };
        self.tls(carrier, endpoint, phases).await
    }

    /// Connects to `endpoint` with TCP, without a proxy.
    pub(super) async fn tcp(&self, endpoint: &Endpoint, phases: &mut Phases) -> Result<TcpStream> {
        let limit = self.limit(PHASE_LIMIT);
        let addresses = limited(Phase::DNS, endpoint, phases, limit, resolve(endpoint)).await?;
        let limit = self.limit(PHASE_LIMIT);
        let stream = limited(Phase::TCP, endpoint, phases, limit, race(endpoint, addresses)).await?;
        tcp::set_interactive(&stream);
        Ok(stream)
    }

    /// Makes the TLS handshake with `endpoint` over `io`.
    pub(super) async fn tls<S>(&self, io: S, endpoint: &Endpoint, phases: &mut Phases) -> Result<TlsStream<S>>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let limit = self.limit(PHASE_LIMIT);
        limited(Phase::TLS, endpoint, phases, limit, self.tls.handshake(io, endpoint)).await
    }
}

/// Runs one phase within its time limit, and records its time.
pub(super) async fn limited<T>(
    phase: Phase,
    endpoint: &Endpoint,
    phases: &mut Phases,
    limit: Duration,
    work: impl Future<Output = Result<T>>,
) -> Result<T> {
    let since = Instant::now();
    let result = timeout(limit, work).await.map_err(|_| Error::timeout(phase, endpoint, whole(limit)))??;
    phases.done(phase, endpoint, since);
    Ok(result)
}

/// A time limit for a message: what a deadline leaves, in whole seconds.
fn whole(limit: Duration) -> Duration {
    if limit < Duration::from_secs(1) { limit } else { Duration::from_secs_f64(limit.as_secs_f64().round()) }
}

async fn resolve(endpoint: &Endpoint) -> Result<Vec<SocketAddr>> {
    let failed = |problem: Problem| Error::network(Phase::DNS, &endpoint.host, problem);
    let found = tokio::net::lookup_host((endpoint.host.as_str(), endpoint.port)).await;
    let found: Vec<_> = found.map_err(|error| failed(error.into()))?.collect();
    if found.is_empty() {
        return Err(failed("the name has no address".into()));
    }
    Ok(alternate(found))
}

/// Orders addresses so that the families alternate, starting with the resolver's first choice (RFC 8305, section 4).
fn alternate(addresses: Vec<SocketAddr>) -> Vec<SocketAddr> {
    let first_is_v6 = addresses[0].is_ipv6();
    let (preferred, other): (Vec<_>, Vec<_>) =
        addresses.into_iter().partition(|a| a.is_ipv6() == first_is_v6);
    let (mut preferred, mut other) = (preferred.into_iter(), other.into_iter());
    let mut ordered = Vec::new();
    loop {
        let before = ordered.len();
        ordered.extend(preferred.next());
        ordered.extend(other.next());
        if ordered.len() == before {
            return ordered;
        }
    }
}

/// Connects to the first address that answers. The next attempt starts after [`HEAD_START`], or at once after a failure.
async fn race(endpoint: &Endpoint, addresses: Vec<SocketAddr>) -> Result<TcpStream> {
    let mut waiting = addresses.into_iter();
    let mut attempts: JoinSet<io::Result<TcpStream>> = JoinSet::new();
    let mut first_failure = None;
    loop {
        if let Some(address) = waiting.next() {
            attempts.spawn(TcpStream::connect(address));
        } else if attempts.is_empty() {
            let problem =
                first_failure.map_or_else(|| "no address".into(), |error: io::Error| Problem::from(error));
            return Err(Error::network(Phase::TCP, endpoint, problem));
        }
        tokio::select! {
            Some(attempt) = attempts.join_next() => match attempt {
                Ok(Ok(stream)) => return Ok(stream),
                Ok(Err(error)) => {
                    first_failure.get_or_insert(error);
                }
                Err(panicked) => return Err(Error::Bug(panicked.to_string())),
            },
            () = sleep(HEAD_START), if waiting.len() > 0 => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn address_families_alternate() {
        let address = |text: &str| text.parse::<SocketAddr>().unwrap();
        let [a, b, c, d] = ["[::1]:1", "[::2]:1", "127.0.0.1:1", "[::3]:1"].map(address);
        assert_eq!(alternate(vec![a, b, c, d]), [a, c, b, d]);
        assert_eq!(alternate(vec![c, a]), [c, a]);
    }

    #[tokio::test]
    async fn a_deadline_ends_the_phase_that_runs() {
        let silent = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let network = Network::new(Tls::new(None).unwrap(), Proxies::default());
        let endpoint = Endpoint::new("127.0.0.1", silent.local_addr().unwrap().port());
        let network = network.until(Instant::now() + Duration::from_millis(50));
        let error = network.connect(&endpoint, &mut Phases::default()).await.unwrap_err();
        assert!(matches!(error, Error::Timeout { phase: Phase::TLS, .. }), "{error}");
    }

    #[tokio::test]
    async fn tries_the_next_address_after_a_failure() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let live = listener.local_addr().unwrap();
        let dead = {
            let gone = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
            gone.local_addr().unwrap()
        };
        let endpoint = Endpoint::new("test", live.port());
        let stream = race(&endpoint, vec![dead, live]).await.unwrap();
        assert_eq!(stream.peer_addr().unwrap(), live);
        let error = race(&endpoint, vec![dead]).await.unwrap_err();
        assert!(error.to_string().contains("refused"), "{error}");
    }
}
