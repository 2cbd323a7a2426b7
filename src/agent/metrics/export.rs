//! Offers the figures over HTTP, or writes them to a file.

use std::convert::Infallible;
use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::header::{ACCEPT, CONTENT_TYPE, HeaderMap, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpListener;
use tokio::task::AbortHandle;
use tokio::time::{sleep, timeout};

use super::destination::{Destination, SOCKET_MODE};
use super::figures::Format;
use crate::agent::clients::serve_each;
use crate::agent::patience::until_opened;
use crate::platform::local_socket::LocalListener;
use crate::platform::private_file::{Access, put, replacement};

/// How often a file is written: as often as Prometheus reads by default.
const WRITE_EVERY: Duration = Duration::from_secs(15);

/// The most clients at a time, and the time limit of each.
const CLIENTS: usize = 8;
const LIMIT: Duration = Duration::from_secs(10);

/// Renders the figures.
pub(in crate::agent) type Render = Arc<dyn Fn(Format) -> String + Send + Sync>;

/// The export of the figures, which runs in the background.
pub(in crate::agent) struct Export {
    render: Render,
    destination: Option<Destination>,
    task: Option<AbortHandle>,
}

impl Export {
    /// Exports to `destination`. One that cannot be opened or written is a warning, and is tried again.
    pub(in crate::agent) fn start(destination: Option<&Destination>, render: Render) -> Self {
        let mut export = Self { render, destination: None, task: None };
        export.reload(destination);
        export
    }

    /// Exports to another destination.
    pub(in crate::agent) fn reload(&mut self, destination: Option<&Destination>) {
        if self.destination.as_ref() == destination {
            return;
        }
        if let Some(path) = self.stop()
            // Nobody replaces it any more.
            && let Err(error) = fs::remove_file(&path)
        {
            log::warn!("metrics {}: {error}", path.display());
        }
        self.destination = destination.cloned();
        if let Some(destination) = self.destination.clone() {
            self.task = Some(tokio::spawn(run(destination, self.render.clone())).abort_handle());
        }
    }

    /// Ends the export, with a last file.
    pub(in crate::agent) fn end(&mut self) {
        if let Some(path) = self.stop()
            && let Err(error) = write(&path, &self.render)
        {
            log::warn!("metrics {}: {error}", path.display());
        }
    }

    /// Stops the export. Returns the file that it has written.
    fn stop(&mut self) -> Option<PathBuf> {
        if let Some(task) = self.task.take() {
            task.abort();
        }
        match self.destination.take() {
            Some(Destination::File(path)) => Some(path),
            _ => None,
        }
    }
}

async fn run(destination: Destination, render: Render) -> Infallible {
    let what = format!("metrics {destination}");
    match destination {
        Destination::File(path) => loop {
            until_opened(&what, || async { write(&path, &render) }).await;
            sleep(WRITE_EVERY).await;
        },
        Destination::Tcp(address) => {
            let listener = until_opened(&what, || TcpListener::bind(address)).await;
            let accept = async || listener.accept().await.map(|(stream, _)| stream);
            serve_each(&what, CLIENTS, accept, |stream| answer(stream, render.clone())).await
        }
        Destination::Socket(path) => {
            let listener = until_opened(&what, || LocalListener::claim(&path, SOCKET_MODE)).await;
            serve_each(&what, CLIENTS, || listener.accept(), |stream| answer(stream, render.clone())).await
        }
    }
}

/// Replaces the file at `path`, which every user may read. It need not survive a power failure.
fn write(path: &Path, render: &Render) -> io::Result<()> {
    let mut file = replacement(path, Access::Everyone)?;
    file.write_all(render(Format::Text).as_bytes())?;
    put(file, path)
}

/// Answers the one request of a client.
async fn answer<S: AsyncRead + AsyncWrite + Unpin>(stream: S, render: Render) {
    let service = service_fn(async |request| Ok::<_, Infallible>(reply(&request, &render)));
    let connection = http1::Builder::new().keep_alive(false).serve_connection(TokioIo::new(stream), service);
    match timeout(LIMIT, connection).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => log::debug!("metrics: a client: {error}"),
        Err(_elapsed) => log::debug!("metrics: a client took more than {} s", LIMIT.as_secs()),
    }
}

fn reply(request: &Request<Incoming>, render: &Render) -> Response<Full<Bytes>> {
    let status = match (request.method(), request.uri().path()) {
        (&Method::GET | &Method::HEAD, "/metrics") => StatusCode::OK,
        (_, "/metrics") => StatusCode::METHOD_NOT_ALLOWED,
        _ => StatusCode::NOT_FOUND,
    };
    let mut response = Response::new(Full::default());
    *response.status_mut() = status;
    if status == StatusCode::OK {
        let format = wanted(request.headers());
        *response.body_mut() = render(format).into();
        response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(format.content_type()));
    }
    response
}

/// The format that a client prefers. Prometheus names each version of a format that it understands.
fn wanted(headers: &HeaderMap) -> Format {
    let accepts = headers.get_all(ACCEPT).iter().filter_map(|value| value.to_str().ok());
    let mut ranges = accepts.flat_map(|value| value.split(','));
    let takes_open_metrics = ranges.any(|range| {
        let mut parts = range.split(';').map(str::trim);
        let is_it =
            parts.next().is_some_and(|media| media.eq_ignore_ascii_case("application/openmetrics-text"));
        let has_version = |part: &str| part.strip_prefix("version=").is_none_or(|version| version == "1.0.0");
        is_it && parts.all(|part| has_version(part) && part != "q=0")
    });
    if takes_open_metrics { Format::OpenMetrics } else { Format::Text }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn open_metrics_is_for_those_who_ask() {
        for (accept, format) in [
            ("", Format::Text),
            ("*/*", Format::Text),
            ("text/plain;version=0.0.4", Format::Text),
            ("application/openmetrics-text;version=0.0.1", Format::Text),
            ("application/openmetrics-text;q=0", Format::Text),
            ("application/openmetrics-text", Format::OpenMetrics),
            // What Prometheus 2 sends.
            (
                "application/openmetrics-text;version=1.0.0,application/openmetrics-text;version=0.0.1;q=0.75,\
                 text/plain;version=0.0.4;q=0.5,*/*;q=0.1",
                Format::OpenMetrics,
            ),
        ] {
            let headers = HeaderMap::from_iter([(ACCEPT, accept.parse().unwrap())]);
            assert_eq!(wanted(&headers), format, "{accept}");
        }
    }
}
