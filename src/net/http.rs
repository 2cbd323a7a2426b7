//! One HTTP/1.1 exchange over a connection.

use std::fmt::Display;
use std::io::ErrorKind;
use std::time::SystemTime;

use bytes::Bytes;
use http_body_util::{BodyExt, Full, LengthLimitError, Limited};
use hyper::body::{Body, Incoming};
use hyper::client::conn::http1::Builder;
use hyper::header::DATE;
use hyper::{HeaderMap, Request, Response};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};

use crate::error::{Error, Problem, Result};
use crate::time::phase::Phase;

/// A response, read to its end.
#[derive(Debug)]
pub(crate) struct Reply {
    /// The status code.
    pub status: u16,
    /// The headers.
    pub headers: HeaderMap,
    /// The whole body.
    pub body: Bytes,
}

impl Reply {
    /// The server's time, from the `Date` header.
    pub(crate) fn date(&self) -> Option<SystemTime> {
        date(&self.headers)
    }
}

/// The server's time, from the `Date` header.
pub(super) fn date(headers: &HeaderMap) -> Option<SystemTime> {
    httpdate::parse_http_date(headers.get(DATE)?.to_str().ok()?).ok()
}

/// Sends `request` and reads the response. Errors name the server by `phase`. The body may have up to `limit` bytes.
///
/// Not cancel-safe: dropping the future drops the connection.
///
/// # Errors
/// Returns [`Error::Protocol`] if the response is not HTTP or too long, and [`Error::Network`] if none arrives.
pub(crate) async fn exchange<S>(
    io: S,
    phase: Phase,
    target: &impl Display,
    request: Request<Full<Bytes>>,
    limit: usize,
) -> Result<Reply>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (mut sender, connection) =
        client().handshake(TokioIo::new(io)).await.map_err(|error| failure(phase, target, error))?;
    let talk = async {
        let response = sender.send_request(request).await;
        let response = response.map_err(|error| failure(phase, target, error))?;
        let (parts, body) = response.into_parts();
        let body = Limited::new(body, limit).collect().await.map_err(|error| {
            if error.is::<LengthLimitError>() {
                return Error::protocol(
                    party(phase, target),
                    format!("its answer is longer than {limit} bytes"),
                );
            }
            Error::network(phase, target, Problem::of(error))
        })?;
        Ok(Reply { status: parts.status.as_u16(), headers: parts.headers, body: body.to_bytes() })
    };
    let mut talk = std::pin::pin!(talk);
    tokio::select! {
        biased;
        reply = &mut talk => reply,
        // The server has closed the connection; `talk` still holds its response.
        _ = connection => talk.await,
    }
}

/// Sends a request that switches the connection to another protocol. Returns the connection and the bytes that arrived
/// behind the response. Errors name the server by `phase`. `check` decides whether the response is a switch.
///
/// Not cancel-safe: dropping the future drops the connection.
///
/// # Errors
/// Returns the error of `check`, or that of [`exchange`] without a response.
pub(super) async fn switch<S, B>(
    io: S,
    phase: Phase,
    target: &impl Display,
    request: Request<B>,
    check: impl FnOnce(&Response<Incoming>) -> Result<()>,
) -> Result<(S, Bytes)>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    B: Body<Data = Bytes, Error = std::convert::Infallible> + Send + 'static,
{
    let (mut sender, connection) = client()
        .title_case_headers(true)
        .handshake(TokioIo::new(io))
        .await
        .map_err(|error| failure(phase, target, error))?;
    let connection = tokio::spawn(connection.with_upgrades());
    let switched = async {
        let response = sender.send_request(request).await;
        let response = response.map_err(|error| failure(phase, target, error))?;
        check(&response)?;
        hyper::upgrade::on(response).await.map_err(|error| failure(phase, target, error))
    };
    let switched = switched.await;
    if switched.is_err() {
        connection.abort();
    }
    let parts = switched?
        .downcast::<TokioIo<S>>()
        .map_err(|_| Error::Bug("the connection is not the one that was dialled".into()))?;
    Ok((parts.io.into_inner(), parts.read_buf))
}

/// Limits of a response's head. They are generous because proxies, captive portals and gateways add headers.
const MAX_HEADERS: usize = 2000;
const MAX_HEAD: usize = 1 << 20;

fn client() -> Builder {
    let mut builder = Builder::new();
    builder.max_headers(MAX_HEADERS).max_buf_size(MAX_HEAD);
    builder
}

const GONE: &str = "it closed the connection without an answer";

/// The server of a request in `phase`, for errors.
pub(super) fn party(phase: Phase, target: impl Display) -> String {
    format!("the {phase} {target}")
}

/// Translates hyper's error.
fn failure(phase: Phase, target: impl Display, error: hyper::Error) -> Error {
    if error.is_parse_too_large() {
        let problem =
            format!("its answer has more than {MAX_HEADERS} header lines, or {MAX_HEAD} bytes of them");
        return Error::protocol(party(phase, target), Problem::because(problem, error));
    }
    if error.is_parse() || error.is_parse_status() {
        let problem = Problem::because("its answer is not HTTP", error);
        return Error::protocol(party(phase, target), problem);
    }
    let cause = std::error::Error::source(&error);
    let io = cause.and_then(|cause| cause.downcast_ref::<std::io::Error>()).map(std::io::Error::kind);
    let text = match (io, cause) {
        (Some(ErrorKind::UnexpectedEof | ErrorKind::ConnectionReset | ErrorKind::BrokenPipe), _) => {
            GONE.into()
        }
        _ if error.is_incomplete_message() => GONE.into(),
        (_, Some(cause)) => format!("{error}: {cause}"),
        (_, None) => error.to_string(),
    };
    Error::network(phase, target, Problem::because(text, error))
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;
    use crate::net::Endpoint;

    async fn answered(head: &str) -> Result<Reply> {
        let (near, mut far) = tokio::io::duplex(1 << 16);
        let serve = async {
            let mut request = Vec::new();
            while !request.ends_with(b"\r\n\r\n") {
                request.push(far.read_u8().await.unwrap());
            }
            // The client hangs up once the head is too long.
            let _ = far.write_all(format!("{head}\r\n").as_bytes()).await;
        };
        let target = Endpoint::new("hub", 443);
        let ask = exchange(
            near,
            Phase::named("hub"),
            &target,
            Request::get("/").body(Full::default()).unwrap(),
            100,
        );
        tokio::join!(ask, serve).0
    }

    #[tokio::test]
    async fn accepts_a_long_response_head() {
        let line = format!("x-line: {}\r\n", "y".repeat(300));
        let long = format!("x-long: {}\r\n", "z".repeat(200_000));
        for (more, count) in [(line.repeat(300), 300), (line.repeat(1500), 1500), (long, 1)] {
            let reply = answered(&format!("HTTP/1.1 200 OK\r\n{more}Content-Length: 0\r\n")).await.unwrap();
            assert_eq!((reply.status, reply.headers.len()), (200, count + 1));
        }
        for more in [line.repeat(2100), line.repeat(4000)] {
            let error = answered(&format!("HTTP/1.1 200 OK\r\n{more}")).await.unwrap_err().to_string();
            assert!(error.contains("header lines"), "{error}");
        }
        let error = answered("SSH-2.0-x\r\n").await.unwrap_err().to_string();
        assert!(error.contains("not HTTP"), "{error}");
    }
}
