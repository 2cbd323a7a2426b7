//! A daemon on this machine that keeps keys, and answers HTTP over a Unix socket.

mod error;

use std::path::PathBuf;
use std::time::Duration;

use bytes::Bytes;
use data_encoding::BASE64;
use http_body_util::Full;
use hyper::header::{ACCEPT, CONTENT_TYPE, HOST, USER_AGENT};
use hyper::http::request::Builder;
use serde::de::DeserializeOwned;
use tokio::time::{sleep, timeout};

pub(super) use self::error::{Error as DaemonError, Kind};
use crate::backend::product::PRODUCT;
use crate::backend::request::bug;
use crate::error::{Error, Problem, Result};
use crate::net::{Reply, exchange};
use crate::platform::local_socket;
use crate::time::backoff::{Backoff, chance};

/// The time limit of a request to sign. A key in a TPM takes its time.
pub(super) const SIGNING_LIMIT: Duration = Duration::from_secs(30);

/// The longest answer in bytes.
const LONGEST: usize = 64 * 1024;

/// A daemon closes the connection of a request beyond its limit, and leaves it to the client to ask again \[D].
const TRIES: u32 = 5;
const LONGEST_WAIT: Duration = Duration::from_secs(1);

const JSON: &str = "application/json";

/// The length of an HMAC-SHA256.
const SIGNATURE: usize = 32;

/// A daemon and its socket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Daemon {
    kind: Kind,
    socket: PathBuf,
}

impl Daemon {
    pub(super) fn new(kind: Kind, socket: PathBuf) -> Self {
        Self { kind, socket }
    }

    /// Sends a request, with a JSON body unless it is empty, and parses the answer, all within `limit`. A connection that
    /// is closed without an answer is tried again.
    ///
    /// Cancel-safe: dropping the future drops the request.
    ///
    /// # Errors
    /// Returns why the daemon does not answer or what it refuses; [`Error::Protocol`] if its answer is malformed.
    pub(super) async fn ask<T: DeserializeOwned>(
        &self,
        request: Builder,
        body: Bytes,
        limit: Duration,
    ) -> Result<T> {
        let request = request.header(HOST, "localhost").header(USER_AGENT, PRODUCT).header(ACCEPT, JSON);
        let request = if body.is_empty() { request } else { request.header(CONTENT_TYPE, JSON) };
        let request = request.body(Full::new(body)).map_err(bug)?;
        let reply = timeout(limit, self.answer(request))
            .await
            .map_err(|_| DaemonError::Silent { daemon: self.kind, after: limit })??;
        if reply.status != 200 {
            return Err(DaemonError::refused(self.kind, &reply).into());
        }
        serde_json::from_slice(&reply.body).map_err(|error| {
            // Its text could repeat a signature.
            let (line, column) = (error.line(), error.column());
            self.malformed(format!("its answer is not the documented JSON at line {line}, column {column}"))
        })
    }

    async fn answer(&self, request: hyper::Request<Full<Bytes>>) -> Result<Reply> {
        let mut backoff = Backoff::default();
        for _ in 1..TRIES {
            match self.answer_once(request.clone()).await {
                Err(Error::Network { .. }) => sleep(backoff.wait(LONGEST_WAIT, chance())).await,
                answer => return answer,
            }
        }
        self.answer_once(request).await.map_err(|error| match error {
            Error::Network { .. } => DaemonError::Closed { daemon: self.kind, tries: TRIES }.into(),
            error => error,
        })
    }

    /// # Errors
    /// Returns [`Error::Network`] if the daemon closes the connection without a whole answer, as it does if it throttles.
    async fn answer_once(&self, request: hyper::Request<Full<Bytes>>) -> Result<Reply> {
        let (phase, socket) = (self.kind.phase(), self.socket.display());
        let stream = local_socket::connect(&self.socket).await.map_err(|problem| match problem.kind() {
            // Too many clients wait.
            std::io::ErrorKind::WouldBlock => Error::network(phase, socket, problem),
            _ => DaemonError::Unreachable { daemon: self.kind, socket: self.socket.clone(), problem }.into(),
        })?;
        exchange(stream, phase, &self.socket.display(), request, LONGEST).await
    }

    /// Decodes a signature.
    ///
    /// # Errors
    /// Returns [`Error::Protocol`] if it is not the base64 of an HMAC-SHA256.
    pub(super) fn signature(&self, base64: &str) -> Result<Vec<u8>> {
        let signature = BASE64.decode(base64.as_bytes()).ok().filter(|bytes| bytes.len() == SIGNATURE);
        signature.ok_or_else(|| self.malformed("its signature is not an HMAC-SHA256"))
    }

    /// The error of an answer that cannot be used.
    pub(super) fn malformed(&self, problem: impl Into<Problem>) -> Error {
        Error::protocol(format!("{} at {}", self.kind, self.socket.display()), problem)
    }
}

#[cfg(test)]
mod tests {
    use tokio::net::UnixListener;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_silent_daemon_is_given_up() {
        let directory = tempfile::tempdir().unwrap();
        let socket = directory.path().join("d.sock");
        let _listener = UnixListener::bind(&socket).unwrap();
        let daemon = Daemon::new(Kind::Keyd, socket);
        let asking = daemon.ask::<()>(hyper::Request::get("/"), Bytes::new(), SIGNING_LIMIT);
        assert_eq!(asking.await.unwrap_err().to_string(), "aziot-keyd did not answer in 30s");
    }
}
