//! The control channel: whole messages over a WebSocket, with a Ping in silence.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;
use std::{fmt, io};

use bytes::Bytes;
use futures_util::{Sink, Stream as _};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, sleep_until, timeout_at};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Utf8Bytes;
use tokio_tungstenite::tungstenite::error::{Error as WsError, ProtocolError};
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::protocol::{CloseFrame, Message, Role, WebSocketConfig};

/// The longest control message in bytes: four times the largest that .NET takes \[C].
pub(super) const LONGEST_MESSAGE: usize = 256 * 1024;

/// The messages that may wait for a service that reads none, before no more are read from it.
const LONGEST_QUEUE: usize = 16;

/// The limits of the wait for an answer to a Ping; within them it is the keepalive itself.
const SHORTEST_WAIT: Duration = Duration::from_secs(5);
const LONGEST_WAIT: Duration = Duration::from_secs(20);

/// How long the answer to the service's Close may take.
const CLOSE_LIMIT: Duration = Duration::from_secs(1);

/// A connection to the service.
pub(super) trait ByteStream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> ByteStream for T {}

/// Why a control channel ended.
#[derive(Debug)]
pub(super) enum Lost {
    /// The service closed it, with this code and reason.
    Closed(Option<u16>, String),
    /// The connection ended or failed.
    Cut(io::Error),
    /// Nothing arrived for this long after a Ping.
    Silent(Duration),
    /// A message is longer than [`LONGEST_MESSAGE`].
    TooLong,
    /// The service broke the WebSocket protocol.
    Violation(String),
}

/// A control channel.
pub(super) struct Channel {
    websocket: WebSocketStream<Heard>,
    outgoing: VecDeque<Message>,
    /// Whether the connection has accepted everything before `outgoing`.
    is_flushed: bool,
    keepalive: Duration,
    /// Whether a Close is queued, behind which nothing can be sent.
    is_closing: bool,
    /// The time of the first Ping since something arrived.
    pinged: Option<Instant>,
}

impl Channel {
    /// A control channel over the connection of an upgrade, with the bytes that arrived behind the response. Pings after
    /// `keepalive` without a byte from the service.
    pub(super) async fn new(io: Box<dyn ByteStream>, early: Bytes, keepalive: Duration) -> Self {
        let io = Heard { io, at: Instant::now() };
        let config = WebSocketConfig::default()
            .read_buffer_size(4096)
            .write_buffer_size(0)
            .max_message_size(Some(LONGEST_MESSAGE))
            .max_frame_size(Some(LONGEST_MESSAGE));
        let websocket =
            WebSocketStream::from_partially_read(io, early.into(), Role::Client, Some(config)).await;
        Self {
            websocket,
            outgoing: VecDeque::new(),
            is_flushed: true,
            keepalive,
            is_closing: false,
            pinged: None,
        }
    }

    /// Queues a text message, which [`Self::next`] sends.
    pub(super) fn send(&mut self, text: &str) {
        self.outgoing.push_back(Message::text(text));
    }

    /// Waits for the next text message. Sends queued messages, answers Pings, and discards binary messages, which are
    /// bodies of the HTTP mode.
    ///
    /// Cancel-safe.
    ///
    /// # Errors
    /// Returns why the channel ended. It cannot be used further.
    pub(super) async fn next(&mut self) -> Result<Utf8Bytes, Lost> {
        loop {
            let due = self.due();
            tokio::select! {
                biased;
                message = poll_fn(|cx| self.poll(cx)) => match message? {
                    Message::Text(text) => return Ok(text),
                    Message::Close(frame) => {
                        // Best effort: the service may have ended the connection.
                        let answering = poll_fn(|cx| Pin::new(&mut self.websocket).poll_flush(cx));
                        let _ = timeout_at(Instant::now() + CLOSE_LIMIT, answering).await;
                        let (code, reason) = frame.map_or((None, String::new()), |frame| {
                            (Some(frame.code.into()), frame.reason.as_str().to_owned())
                        });
                        return Err(Lost::Closed(code, reason));
                    }
                    Message::Binary(_) | Message::Ping(_) | Message::Pong(_) | Message::Frame(_) => {}
                },
                () = sleep_until(due), if !self.is_closing => self.ping()?,
            }
        }
    }

    /// Sends a Close. Messages that cross it can still be read; the service is not given up any more.
    pub(super) fn close(&mut self) {
        self.is_closing = true;
        let normal = CloseFrame { code: CloseCode::Normal, reason: "".into() };
        self.outgoing.push_back(Message::Close(Some(normal)));
    }

    /// When to ping, or to give the service up.
    fn due(&mut self) -> Instant {
        let heard = self.websocket.get_ref().at;
        self.pinged = self.pinged.filter(|pinged| *pinged > heard);
        match self.pinged {
            Some(pinged) => pinged + self.wait(),
            None => heard + self.keepalive,
        }
    }

    fn wait(&self) -> Duration {
        self.keepalive.clamp(SHORTEST_WAIT, LONGEST_WAIT)
    }

    fn ping(&mut self) -> Result<(), Lost> {
        if self.due() > Instant::now() {
            // Something has arrived meanwhile.
            return Ok(());
        }
        if self.pinged.is_some() {
            return Err(Lost::Silent(self.wait()));
        }
        self.pinged = Some(Instant::now());
        self.outgoing.push_back(Message::Ping(Bytes::new()));
        Ok(())
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<Message, Lost>> {
        let sent = self.poll_send(cx).map_err(lost)?;
        if sent.is_pending() && self.outgoing.len() >= LONGEST_QUEUE {
            return Poll::Pending;
        }
        Pin::new(&mut self.websocket).poll_next(cx).map(|message| match message {
            Some(message) => message.map_err(lost),
            None => Err(lost(WsError::ConnectionClosed)),
        })
    }

    fn poll_send(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), WsError>> {
        let mut websocket = Pin::new(&mut self.websocket);
        while !self.outgoing.is_empty() {
            ready!(websocket.as_mut().poll_ready(cx))?;
            let Some(message) = self.outgoing.pop_front() else { break };
            websocket.as_mut().start_send(message)?;
            self.is_flushed = false;
        }
        if !self.is_flushed {
            ready!(websocket.poll_flush(cx))?;
            self.is_flushed = true;
        }
        Poll::Ready(Ok(()))
    }
}

impl fmt::Debug for Channel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Channel").finish_non_exhaustive()
    }
}

fn lost(error: WsError) -> Lost {
    match error {
        WsError::Io(error) => Lost::Cut(error),
        WsError::ConnectionClosed
        | WsError::AlreadyClosed
        | WsError::Protocol(ProtocolError::ResetWithoutClosingHandshake) => {
            Lost::Cut(io::Error::new(io::ErrorKind::UnexpectedEof, "it was closed without a Close"))
        }
        WsError::Capacity(_) => Lost::TooLong,
        error => Lost::Violation(error.to_string()),
    }
}

/// A connection that notes when bytes arrive.
struct Heard {
    io: Box<dyn ByteStream>,
    at: Instant,
}

impl AsyncRead for Heard {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        ready!(Pin::new(&mut self.io).poll_read(cx, buf))?;
        if buf.filled().len() > before {
            self.at = Instant::now();
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Heard {
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
