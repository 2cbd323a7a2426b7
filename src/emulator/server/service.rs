//! A service of the emulator on its HTTPS port.

use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;

use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::{Request, Response, StatusCode};

use super::connection::Upgraded;
use super::head::Head;
use crate::emulator::client_certificate::ClientCertificate;

/// A service that answers HTTP requests.
pub(in crate::emulator) trait Service: Send + Sync + 'static {
    /// Whether requests for `path` go to this service.
    fn serves(&self, path: &str) -> bool;

    /// Answers a request. The future is dropped when the client's connection ends; one that never resolves leaves the
    /// client without an answer.
    fn answer(self: Arc<Self>, request: Request<Incoming>, client: Client) -> Answering;
}

/// A reply in the making.
pub(in crate::emulator) type Answering = Pin<Box<dyn Future<Output = Reply> + Send>>;

/// An HTTP answer, whole.
pub(in crate::emulator) type Answer = Response<Full<Bytes>>;

/// The client of a request.
#[derive(Clone, Debug)]
pub(in crate::emulator) struct Client {
    /// The `Host` header, if it can stand in a URL: where the client reached the emulator.
    pub(in crate::emulator) authority: Option<String>,
    /// The certificate that the client has shown.
    pub(in crate::emulator) certificate: Option<ClientCertificate>,
    /// Where it connects from.
    pub(in crate::emulator) address: Option<SocketAddr>,
    /// The request's head as it was sent.
    pub(in crate::emulator) head: Head,
}

/// What becomes of a request.
pub(in crate::emulator) enum Reply {
    Answer(Answer),
    /// An answer of 101, and what the connection serves from then on, in the connection's own task.
    Upgrade(Answer, Afterwards),
    /// The connection closes without an answer.
    Drop,
    /// The client gets bytes that are not HTTP, and the connection closes.
    Garbage,
}

type Afterwards = Box<dyn FnOnce(Upgraded) -> Pin<Box<dyn Future<Output = ()> + Send>> + Send>;

impl Reply {
    /// Answers 101 with `answer`'s headers, then runs `serve` over the connection.
    pub(in crate::emulator) fn upgrade<F>(
        answer: Answer,
        serve: impl FnOnce(Upgraded) -> F + Send + 'static,
    ) -> Self
    where
        F: Future<Output = ()> + Send + 'static,
    {
        Self::Upgrade(answer, Box::new(|io| Box::pin(serve(io))))
    }
}

impl From<Answer> for Reply {
    fn from(answer: Answer) -> Self {
        Self::Answer(answer)
    }
}

/// An answer without a body.
pub(in crate::emulator) fn empty(status: StatusCode) -> Answer {
    let mut answer = Response::new(Full::default());
    *answer.status_mut() = status;
    answer
}
