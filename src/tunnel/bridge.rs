//! The bridge: two pumps, joined. An end in one direction never discards bytes of the other.
//!
//! A WebSocket has no half-close, so the bridge makes one of what there is: Close says "nothing more from me", and
//! whoever gets it may still send what it has before it answers with its own.

use std::future::{Future, poll_fn};
use std::io;
use std::ops::ControlFlow;
use std::pin::{Pin, pin};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::task::Poll;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::sync::Notify;
use tokio::time::{Instant, sleep_until, timeout};

use super::buffer::Buffer;
use super::frame::{Decoder, HEADER_ROOM, Opcode, Piece, seal};
use super::meter::Meter;

/// Where payloads begin: behind room for a header, and where copies are fast.
const PAYLOAD: usize = 64;
const _: () = assert!(PAYLOAD >= HEADER_ROOM);

/// One frame with its room: the payload stays below [`super::MAX_PAYLOAD`], and the frame fills whole TLS records.
const FRAME: usize = 65_536;

/// Bytes taken from the stream at a time. More than the longest header and control frame together.
const INCOMING: usize = 65_536;

/// After a hang-up: how long the local side may take to reach its end, and how long the peer may take to close.
const HANGUP: Duration = Duration::from_millis(350);

/// How patient a bridge is.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Silence after which the peer is pinged; it is dead after less than two of these. Zero: never.
    pub keepalive: Duration,
    /// After the local side's end: how long the peer may be silent before it closes too.
    pub linger: Duration,
    /// After the peer's close: how long the local side may be silent before it ends too.
    pub drain: Duration,
    /// Whether the local side learns of the peer's close at once, while it may still send; else it does when the
    /// caller drops it.
    pub half_close: bool,
}

/// A WebSocket Close frame: 1000 and none at all are normal, 1011 is what a device saw when the service's end had
/// vanished [I].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Close {
    pub code: Option<u16>,
    pub reason: String,
}

impl Close {
    /// Whether this is a stream's ordinary end.
    pub fn is_normal(&self) -> bool {
        matches!(self.code, None | Some(1000 | 1001 | 1005))
    }
}

