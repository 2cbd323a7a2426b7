//! TLS over page-aligned buffers, through rustls's unbuffered interface. The buffered one reads 4 KiB at a time and
//! decrypts into heap memory, from where a copy may run twenty times slower (see [`crate::tunnel::buffer`]).

use std::future::poll_fn;
use std::io;
use std::ops::ControlFlow;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use rustls::ClientConfig;
#[cfg(feature = "emulator")]
use rustls::ServerConfig;
use rustls::client::{ClientConnectionData, UnbufferedClientConnection};
#[cfg(feature = "emulator")]
use rustls::pki_types::CertificateDer;
use rustls::pki_types::ServerName;
#[cfg(feature = "emulator")]
use rustls::server::{ServerConnectionData, UnbufferedServerConnection};
use rustls::unbuffered::{ConnectionState, UnbufferedStatus, WriteTraffic};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::tunnel::buffer::{Buffer, SIZE};

/// The longest payload of a record, and the longest record (RFC 5246, section 6.2; those of TLS 1.3 are shorter).
const PAYLOAD: usize = 16_384;
const RECORD: usize = 5 + PAYLOAD + 2048;

/// Bytes of ciphertext read at a time: four full records of TLS 1.3.
const INCOMING: usize = 4 * (5 + PAYLOAD + 17);

/// Bytes of plaintext encrypted at a time: with its records' overhead and one more record, it fits a buffer.
const OUTGOING: usize = 4 * PAYLOAD;

/// Where ciphertext starts in its buffer: not at the start of a page. rustls copies each record into heap memory, which
/// often starts there, and such copies are slow.
const START: usize = 2048;
const _: () = assert!(START + OUTGOING + 4 * 64 < SIZE && START + INCOMING <= SIZE);

/// rustls' state of one side of a connection.
pub trait Side {
    /// What rustls keeps for this side.
    type Data;

    /// Processes the records at the start of `incoming`.
    fn process<'c, 'i>(&'c mut self, incoming: &'i mut [u8]) -> UnbufferedStatus<'c, 'i, Self::Data>;
}

impl Side for UnbufferedClientConnection {
    type Data = ClientConnectionData;

    fn process<'c, 'i>(&'c mut self, incoming: &'i mut [u8]) -> UnbufferedStatus<'c, 'i, Self::Data> {
        self.process_tls_records(incoming)
    }
}

#[cfg(feature = "emulator")]
impl Side for UnbufferedServerConnection {
    type Data = ServerConnectionData;

    fn process<'c, 'i>(&'c mut self, incoming: &'i mut [u8]) -> UnbufferedStatus<'c, 'i, Self::Data> {
        self.process_tls_records(incoming)
    }
}

/// A TLS connection over `S`, of a client unless `T` says otherwise.
pub struct TlsStream<S, T = UnbufferedClientConnection> {
    io: S,
    tls: T,
    incoming: Queue,
    outgoing: Queue,
    /// Decrypted bytes that nobody has read yet.
    plaintext: Vec<u8>,
    /// The peer has sent close_notify.
    peer_closed: bool,
    closed: bool,
    /// The error that ended the connection.
    failure: Option<rustls::Error>,
}

/// The result of processing the buffered records.
#[derive(PartialEq, Eq)]
enum Step {
    /// A record had plaintext.
    Data,
    /// More records are needed.
    Idle,
    /// The handshake is complete, and all records are processed.
    Open,
}

/// Makes the handshake.
///
/// # Errors
/// Returns the connection's error. An error of rustls is its inner error.
pub(crate) async fn connect<S>(
    config: Arc<ClientConfig>,
    name: ServerName<'static>,
    io: S,
) -> io::Result<TlsStream<S>>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let tls = UnbufferedClientConnection::new(config, name).map_err(invalid)?;
    TlsStream::open(tls, io).await
}

/// A server's TLS connection over `S`.
#[cfg(feature = "emulator")]
pub(crate) type ServerStream<S> = TlsStream<S, UnbufferedServerConnection>;

/// Makes the handshake with a client.
///
/// # Errors
/// Returns the connection's error. An error of rustls is its inner error.
#[cfg(feature = "emulator")]
pub(crate) async fn accept<S>(config: Arc<ServerConfig>, io: S) -> io::Result<ServerStream<S>>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let tls = UnbufferedServerConnection::new(config).map_err(invalid)?;
    TlsStream::open(tls, io).await
}

/// The certificates that the client has shown.
#[cfg(feature = "emulator")]
pub(crate) fn peer_certificates<S>(stream: &ServerStream<S>) -> Option<&[CertificateDer<'static>]> {
    stream.tls.peer_certificates()
}