/// Why a stream ended: its first cause.
#[derive(Debug)]
pub enum End {
    /// The local side had nothing more to send; what the peer still sent was delivered.
    Local,
    /// The peer closed; everything it sent before was delivered.
    Peer(Close),
    /// The local side could not be read or written.
    LocalFailed(io::Error),
    /// The connection ended without a close.
    Cut(io::Error),
    /// The peer sent what no gateway may send.
    Violation(&'static str),
    /// Nothing was heard for this long, not even an answer to a ping.
    Silent(Duration),
    /// The caller asked for an end.
    HungUp,
}

/// How one pump ended.
enum Up {
    Eof,
    /// After the peer's close or a hang-up: the local side had nothing more to say.
    Drained,
    LocalFailed(io::Error),
    RemoteFailed(io::Error),
}

enum Down {
    /// The peer closed, or ended its side of the connection in good order.
    Closed(Close),
    /// After our own close the peer neither sent nor closed.
    Lingered,
    LocalFailed(io::Error),
    RemoteFailed(io::Error),
    Violation(&'static str),
}

/// Moves bytes between a local side and an established WebSocket, of which `early` are the bytes that came with the
/// upgrade's answer, until both directions have ended. `hangup` asks for an orderly end within a second.
///
/// Not cancel-safe: dropping the future drops bytes on their way. To end early, resolve `hangup`.
pub async fn bridge<R, W, S>(
    local: (R, W),
    remote: S,
    early: &[u8],
    settings: &Settings,
    meter: &Meter,
    hangup: impl Future<Output = ()>,
) -> End
where
    R: AsyncRead + Unpin,
    W: AsyncWrite + Unpin,
    S: AsyncRead + AsyncWrite,
{
    let (read, write) = tokio::io::split(remote);
    let mut frames = Frames::new(write);
    let end = run(local, Source::new(read), &mut frames, early, settings, meter, hangup).await;
    if !matches!(end, End::Cut(_) | End::Silent(_)) {
        // TLS has a close of its own; a peer that is gone does not miss it.
        let _ = timeout(HANGUP / 2, frames.remote.shutdown()).await;
    }
    end
}

async fn run<R, W, S, T>(
    local: (R, W),
    remote: Source<S>,
    frames: &mut Frames<T>,
    early: &[u8],
    settings: &Settings,
    meter: &Meter,
    hangup: impl Future<Output = ()>,
) -> End
where
    R: AsyncRead + Unpin,
    W: AsyncWrite + Unpin,
    S: AsyncRead + Unpin,
    T: AsyncWrite + Unpin,
{
    let link = Link::default();
    let mut up = pin!(up(Source::new(local.0), frames, &link, meter));
    let mut down = pin!(down(remote, local.1, early, &link, settings.half_close, meter));
    let mut silence = pin!(silence(&link, settings.keepalive));
    let mut hangup = pin!(hangup);
    let (mut upward, mut downward) = (None, None);
    let mut limit = None;
    while upward.is_none() || downward.is_none() {
        tokio::select! {
            biased;
            end = &mut down, if downward.is_none() => {
                match end {
                    Down::Closed(_) => link.order(|orders| orders.drain = Some(settings.drain)),
                    // The peer is told in good manners, if it listens at all.
                    Down::LocalFailed(_) => {
                        link.order(|orders| orders.drain = Some(Duration::ZERO));
                        limit = Some(Instant::now() + HANGUP);
                    }
                    // Nothing more can be sent either.
                    Down::RemoteFailed(_) | Down::Violation(_) => limit = Some(Instant::now()),
                    Down::Lingered => {}
                }
                downward = Some(end);
            }
            end = &mut up, if upward.is_none() => {
                link.linger(settings.linger);
                upward = Some(end);
            }
            silent = &mut silence => return End::Silent(silent),
            () = &mut hangup, if !link.is_hung_up() => {
                link.hang_up();
                limit = Some(Instant::now() + 2 * HANGUP);
            }
            () = sleep_until(limit.unwrap_or_else(Instant::now)), if limit.is_some() => break,
        }
    }
    first_cause(upward, downward, link.is_hung_up())
}

/// Why the stream ended, from how its pumps did; `None` is one that was still running when the other's end decided.
fn first_cause(up: Option<Up>, down: Option<Down>, hung_up: bool) -> End {
    match (up, down) {
        (_, Some(Down::LocalFailed(error))) | (Some(Up::LocalFailed(error)), _) => End::LocalFailed(error),
        _ if hung_up => End::HungUp,
        (Some(Up::Eof), _) => End::Local,
        (_, Some(Down::Closed(close))) => End::Peer(close),
        (_, Some(Down::Violation(what))) => End::Violation(what),
        (_, Some(Down::RemoteFailed(error))) | (Some(Up::RemoteFailed(error)), _) => End::Cut(error),
        (Some(Up::Drained) | None, _) => End::Local,
    }
}

/// What the pumps tell each other.
#[derive(Default)]
struct Link {
    orders: Mutex<Orders>,
    /// Wakes the upward pump.
    attention: Notify,
    /// Wakes the downward pump once it may linger only.
    upward_ended: Notify,
}

#[derive(Default)]
struct Orders {
    ping: bool,
    /// The last ping's payload: only the last one needs an answer (RFC 6455, 5.5.3).
    pong: Option<Vec<u8>>,
    /// The upward pump ends once the local side has ended, or has been silent for this long.
    drain: Option<Duration>,
    /// The upward pump has ended: the downward one does once the peer has, or has been silent for this long.
    linger: Option<Duration>,
    hung_up: bool,
    /// When something was last heard of the peer; `None` while nobody listens, for the local side is stalled.
    heard: Option<Instant>,
}

impl Link {
    fn lock(&self) -> MutexGuard<'_, Orders> {
        self.orders.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn order(&self, change: impl FnOnce(&mut Orders)) {
        change(&mut self.lock());
        self.attention.notify_one();
    }

    fn linger(&self, patience: Duration) {
        let mut orders = self.lock();
        orders.linger = Some(if orders.hung_up { patience.min(HANGUP) } else { patience });
        self.upward_ended.notify_one();
    }

    fn hang_up(&self) {
        self.order(|orders| {
            orders.hung_up = true;
            orders.drain = Some(HANGUP / 2);
            orders.linger = orders.linger.map(|patience| patience.min(HANGUP));
        });
    }

    fn is_hung_up(&self) -> bool {
        self.lock().hung_up
    }

    fn heard(&self, when: Option<Instant>) {
        self.lock().heard = when;
    }
}

/// Local side → frames.
async fn up<R, S>(mut local: Source<R>, frames: &mut Frames<S>, link: &Link, meter: &Meter) -> Up
where
    R: AsyncRead + Unpin,
    S: AsyncWrite + Unpin,
{
    let mut drain = None;
    loop {
        let deadline = drain.map(|patience| Instant::now() + patience);
        let step = tokio::select! {
            biased;
            () = link.attention.notified() => {
                let (ping, pong) = {
                    let mut orders = link.lock();
                    drain = orders.drain;
                    (std::mem::take(&mut orders.ping), orders.pong.take())
                };
                frames.control(ping, pong.as_deref()).await
            }
            count = local.fill(frames.room()) => match count {
                Ok(0) => return frames.close(if drain.is_some() { Up::Drained } else { Up::Eof }).await,
                Ok(count) => {
                    let sent = frames.data(count, drain).await;
                    if sent.is_ok() {
                        meter.add_sent(count);
                    }
                    sent
                }
                Err(error) => return frames.close(Up::LocalFailed(error)).await,
            },
            () = sleep_until(deadline.unwrap_or_else(Instant::now)), if deadline.is_some() => {
                return frames.close(Up::Drained).await;
            }
        };
        if let Err(error) = step {
            return Up::RemoteFailed(error);
        }
    }
}

/// Frames → local side.
async fn down<S, W>(
    mut remote: Source<S>,
    mut local: W,
    early: &[u8],
    link: &Link,
    half_close: bool,
    meter: &Meter,
) -> Down
where
    S: AsyncRead + Unpin,
    W: AsyncWrite + Unpin,
{
    let mut buffer = Buffer::new(INCOMING.max(early.len()));
    buffer[..early.len()].copy_from_slice(early);
    let (mut start, mut end) = (0, early.len());
    let mut decoder = Decoder::default();
    link.heard(Some(Instant::now()));
    loop {
        while let Some((used, piece)) = match decoder.next(&buffer[start..end]) {
            Ok((0, None)) => None,
            Ok(step) => Some(step),
            Err(violation) => return Down::Violation(violation.0),
        } {
            let input = &buffer[start..end];
            match piece {
                Some(Piece::Data(range)) => {
                    link.heard(None);
                    let count = range.len();
                    if let Err(error) = local.write_all(&input[range]).await {
                        return Down::LocalFailed(error);
                    }
                    meter.add_received(count);
                    link.heard(Some(Instant::now()));
                }
                Some(Piece::Ping(range)) => link.order(|orders| orders.pong = Some(input[range].to_vec())),
                Some(Piece::Close(code, reason)) => {
                    let close = Close { code, reason: String::from_utf8_lossy(&input[reason]).into_owned() };
                    return closed(half_close.then_some(&mut local), close, link).await;
                }
                Some(Piece::Pong) | None => {}
            }
            start += used;
        }
        if let Err(error) = local.flush().await {
            return Down::LocalFailed(error);
        }
        // At most an unfinished header or control frame is left.
        buffer.copy_within(start..end, 0);
        (start, end) = (0, end - start);
        match read_or_linger(&mut remote, &mut buffer[end..], link).await {
            ControlFlow::Continue(Ok(0)) => {
                return closed(
                    half_close.then_some(&mut local),
                    Close { code: None, reason: String::new() },
                    link,
                )
                .await;
            }
            ControlFlow::Continue(Ok(count)) => end += count,
            ControlFlow::Continue(Err(error)) => return Down::RemoteFailed(error),
            ControlFlow::Break(()) => return Down::Lingered,
        }
        link.heard(Some(Instant::now()));
    }
}

async fn closed(local: Option<&mut (impl AsyncWrite + Unpin)>, close: Close, link: &Link) -> Down {
    link.heard(None);
    let Some(local) = local else { return Down::Closed(close) };
    match local.shutdown().await {
        Err(error) if error.kind() != io::ErrorKind::NotConnected => Down::LocalFailed(error),
        _ => Down::Closed(close),
    }
}

/// Reads from the peer; once the upward pump has ended, only for as long as the peer may be silent.
async fn read_or_linger<S: AsyncRead + Unpin>(
    remote: &mut Source<S>,
    room: &mut [u8],
    link: &Link,
) -> ControlFlow<(), io::Result<usize>> {
    let patience = link.lock().linger;
    let patience = match patience {
        Some(patience) => patience,
        None => tokio::select! {
            biased;
            count = remote.fill(room) => return ControlFlow::Continue(count),
            () = link.upward_ended.notified() => link.lock().linger.unwrap_or_default(),
        },
    };
    match timeout(patience, remote.fill(room)).await {
        Ok(count) => ControlFlow::Continue(count),
        Err(_elapsed) => ControlFlow::Break(()),
    }
}

/// Resolves once the peer is dead: pinged after `keepalive` of silence, given up before two of them.
async fn silence(link: &Link, keepalive: Duration) -> Duration {
    if keepalive.is_zero() {
        return std::future::pending().await;
    }
    let patience = keepalive * 7 / 4;
    let mut pinged = None;
    loop {
        let heard = link.lock().heard;
        let now = Instant::now();
        let Some(heard) = heard else {
            // Nobody listens while the local side is stalled: silence means nothing then.
            sleep_until(now + keepalive / 4).await;
            continue;
        };
        if now >= heard + patience && pinged == Some(heard) {
            return now - heard;
        }
        if now >= heard + keepalive && pinged != Some(heard) {
            pinged = Some(heard);
            link.order(|orders| orders.ping = true);
        }
        let next = if pinged == Some(heard) {
            (heard + patience).max(now + keepalive / 8)
        } else {
            heard + keepalive
        };
        sleep_until(next).await;
    }
}

/// The writing half of a WebSocket.
struct Frames<S> {
    remote: S,
    buffer: Buffer,
    keys: Keys,
}

impl<S: AsyncWrite + Unpin> Frames<S> {
    fn new(remote: S) -> Self {
        Self { remote, buffer: Buffer::new(FRAME), keys: Keys::new() }
    }