/// The connection under TLS.
pub(crate) fn carrier<S, T>(stream: &TlsStream<S, T>) -> &S {
    &stream.io
}

impl<S: AsyncRead + AsyncWrite + Unpin, T: Side + Unpin> TlsStream<S, T> {
    async fn open(tls: T, io: S) -> io::Result<Self> {
        let mut stream = Self {
            io,
            tls,
            incoming: Queue::new(),
            outgoing: Queue::new(),
            plaintext: Vec::new(),
            peer_closed: false,
            closed: false,
            failure: None,
        };
        poll_fn(|cx| stream.poll_handshake(cx)).await?;
        Ok(stream)
    }

    fn poll_handshake(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        loop {
            let step = self.keep(|_, _| Ok(()));
            // An alert is sent before the error is returned.
            let sent = self.poll_send(cx);
            if step? == Step::Open {
                return sent;
            }
            // A pending write does not stop reading: the peer may read only after it has written.
            let _ = sent?;
            if self.peer_closed || ready!(self.poll_receive(cx))? == 0 {
                return Poll::Ready(Err(io::ErrorKind::UnexpectedEof.into()));
            }
        }
    }

    /// Processes buffered records until one has plaintext, which goes to `data`, or no complete record is left. Then
    /// calls `open` if the handshake is complete.
    fn advance(
        &mut self,
        mut data: impl FnMut(&[u8]),
        mut open: impl FnMut(&mut WriteTraffic<'_, T::Data>, &mut Queue) -> io::Result<()>,
    ) -> io::Result<Step> {
        if let Some(failure) = &self.failure {
            return Err(invalid(failure.clone()));
        }
        loop {
            let status = self.tls.process(self.incoming.filled());
            let mut taken = status.discard;
            let step = match status.state {
                Ok(ConnectionState::ReadTraffic(mut traffic)) => {
                    while let Some(record) = traffic.next_record() {
                        let record = record.map_err(invalid)?;
                        taken += record.discard;
                        data(record.payload);
                    }
                    ControlFlow::Break(Ok(Step::Data))
                }
                Ok(ConnectionState::EncodeTlsData(mut message)) => {
                    let written = message.encode(self.outgoing.room(RECORD)).map_err(io::Error::other)?;
                    self.outgoing.add(written);
                    ControlFlow::Continue(())
                }
                Ok(ConnectionState::TransmitTlsData(message)) => {
                    // The message is already in the outgoing queue.
                    message.done();
                    ControlFlow::Continue(())
                }
                Ok(ConnectionState::PeerClosed) => {
                    self.peer_closed = true;
                    ControlFlow::Continue(())
                }
                Ok(ConnectionState::WriteTraffic(mut traffic)) => {
                    ControlFlow::Break(open(&mut traffic, &mut self.outgoing).map(|()| Step::Open))
                }
                Ok(ConnectionState::BlockedHandshake | ConnectionState::Closed) => {
                    ControlFlow::Break(Ok(Step::Idle))
                }
                Ok(_) => ControlFlow::Break(Err(io::ErrorKind::Unsupported.into())),
                Err(error) => {
                    self.incoming.take(taken);
                    self.queue_alert();
                    self.failure = Some(error.clone());
                    return Err(invalid(error));
                }
            };
            self.incoming.take(taken);
            if let ControlFlow::Break(step) = step {
                return step;
            }
        }
    }

    /// Queues the alert for an error of the peer.
    fn queue_alert(&mut self) {
        // Called once: a second call would process the invalid record again.
        if let Ok(ConnectionState::EncodeTlsData(mut alert)) = self.tls.process(self.incoming.filled()).state
        {
            let written = alert.encode(self.outgoing.room(RECORD)).unwrap_or(0);
            self.outgoing.add(written);
        }
    }

    /// Processes all buffered records and keeps their plaintext. Then calls `open` if the handshake is complete.
    fn keep(
        &mut self,
        mut open: impl FnMut(&mut WriteTraffic<'_, T::Data>, &mut Queue) -> io::Result<()>,
    ) -> io::Result<Step> {
        let mut kept = std::mem::take(&mut self.plaintext);
        let step = loop {
            let step = self.advance(|bytes| kept.extend_from_slice(bytes), &mut open);
            if !matches!(step, Ok(Step::Data)) {
                break step;
            }
        };
        self.plaintext = kept;
        step
    }

    /// Writes the outgoing queue to the connection.
    fn poll_send(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.outgoing.is_empty() {
            let count = ready!(Pin::new(&mut self.io).poll_write(cx, self.outgoing.filled()))?;
            if count == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.outgoing.take(count);
        }
        Poll::Ready(Ok(()))
    }

    fn poll_receive(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        let room = self.incoming.room(RECORD);
        let most = room.len().min(INCOMING);
        let mut room = ReadBuf::new(&mut room[..most]);
        let polled = Pin::new(&mut self.io).poll_read(cx, &mut room);
        let count = room.filled().len();
        self.incoming.add(count);
        polled.map_ok(|()| count)
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin, T: Side + Unpin> AsyncRead for TlsStream<S, T> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if buf.remaining() == 0 {
            return Poll::Ready(Ok(()));
        }
        if !this.plaintext.is_empty() {
            let count = this.plaintext.len().min(buf.remaining());
            buf.put_slice(&this.plaintext[..count]);
            this.plaintext.drain(..count);
            return Poll::Ready(Ok(()));
        }
        let before = buf.filled().len();
        loop {
            let mut rest = std::mem::take(&mut this.plaintext);
            let step = this.advance(
                |bytes| {
                    let (now, later) = bytes.split_at(bytes.len().min(buf.remaining()));
                    buf.put_slice(now);
                    rest.extend_from_slice(later);
                },
                |_, _| Ok(()),
            );
            this.plaintext = rest;
            let something = buf.filled().len() > before;
            match step {
                Ok(Step::Data) if buf.remaining() >= PAYLOAD => continue,
                // The next call returns the error again.
                _ if something => return Poll::Ready(Ok(())),
                Ok(_) => {}
                Err(error) => {
                    let _ = this.poll_send(cx);
                    return Poll::Ready(Err(error));
                }
            }
            if this.peer_closed {
                return Poll::Ready(Ok(()));
            }
            // A key update of the peer may have queued an answer.
            let _ = this.poll_send(cx)?;
            if ready!(this.poll_receive(cx))? == 0 {
                return Poll::Ready(Err(io::Error::new(
                    io::ErrorKind::UnexpectedEof,
                    "it closed the connection in the middle of TLS",
                )));
            }
        }
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin, T: Side + Unpin> AsyncWrite for TlsStream<S, T> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        if this.closed {
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        }
        ready!(this.poll_send(cx))?;
        let bytes = &bytes[..bytes.len().min(OUTGOING)];
        let step = this.keep(|traffic, outgoing| {
            let written = traffic.encrypt(bytes, outgoing.room(bytes.len())).map_err(io::Error::other)?;
            outgoing.add(written);
            Ok(())
        })?;
        if step != Step::Open {
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        }
        // The next write or flush sends the rest of the queue.
        match this.poll_send(cx) {
            Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
            _ => Poll::Ready(Ok(bytes.len())),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        ready!(this.poll_send(cx))?;
        Pin::new(&mut this.io).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if !this.closed {
            this.closed = true;
            this.keep(|traffic, outgoing| {
                let written = traffic.queue_close_notify(outgoing.room(RECORD)).map_err(io::Error::other)?;
                outgoing.add(written);
                Ok(())
            })?;
        }
        ready!(this.poll_send(cx))?;
        Pin::new(&mut this.io).poll_shutdown(cx)
    }
}

impl<S: std::fmt::Debug, T> std::fmt::Debug for TlsStream<S, T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TlsStream").field("io", &self.io).finish_non_exhaustive()
    }
}

fn invalid(error: rustls::Error) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, error)
}

/// A queue of bytes in one buffer.
struct Queue {
    /// `None` while the queue is empty.
    buffer: Option<Buffer>,
    start: usize,
    end: usize,
}

impl Queue {
    fn new() -> Self {
        Self { buffer: None, start: START, end: START }
    }

    fn is_empty(&self) -> bool {
        self.start == self.end
    }

    fn filled(&mut self) -> &mut [u8] {
        self.buffer.as_mut().map_or(&mut [], |buffer| &mut buffer[self.start..self.end])
    }

    /// The free room behind the queued bytes. They move to the front if the room is less than `wanted`.
    fn room(&mut self, wanted: usize) -> &mut [u8] {
        let buffer = self.buffer.get_or_insert_with(Buffer::take);
        if buffer.len() - self.end < wanted {
            buffer.copy_within(self.start..self.end, START);
            (self.start, self.end) = (START, START + self.end - self.start);
        }
        &mut buffer[self.end..]
    }

    /// Appends the first `count` bytes of the room.
    fn add(&mut self, count: usize) {
        self.end += count;
        self.take(0);
    }

    /// Removes the first `count` queued bytes.
    fn take(&mut self, count: usize) {
        self.start += count;
        if self.is_empty() {
            *self = Self::new();
        }
    }
}