    /// Where the next payload is read into.
    fn room(&mut self) -> &mut [u8] {
        &mut self.buffer[PAYLOAD..]
    }

    /// Sends the first `count` bytes of the room, within `patience` if there is a limit to it.
    async fn data(&mut self, count: usize, patience: Option<Duration>) -> io::Result<()> {
        let sending = self.send(Opcode::Binary, count);
        match patience {
            None => sending.await,
            Some(patience) => timeout(patience.max(HANGUP), sending).await?,
        }
    }

    async fn control(&mut self, ping: bool, pong: Option<&[u8]>) -> io::Result<()> {
        if let Some(payload) = pong {
            self.buffer[PAYLOAD..][..payload.len()].copy_from_slice(payload);
            self.send(Opcode::Pong, payload.len()).await?;
        }
        if ping {
            self.send(Opcode::Ping, 0).await?;
        }
        Ok(())
    }

    /// Says that nothing more comes, and returns why.
    async fn close(&mut self, why: Up) -> Up {
        self.buffer[PAYLOAD..][..2].copy_from_slice(&1000u16.to_be_bytes());
        match self.send(Opcode::Close, 2).await {
            Ok(()) => why,
            Err(error) => Up::RemoteFailed(error),
        }
    }

    async fn send(&mut self, opcode: Opcode, count: usize) -> io::Result<()> {
        let frame = seal(&mut self.buffer, PAYLOAD..PAYLOAD + count, opcode, self.keys.next());
        self.remote.write_all(&self.buffer[frame]).await?;
        // TLS keeps what the socket did not take at once.
        self.remote.flush().await
    }
}

/// Masking keys, drawn from the system a page at a time.
struct Keys {
    pool: [[u8; 4]; 256],
    used: usize,
}

impl Keys {
    fn new() -> Self {
        Self { pool: [[0; 4]; 256], used: 256 }
    }

    fn next(&mut self) -> [u8; 4] {
        if self.used == self.pool.len() {
            // Without the system's randomness TLS could not have been set up either.
            getrandom::fill(self.pool.as_flattened_mut()).expect("the system has randomness");
            self.used = 0;
        }
        self.used += 1;
        self.pool[self.used - 1]
    }
}

/// A reader that takes all that is there.
struct Source<R> {
    reader: R,
    /// An error that came behind bytes: it is told with the next call.
    failed: Option<io::Error>,
}

impl<R: AsyncRead + Unpin> Source<R> {
    fn new(reader: R) -> Self {
        Self { reader, failed: None }
    }

    /// Fills `room` with what is there without waiting, at least one byte; 0 is EOF.
    ///
    /// Cancel-safe: bytes are taken only in the poll that returns them.
    async fn fill(&mut self, room: &mut [u8]) -> io::Result<usize> {
        if let Some(error) = self.failed.take() {
            return Err(error);
        }
        poll_fn(|cx| {
            let mut buffer = ReadBuf::new(room);
            loop {
                let before = buffer.filled().len();
                let full = buffer.remaining() == 0;
                match if full { Poll::Pending } else { Pin::new(&mut self.reader).poll_read(cx, &mut buffer) }
                {
                    Poll::Pending if before == 0 => return Poll::Pending,
                    Poll::Pending => return Poll::Ready(Ok(before)),
                    Poll::Ready(Ok(())) if buffer.filled().len() == before => return Poll::Ready(Ok(before)),
                    Poll::Ready(Ok(())) => {}
                    Poll::Ready(Err(error)) if before == 0 => return Poll::Ready(Err(error)),
                    Poll::Ready(Err(error)) => {
                        self.failed = Some(error);
                        return Poll::Ready(Ok(before));
                    }
                }
            }
        })
        .await
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::future::pending;

    use tokio::io::{AsyncReadExt, DuplexStream, duplex};
    use tokio_tungstenite::WebSocketStream;
    use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
    use tokio_tungstenite::tungstenite::protocol::{CloseFrame, Role};
    use tokio_tungstenite::tungstenite::{Bytes, Message};

    const PATIENT: Settings = Settings {
        keepalive: Duration::from_secs(30),
        linger: Duration::from_secs(10),
        drain: Duration::from_secs(5),
        half_close: true,
    };

    /// What a test holds: the far end of the local side, and a reference WebSocket on the gateway's side.
    struct Ends {
        local: DuplexStream,
        gateway: WebSocketStream<DuplexStream>,
        bridge: tokio::task::JoinHandle<(End, u64, u64)>,
        hangup: tokio::sync::oneshot::Sender<()>,
    }

    async fn ends(pipe: usize, settings: Settings, early: &'static [u8]) -> Ends {
        let (local, inner) = duplex(pipe);
        let (remote, wire) = duplex(pipe);
        let gateway = WebSocketStream::from_raw_socket(wire, Role::Server, None).await;
        let (hangup, hung_up) = tokio::sync::oneshot::channel::<()>();
        let bridge = tokio::spawn(async move {
            let meter = Meter::default();
            let asked = async {
                if hung_up.await.is_err() {
                    pending::<()>().await;
                }
            };
            let end = bridge(tokio::io::split(inner), remote, early, &settings, &meter, asked).await;
            (end, meter.sent(), meter.received())
        });
        Ends { local, gateway, bridge, hangup }
    }

    fn noise(length: usize) -> Vec<u8> {
        (0u32..).map(|i| (i.wrapping_mul(2_654_435_761) >> 13).to_le_bytes()[0]).take(length).collect()
    }

    /// Reads messages to the end, checks what a gateway would cut, and answers pings and close as tungstenite does.
    async fn receive(gateway: &mut WebSocketStream<DuplexStream>) -> (Vec<u8>, Option<CloseFrame>) {
        use futures_util::StreamExt;
        let (mut data, mut close) = (Vec::new(), None);
        while let Some(Ok(message)) = gateway.next().await {
            match message {
                Message::Binary(bytes) => {
                    assert!(bytes.len() <= super::super::MAX_PAYLOAD, "{} bytes in a frame", bytes.len());
                    data.extend_from_slice(&bytes);
                }
                Message::Close(frame) => close = frame,
                Message::Text(_) => panic!("a text frame"),
                _ => {}
            }
        }
        (data, close)
    }

    async fn send(gateway: &mut WebSocketStream<DuplexStream>, messages: impl IntoIterator<Item = Message>) {
        use futures_util::SinkExt;
        for message in messages {
            gateway.send(message).await.unwrap();
        }
    }

    #[tokio::test]
    async fn local_eof_closes_and_still_delivers_what_comes() {
        for pipe in [1, 8, 65_536] {
            let Ends { local, mut gateway, bridge, .. } = ends(pipe, PATIENT, b"").await;
            let (mut read, mut write) = tokio::io::split(local);
            let size = if pipe == 1 { 20_000 } else { 300_000 };
            let up = async {
                write.write_all(&noise(size)).await.unwrap();
                write.shutdown().await.unwrap();
            };
            let far = async {
                use futures_util::StreamExt;
                let mut data = Vec::new();
                while let Some(Ok(message)) = gateway.next().await {
                    match message {
                        Message::Binary(bytes) => data.extend_from_slice(&bytes),
                        Message::Close(_) => break,
                        _ => {}
                    }
                }
                // The Close has been seen, and only now comes the answer: raw frames, for tungstenite sends no more.
                let wire = gateway.get_mut();
                wire.write_all(&[0x82, 126, 0x03, 0xe8]).await.unwrap();
                wire.write_all(&noise(1000)).await.unwrap();
                wire.write_all(&[0x88, 0]).await.unwrap();
                data
            };
            let down = async {
                let mut answer = Vec::new();
                read.read_to_end(&mut answer).await.unwrap();
                answer
            };
            let ((), sent, answer) = tokio::join!(up, far, down);
            assert!(sent == noise(size) && answer == noise(1000), "pipe {pipe}");
            let (end, sent, received) = bridge.await.unwrap();
            assert!(matches!(end, End::Local), "{end:?}");
            assert_eq!((sent, received), (size as u64, 1000));
        }
    }

    #[tokio::test]
    async fn peers_close_ends_after_the_last_byte_and_the_local_side_may_finish() {
        for pipe in [1, 8, 65_536] {
            let Ends { local, mut gateway, bridge, .. } = ends(pipe, PATIENT, b"").await;
            let (mut read, mut write) = tokio::io::split(local);
            let far = async {
                let payload = Bytes::from(noise(20_000));
                send(
                    &mut gateway,
                    [
                        Message::Ping(Bytes::from_static(b"are you there")),
                        Message::Binary(Bytes::new()),
                        Message::Binary(payload),
                        Message::text("text is bytes"),
                        Message::Close(Some(CloseFrame { code: CloseCode::Normal, reason: "".into() })),
                    ],
                )
                .await;
                receive(&mut gateway).await
            };
            let near = async {
                let mut data = Vec::new();
                read.read_to_end(&mut data).await.unwrap();
                // The stream's end has been seen; what is written now still goes out.
                write.write_all(b"last words").await.unwrap();
                write.shutdown().await.unwrap();
                data
            };
            let ((sent, close), data) = tokio::join!(far, near);
            assert_eq!(sent, b"last words", "pipe {pipe}");
            assert!(close.is_none_or(|close| close.code == CloseCode::Normal));
            assert_eq!(data, [&noise(20_000)[..], b"text is bytes"].concat());
            let (end, ..) = bridge.await.unwrap();
            assert!(matches!(&end, End::Peer(close) if close.is_normal()), "{end:?}");
        }
    }

    #[tokio::test]
    async fn pings_amid_data_are_answered_and_messages_may_be_large() {
        let Ends { local, mut gateway, bridge, .. } = ends(65_536, PATIENT, b"").await;
        let (mut read, mut write) = tokio::io::split(local);
        const LARGE: usize = 16 * 1024 * 1024;
        let down = async {
            let mut data = vec![0; LARGE];
            read.read_exact(&mut data).await.unwrap();
            data
        };
        let far = async {
            use futures_util::{SinkExt, StreamExt};
            let (mut sink, mut stream) = (&mut gateway).split();
            let out = async {
                sink.send(Message::Ping(Bytes::from_static(b"1"))).await.unwrap();
                sink.send(Message::Binary(noise(LARGE).into())).await.unwrap();
                sink.send(Message::Ping(Bytes::from_static(b"2"))).await.unwrap();
            };
            let back = async {
                let (mut data, mut pongs) = (0, Vec::new());
                while data < 1_000_000 || pongs.last().is_none_or(|last| last != "2") {
                    match stream.next().await.unwrap().unwrap() {
                        Message::Binary(bytes) => data += bytes.len(),
                        Message::Pong(payload) => pongs.push(String::from_utf8(payload.to_vec()).unwrap()),
                        other => panic!("{other:?}"),
                    }
                }
            };
            tokio::join!(out, back);
        };
        let up = async { write.write_all(&noise(1_000_000)).await.unwrap() };
        let (data, (), ()) = tokio::join!(down, far, up);
        assert!(data == noise(LARGE));
        drop((read, write));
        receive(&mut gateway).await;
        let (end, ..) = bridge.await.unwrap();
        assert!(matches!(end, End::Local), "{end:?}");
    }

    #[tokio::test]
    async fn bytes_that_came_with_the_upgrade_are_first() {
        let Ends { mut local, mut gateway, .. } = ends(8, PATIENT, b"\x82\x05early\x82\x04 b").await;
        gateway.get_mut().write_all(b"ird").await.unwrap();
        let mut data = [0; 9];
        local.read_exact(&mut data).await.unwrap();
        assert_eq!(&data, b"early bir");
    }

    #[tokio::test]
    async fn an_end_without_close_is_told_from_a_violation() {
        let Ends { local, gateway, bridge, .. } = ends(64, PATIENT, b"").await;
        let (_keep_open, mut write) = tokio::io::split(local);
        drop(gateway);
        write.shutdown().await.unwrap();
        let (end, ..) = bridge.await.unwrap();
        assert!(matches!(&end, End::Peer(close) if close.code.is_none()), "{end:?}");

        let Ends { local, mut gateway, bridge, .. } = ends(64, PATIENT, b"").await;
        gateway.get_mut().write_all(b"HTTP/1.1 400").await.unwrap();
        assert!(matches!(bridge.await.unwrap().0, End::Violation(_)));
        drop(local);
    }

    #[tokio::test]
    async fn a_gone_reader_ends_the_stream_with_a_close() {
        let Ends { local, mut gateway, bridge, .. } = ends(64, PATIENT, b"").await;
        drop(local);
        let (_, close) = receive(&mut gateway).await;
        assert!(close.is_some_and(|close| close.code == CloseCode::Normal));
        assert!(matches!(bridge.await.unwrap().0, End::Local));
    }

    #[tokio::test]
    async fn a_stalled_reader_stops_the_sender() {
        let Ends { local, gateway, .. } = ends(64, PATIENT, b"").await;
        let mut wire = gateway.into_inner();
        let header = [0x82, 127, 0, 0, 0, 0, 1, 0, 0, 0];
        wire.write_all(&header).await.unwrap();
        let mut taken = 0usize;
        // Nobody reads the local side: what the wire takes is bounded by the buffers on the way.
        while let Ok(written) = timeout(Duration::from_millis(200), wire.write(&[7; 1024])).await {
            taken += written.unwrap();
            assert!(taken < 2 * INCOMING, "{taken} bytes taken for a reader that does not read");
        }
        assert!(taken > 0);
        drop(local);
    }

    #[tokio::test(start_paused = true)]
    async fn silence_is_pinged_and_then_is_death() {
        let settings = Settings { keepalive: Duration::from_secs(4), ..PATIENT };
        let Ends { local, gateway, bridge, .. } = ends(64, settings, b"").await;
        let mut wire = gateway.into_inner();
        let begin = Instant::now();
        let mut ping = [0; 6];
        wire.read_exact(&mut ping).await.unwrap();
        assert_eq!((ping[0], ping[1]), (0x89, 0x80));
        assert_eq!(begin.elapsed().as_secs(), 4);
        // Any byte is life, a pong's as well.
        wire.write_all(&[0x8a, 0]).await.unwrap();
        wire.read_exact(&mut ping).await.unwrap();
        assert_eq!(begin.elapsed().as_secs(), 8);
        let (end, ..) = bridge.await.unwrap();
        assert!(matches!(end, End::Silent(after) if after < Duration::from_secs(8)), "{end:?}");
        assert!(begin.elapsed() < Duration::from_secs(12));
        drop(local);
    }

    #[tokio::test(start_paused = true)]
    async fn lingering_and_draining_are_bounded() {
        // The peer never answers our close.
        let Ends { local, gateway, bridge, .. } = ends(64, PATIENT, b"").await;
        let begin = Instant::now();
        let (_read, mut write) = tokio::io::split(local);
        write.shutdown().await.unwrap();
        assert!(matches!(bridge.await.unwrap().0, End::Local));
        assert_eq!(begin.elapsed().as_secs(), 10);
        drop(gateway);

        // The local side never ends after the peer's close.
        let Ends { local, mut gateway, bridge, .. } = ends(64, PATIENT, b"").await;
        let begin = Instant::now();
        send(&mut gateway, [Message::Close(None)]).await;
        let (_, close) = receive(&mut gateway).await;
        assert!(close.is_some_and(|close| close.code == CloseCode::Normal));
        assert!(matches!(bridge.await.unwrap().0, End::Peer(_)));
        assert_eq!(begin.elapsed().as_secs(), 5);
        drop(local);
    }

    #[tokio::test(start_paused = true)]
    async fn a_hang_up_sends_what_is_there_and_ends_within_a_second() {
        let Ends { mut local, gateway, bridge, hangup } = ends(65_536, PATIENT, b"").await;
        let begin = Instant::now();
        local.write_all(b"goodbye").await.unwrap();
        hangup.send(()).unwrap();
        let mut wire = gateway.into_inner();
        let far = async {
            let mut bytes = Vec::new();
            wire.read_to_end(&mut bytes).await.unwrap();
            bytes
        };
        let (bytes, end) = tokio::join!(far, bridge);
        assert!(matches!(end.unwrap(), (End::HungUp, 7, 0)));
        assert!(begin.elapsed() < Duration::from_secs(1), "{:?}", begin.elapsed());
        // One frame of seven bytes, and the close.
        assert_eq!(bytes.len(), (6 + 7) + (6 + 2));
        assert_eq!((bytes[0], bytes[13]), (0x82, 0x88));
    }
}
