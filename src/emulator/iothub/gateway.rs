//! The relay of the streaming gateway: one side of a stream, from its upgrade to its end.
//!
//! How the service ends a stream is known only in part: the other side is ended too [D], and one that was left was
//! seen to get 1011 `WS disconnected` [I]. Beyond that we choose the gentlest. What a side sent before its end is
//! delivered first. Its Close is passed on as it is, and what the other side sends is delivered until that one closes
//! too: however long it takes, as long as both connections live. A connection that ends ends the other one. A user's
//! side may take what is left when it likes; a device's that takes nothing while its user is gone is cut off, for it
//! would hold a session that nobody has.

use std::future::pending;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use hyper::body::Incoming;
use hyper::header::AUTHORIZATION;
use hyper::{Request, StatusCode};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadHalf, WriteHalf};
use tokio::sync::Notify;
use tokio::task::yield_now;
use tokio::time::{Instant, sleep, timeout};
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;

use super::hub::Hub;
use super::sessions::{Cut, Ends, NotJoined, Role};
use crate::emulator::faults::GatewayFault;
use crate::emulator::pipe::{Content, Receiver, Sender};
use crate::emulator::server::{Linger, Reply, empty};
use crate::emulator::websocket::frames::{
    Broken, Frame, FrameReader, write_close, write_data, write_ping, write_pong,
};
use crate::emulator::websocket::handshake::{self, Refused};

/// The largest frame the service takes: more was seen to cut the connection [S][I].
pub(super) const MAX_FRAME: usize = 65_536;

/// How long the end of a side's connection may take once the stream is over, and what it sends then is read, so that
/// no reset overtakes what it was sent.
const LINGER: Duration = Duration::from_secs(1);
/// How long a device may take nothing once its user's connection is gone.
const STALL: Duration = Duration::from_secs(2);
/// How often a side is pinged while it is not read from: that its program has died cannot be seen otherwise, since the
/// end of its connection waits behind its data.
const PROBE: Duration = Duration::from_millis(500);
/// Frames are gathered up to here before they are written.
const BATCH: usize = 128 << 10;
/// Frames that are read before others have their turn.
const TURN: u32 = 64;
/// Frames without data: how many are read before a pause, so that a flood of them takes no core.
const SPARE_FRAMES: u32 = 1024;
const PAUSE: Duration = Duration::from_millis(20);
/// Empty messages that are passed on within a second; more tell the receiver nothing new.
const EMPTY_MESSAGES: u32 = 1024;

/// What a side's reader tells the same side's writer.
#[derive(Debug, Default)]
struct Notices {
    state: Mutex<Notice>,
    changed: Notify,
}

#[derive(Clone, Debug, Default)]
struct Notice {
    /// The latest Ping: only that needs an answer (RFC 6455, 5.5.3), so a sender of many takes no memory.
    ping: Option<Bytes>,
    /// The side is to be pinged.
    probe: bool,
    /// The side closed its WebSocket.
    closed: bool,
    /// The side broke a rule, and is to be told with this code.
    broken: Option<CloseCode>,
}

impl Notices {
    fn lock(&self) -> MutexGuard<'_, Notice> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn tell(&self, change: impl FnOnce(&mut Notice)) {
        change(&mut self.lock());
        self.changed.notify_one();
    }

    /// What is to be done now; a Ping is answered once.
    fn take(&self) -> Notice {
        let mut state = self.lock();
        let taken = state.clone();
        state.ping = None;
        state.probe = false;
        taken
    }

    async fn closed(&self) {
        while !self.lock().closed {
            self.changed.notified().await;
        }
    }
}

impl Hub {
    /// Answers a side that joins a stream, and relays for it.
    pub(super) async fn gateway(self: Arc<Self>, request: &Request<Incoming>) -> Result<Reply, Refused> {
        match self.faults.gateway.take() {
            None => {}
            Some(GatewayFault::Status(status)) => return Ok(empty(status).into()),
            Some(GatewayFault::NoUpgrade) => return Ok(empty(StatusCode::OK).into()),
            Some(GatewayFault::Silent) => pending().await,
        }
        // No subprotocol is answered, whatever was offered: all known clients accept that [S][M].
        let answer = handshake::accept(request)?;
        let authorization = request.headers().get(AUTHORIZATION).and_then(|value| value.to_str().ok());
        let token = authorization.and_then(|value| {
            let (scheme, token) = value.split_once(' ')?;
            scheme.eq_ignore_ascii_case("bearer").then_some(token.trim())
        });
        let joined = self.sessions.join(request.uri().path(), token, self.faults.clock.now());
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
        let max_frame = self.max_frame();
        Ok(Reply::upgrade(answer, move |io| async move {
            let left = relay(io, ends, max_frame).await;
            drop(place);
            if let Some((io, linger)) = left {
                io.end(linger).await;
            }
        }))
    }
}

/// Relays for one side until the stream ends. Bytes that come before the other side joined are kept, up to what the
/// pipe holds; then this side is not read from.
///
/// Gives back a connection that has not ended, and how long it may linger.
pub(super) async fn relay<S: AsyncRead + AsyncWrite + Unpin>(
    io: S,
    ends: Ends,
    max_frame: usize,
) -> Option<(S, Linger)> {
    let Ends { name, role, to_peer, from_peer, cut } = ends;
    let (reader, mut writer) = tokio::io::split(io);
    let mut frames = FrameReader::new(reader, max_frame);
    let notices = Notices::default();
    let end = {
        let reading = receive(&mut frames, &to_peer, &notices, &name);
        let writing = deliver(&mut writer, role, from_peer, &to_peer, &notices, &cut);
        tokio::pin!(reading, writing);
        let relaying = async {
            let delivered = tokio::select! {
                received = &mut reading => match received {
                    Received::Gone => return End::Gone,
                    Received::Broken => timeout(LINGER, &mut writing).await.unwrap_or(Delivered::Stalled),
                },
                delivered = &mut writing => delivered,
            };
            match delivered {
                Delivered::Stalled => End::Stalled,
                Delivered::End => End::Told,
                // What this side sends is wanted until its own Close, and while there is somebody to read it.
                Delivered::Close(from_peer) => {
                    let end = tokio::select! {
                        _ = &mut reading => End::Gone,
                        () = notices.closed() => End::Told,
                        () = to_peer.gone() => {
                            log::info!("{name} is ended: its peer's connection has ended");
                            End::Told
                        }
                    };
                    if notices.lock().closed {
                        // Both have said all they had to say.
                        from_peer.finish();
                        if matches!(end, End::Told) { End::Finished } else { end }
                    } else {
                        end
                    }
                }
                // What it sent before is still there to be read.
                Delivered::Failed => {
                    reading.await;
                    End::Gone
                }
            }
        };
        tokio::select! {
            // First, for the other side's end comes with it and must not be told.
            biased;
            () = cut.fired() => {
                log::info!("{name} is cut off, as --inject cut= asks");
                End::Gone
            }
            end = relaying => end,
        }
    };
    // The peer learns of the end before this side's connection has ended.
    drop(to_peer);
    match end {
        End::Gone => None,
        End::Told | End::Finished => {
            let _ = timeout(LINGER, writer.shutdown()).await;
            if timeout(LINGER, discard(frames.get_mut())).await.is_ok() {
                return None;
            }
            let io = frames.into_inner().unsplit(writer);
            let waits = role == Role::Service || matches!(end, End::Finished);
            Some((io, if waits { Linger::UntilTaken } else { Linger::WhileTaking(STALL) }))
        }
        End::Stalled => {
            log::info!("{name} is cut off: it does not read, and its peer is gone");
            Some((frames.into_inner().unsplit(writer), Linger::Reset))
        }
    }
}

/// How this side's part ends.
enum End {
    /// Its connection has ended, or is cut.
    Gone,
    /// It was sent a Close, and no more is to come.
    Told,
    /// The same, and it has sent its own.
    Finished,
    Stalled,
}

enum Received {
    /// The connection has ended.
    Gone,
    Broken,
}

enum Delivered {
    /// The peer's Close. The pipe is kept: without it, the peer would take this side for gone.
    Close(Receiver),
    /// A Close of the gateway's.
    End,
    Failed,
    Stalled,
}

/// Reads a side's frames into the pipe to its peer, until its connection ends. Without a peer they are thrown away.
async fn receive<S: AsyncRead + AsyncWrite>(
    frames: &mut FrameReader<ReadHalf<S>>,
    to_peer: &Sender,
    notices: &Notices,
    name: &str,
) -> Received {
    let mut turn = 0_u32;
    let mut spare = 0_u32;
    let mut second = Instant::now();
    let mut empty_messages = 0;
    loop {
        let frame = match frames.next().await {
            Ok(frame) => frame,
            Err(broken) => {
                log::info!("{name} is gone: {broken}");
                let Broken::Protocol(code, _) = broken else { return Received::Gone };
                // Which code the service gives a frame that is too large is not known; 1009 is our choice.
                notices.tell(|notice| notice.broken = Some(code));
                return Received::Broken;
            }
        };
        match frame {
            // A message's borders carry no meaning [S]: text and fragments are bytes like any other. How the service
            // treats them is not known.
            Frame::Data(data) if !data.is_empty() => {
                pass(Content::Data(data), to_peer, notices).await;
                turn += 1;
                if turn.is_multiple_of(TURN) {
                    yield_now().await;
                }
                continue;
            }
            // Some clients send these without end at the end of file [S].
            Frame::EmptyMessage => {
                if second.elapsed() >= Duration::from_secs(1) {
                    second = Instant::now();
                    empty_messages = 0;
                }
                empty_messages += 1;
                if empty_messages <= EMPTY_MESSAGES {
                    pass(Content::Empty, to_peer, notices).await;
                }
            }
            Frame::Ping(payload) => notices.tell(|notice| notice.ping = Some(payload)),
            Frame::Data(_) | Frame::Pong => {}
            Frame::Close(said) => {
                // Without a code it says no more than 1000 does.
                let (code, reason) = said.unwrap_or((CloseCode::Normal, String::new()));
                log::info!("{name} closes with {code} {reason:?}");
                pass(Content::Close(code, reason), to_peer, notices).await;
                // Whoever waits for this ends the stream, and with it what has not been passed on.
                notices.tell(|notice| notice.closed = true);
                discard(frames.get_mut()).await;
                log::info!("{name} is gone: its connection ended after its Close");
                return Received::Gone;
            }
        }
        spare += 1;
        if spare.is_multiple_of(SPARE_FRAMES) {
            sleep(PAUSE).await;
        } else if spare.is_multiple_of(TURN) {
            yield_now().await;
        }
    }
}

/// Sends to the peer; while that has no room, this side is pinged.
async fn pass(content: Content, to_peer: &Sender, notices: &Notices) {
    let sending = to_peer.send(content);
    tokio::pin!(sending);
    loop {
        tokio::select! {
            biased;
            _ = &mut sending => return,
            () = sleep(PROBE) => notices.tell(|notice| notice.probe = true),
        }
    }
}

/// Writes what the peer sent, and pongs, until the peer's end or this side's fault.
async fn deliver<S: AsyncRead + AsyncWrite>(
    writer: &mut WriteHalf<S>,
    role: Role,
    mut from_peer: Receiver,
    to_peer: &Sender,
    notices: &Notices,
    cut: &Cut,
) -> Delivered {
    let mut out = Vec::with_capacity(BATCH + MAX_FRAME);
    loop {
        let mut content = tokio::select! {
            content = from_peer.next() => Some(content),
            () = notices.changed.notified() => from_peer.ready().map(Some),
        };
        let (mut ended, mut closed) = (None, false);
        let Notice { ping, probe, broken, .. } = notices.take();
        if let Some(code) = broken {
            write_close(code, "", &mut out);
            ended = Some(Delivered::End);
            content = None;
        } else if let Some(ping) = ping {
            write_pong(&ping, &mut out);
        } else if probe {
            write_ping(&mut out);
        }
        while let Some(next) = content {
            match next {
                Some(Content::Data(data)) => {
                    let allowed = cut.take(data.len());
                    if allowed > 0 {
                        write_data(&data[..allowed], &mut out);
                    }
                }
                Some(Content::Empty) => write_data(&[], &mut out),
                Some(Content::Close(code, reason)) => {
                    write_close(code, &reason, &mut out);
                    closed = true;
                }
                None => {
                    write_close(CloseCode::Error, "WS disconnected", &mut out);
                    ended = Some(Delivered::End);
                }
            }
            if closed || ended.is_some() || cut.is_due() || out.len() >= BATCH {
                break;
            }
            content = from_peer.ready().map(Some);
        }
        if let Err(failed) = write_out(writer, role, &mut out, to_peer).await {
            return failed;
        }
        if cut.is_due() {
            cut.fire();
            std::future::pending::<()>().await;
        }
        if closed {
            return Delivered::Close(from_peer);
        }
        if let Some(ended) = ended {
            return ended;
        }
    }
}

/// Writes all of `out`. Once its user is gone, a device is given up when it takes nothing for a while.
async fn write_out<S: AsyncRead + AsyncWrite>(
    writer: &mut WriteHalf<S>,
    role: Role,
    out: &mut Vec<u8>,
    to_peer: &Sender,
) -> Result<(), Delivered> {
    let stalled = async || {
        if role == Role::Service {
            std::future::pending::<()>().await;
        }
        to_peer.gone().await;
        sleep(STALL).await;
    };
    let mut rest = &out[..];
    while !rest.is_empty() {
        tokio::select! {
            biased;
            written = writer.write(rest) => match written {
                Ok(count @ 1..) => rest = &rest[count..],
                _ => return Err(Delivered::Failed),
            },
            () = stalled() => return Err(Delivered::Stalled),
        }
    }
    out.clear();
    tokio::select! {
        biased;
        flushed = writer.flush() => flushed.map_err(|_| Delivered::Failed),
        () = stalled() => Err(Delivered::Stalled),
    }
}

async fn discard(io: &mut (impl AsyncRead + Unpin)) {
    let mut block = [0; 4096];
    while io.read(&mut block).await.is_ok_and(|count| count > 0) {}
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use tokio::io::DuplexStream;
    use tokio::task::JoinHandle;

    use super::super::sessions::Sessions;
    use super::*;
    use crate::backend::iothub::proto::Identity;

    /// "abc", Close, an empty message and a Ping, masked with zeros.
    const DATA: [u8; 9] = [0x82, 0x83, 0, 0, 0, 0, b'a', b'b', b'c'];
    const CLOSE: [u8; 6] = [0x88, 0x80, 0, 0, 0, 0];
    const EMPTY: [u8; 6] = [0x82, 0x80, 0, 0, 0, 0];
    const PING: [u8; 6] = [0x89, 0x80, 0, 0, 0, 0];
    /// What a server writes for them.
    const DATA_OUT: [u8; 5] = [0x82, 3, b'a', b'b', b'c'];
    const CLOSE_OUT: [u8; 4] = [0x88, 2, 0x03, 0xe8];
    const LOST_OUT: &[u8] = b"\x88\x11\x03\xf3WS disconnected";
    const PING_OUT: [u8; 2] = [0x89, 0];
    const PONG_OUT: [u8; 2] = [0x8a, 0];
    const LONG: Duration = Duration::from_secs(3600);

    type Task = JoinHandle<Option<Linger>>;

    fn sides() -> [(DuplexStream, Task); 2] {
        let sessions = Sessions::new().unwrap();
        let opened = sessions.open(Duration::ZERO, MAX_FRAME, None).unwrap();
        let identity = Identity::new("d", None).unwrap();
        let join = |role| {
            let token = sessions.token(&opened.id, role, SystemTime::now()).unwrap();
            let path = Sessions::path("h", &identity, &opened.id, role);
            let (ends, place) =
                Arc::clone(&sessions).join(&path, Some(token.expose()), SystemTime::now()).unwrap();
            let (near, far) = tokio::io::duplex(1 << 20);
            let task = tokio::spawn(async move {
                let linger = relay(near, ends, MAX_FRAME).await.map(|(_, linger)| linger);
                drop(place);
                linger
            });
            (far, task)
        };
        let sides = [join(Role::Service), join(Role::Device)];
        opened.accept();
        sides
    }

    async fn expect(side: &mut DuplexStream, bytes: &[u8]) {
        let mut got = vec![0; bytes.len()];
        timeout(LONG, side.read_exact(&mut got)).await.expect("nothing comes").unwrap();
        assert_eq!(got, bytes);
    }

    async fn expect_end(side: &mut DuplexStream) {
        let mut rest = Vec::new();
        timeout(LONG, side.read_to_end(&mut rest)).await.expect("it does not end").unwrap();
        assert_eq!(rest, b"");
    }

    /// Sends more than the peer's connection takes, and less than that and the pipe; gives back what the peer gets.
    async fn fill(side: &mut DuplexStream) -> Vec<u8> {
        let block = [&[0x82, 0xfe, 0xff, 0xff, 0, 0, 0, 0][..], &vec![7; 65_535]].concat();
        let read = [&[0x82, 0x7e, 0xff, 0xff][..], &vec![7; 65_535]].concat();
        for _ in 0..18 {
            side.write_all(&block).await.unwrap();
        }
        read.repeat(18)
    }

    #[tokio::test(start_paused = true)]
    async fn an_answer_may_take_its_time_after_a_close() {
        let [(mut service, serving), (mut device, _)] = sides();
        service.write_all(&[&DATA[..], &CLOSE].concat()).await.unwrap();
        expect(&mut device, &DATA_OUT).await;
        expect(&mut device, &CLOSE_OUT).await;
        for _ in 0..3 {
            sleep(LONG).await;
            device.write_all(&DATA).await.unwrap();
            expect(&mut service, &DATA_OUT).await;
        }
        device.write_all(&CLOSE).await.unwrap();
        expect(&mut service, &CLOSE_OUT).await;
        expect_end(&mut service).await;
        expect_end(&mut device).await;
        assert_ne!(serving.await.unwrap(), Some(Linger::Reset));
    }

    #[tokio::test(start_paused = true)]
    async fn a_reader_may_take_its_time() {
        let [(mut service, serving), (mut device, _)] = sides();
        let sent = fill(&mut service).await;
        service.write_all(&CLOSE).await.unwrap();
        sleep(LONG).await;
        expect(&mut device, &sent).await;
        expect(&mut device, &CLOSE_OUT).await;
        device.write_all(&CLOSE).await.unwrap();
        expect(&mut service, &CLOSE_OUT).await;
        assert_ne!(serving.await.unwrap(), Some(Linger::Reset));
    }

    #[tokio::test(start_paused = true)]
    async fn an_answer_may_be_read_late() {
        let [(mut service, serving), (mut device, _)] = sides();
        service.write_all(&CLOSE).await.unwrap();
        expect(&mut device, &CLOSE_OUT).await;
        let sent = fill(&mut device).await;
        device.write_all(&CLOSE).await.unwrap();
        sleep(LONG).await;
        expect(&mut service, &sent).await;
        expect(&mut service, &CLOSE_OUT).await;
        assert_ne!(serving.await.unwrap(), Some(Linger::Reset));
    }

    #[tokio::test(start_paused = true)]
    async fn an_upload_may_be_read_late_once_both_have_closed() {
        let [(mut service, _), (mut device, serving)] = sides();
        device.write_all(&CLOSE).await.unwrap();
        expect(&mut service, &CLOSE_OUT).await;
        let sent = fill(&mut service).await;
        service.write_all(&CLOSE).await.unwrap();
        drop(service);
        sleep(LONG).await;
        expect(&mut device, &sent).await;
        expect(&mut device, &CLOSE_OUT).await;
        assert_ne!(serving.await.unwrap(), Some(Linger::Reset));
    }

    #[tokio::test(start_paused = true)]
    async fn a_user_may_read_late_what_a_lost_device_sent() {
        let [(mut service, _), (mut device, _)] = sides();
        let sent = fill(&mut device).await;
        drop(device);
        sleep(LONG).await;
        expect(&mut service, &sent).await;
        expect(&mut service, LOST_OUT).await;
    }

    #[tokio::test(start_paused = true)]
    async fn a_reader_that_stalls_does_not_outlive_its_peer() {
        let [(mut service, _), (device, serving)] = sides();
        fill(&mut service).await;
        let start = Instant::now();
        drop(service);
        assert_eq!(serving.await.unwrap(), Some(Linger::Reset));
        assert!(start.elapsed() <= STALL + PROBE, "{:?}", start.elapsed());
        drop(device);
    }

    #[tokio::test(start_paused = true)]
    async fn what_a_lost_side_sent_is_delivered_to_a_slow_reader() {
        let [(mut service, _), (mut device, _)] = sides();
        let sent = fill(&mut service).await;
        drop(service);
        for part in sent.chunks(1 << 16) {
            sleep(Duration::from_secs(1)).await;
            expect(&mut device, part).await;
        }
        expect(&mut device, LOST_OUT).await;
        expect_end(&mut device).await;
    }

    #[tokio::test(start_paused = true)]
    async fn a_side_that_is_not_read_from_is_pinged() {
        let [(mut service, serving), (device, _)] = sides();
        fill(&mut service).await;
        // More than the pipe holds.
        let flood = tokio::spawn(async move {
            for _ in 0..20 {
                expect(&mut service, &PING_OUT).await;
            }
            service
        });
        let [(mut other, _), (_peer, _)] = sides();
        assert!(timeout(PROBE * 3, other.read_u8()).await.is_err(), "an idle side is pinged");
        drop(flood.await);
        drop(device);
        serving.await.unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn a_close_is_passed_on_as_it_is() {
        let [(mut service, _), (mut device, _)] = sides();
        let close = [&[0x88, 0x84, 0, 0, 0, 0][..], b"\x03\xf3no"].concat();
        device.write_all(&[&DATA[..], &close].concat()).await.unwrap();
        expect(&mut service, &DATA_OUT).await;
        expect(&mut service, b"\x88\x04\x03\xf3no").await;
        service.write_all(&CLOSE).await.unwrap();
        expect(&mut device, &CLOSE_OUT).await;
        expect_end(&mut device).await;
    }

    #[tokio::test(start_paused = true)]
    async fn an_end_after_a_close_ends_the_peer() {
        let [(mut service, _), (mut device, serving)] = sides();
        service.write_all(&[&DATA[..], &CLOSE].concat()).await.unwrap();
        expect(&mut device, &[&DATA_OUT[..], &CLOSE_OUT].concat()).await;
        device.write_all(&DATA).await.unwrap();
        expect(&mut service, &DATA_OUT).await;
        let start = Instant::now();
        drop(service);
        expect_end(&mut device).await;
        assert!(start.elapsed() < LINGER);
        assert_eq!(serving.await.unwrap(), Some(Linger::WhileTaking(STALL)));
        assert!(start.elapsed() <= LINGER);
    }

    #[tokio::test(start_paused = true)]
    async fn an_answer_that_breaks_off_is_told_after_a_close() {
        let [(mut service, _), (mut device, _)] = sides();
        service.write_all(&CLOSE).await.unwrap();
        expect(&mut device, &CLOSE_OUT).await;
        device.write_all(&DATA).await.unwrap();
        drop(device);
        expect(&mut service, &DATA_OUT).await;
        expect(&mut service, LOST_OUT).await;
        expect_end(&mut service).await;
    }

    #[tokio::test(start_paused = true)]
    async fn a_violation_is_told_to_both() {
        let [(mut service, serving), (mut device, _)] = sides();
        // A Close with 1006, which nobody may send.
        service.write_all(&[&DATA[..], &[0x88, 0x82, 0, 0, 0, 0, 0x03, 0xee]].concat()).await.unwrap();
        expect(&mut service, &[0x88, 2, 0x03, 0xea]).await;
        expect(&mut device, &DATA_OUT).await;
        expect(&mut device, LOST_OUT).await;
        assert_ne!(serving.await.unwrap(), Some(Linger::Reset));
    }

    #[tokio::test(start_paused = true)]
    async fn empty_messages_are_passed_on_and_a_run_of_them_stays_one() {
        let [(mut service, _), (mut device, _)] = sides();
        service.write_all(&[&EMPTY[..], &DATA, &EMPTY].concat()).await.unwrap();
        expect(&mut device, &[&[0x82, 0][..], &DATA_OUT, &[0x82, 0]].concat()).await;
        sleep(Duration::from_secs(1)).await;
        // Of a flood as much as shows it, and what follows is not late.
        let start = Instant::now();
        let run = EMPTY.repeat(10_000);
        for _ in 0..10 {
            service.write_all(&run).await.unwrap();
        }
        service.write_all(&CLOSE).await.unwrap();
        let mut got = Vec::new();
        while !got.ends_with(&CLOSE_OUT) {
            timeout(LONG, device.read_buf(&mut got)).await.expect("nothing comes").unwrap();
        }
        let passed = (got.len() - CLOSE_OUT.len()) / 2;
        assert!((100..20_000).contains(&passed), "{passed}");
        assert!(start.elapsed() < Duration::from_secs(5), "{:?}", start.elapsed());
    }

    #[tokio::test(start_paused = true)]
    async fn a_flood_of_pings_stops_nothing() {
        let [(service, _), (mut device, _)] = sides();
        let (mut from_gateway, mut to_gateway) = tokio::io::split(service);
        let flood = tokio::spawn(async move {
            let run = PING.repeat(1000);
            while to_gateway.write_all(&run).await.is_ok() {}
        });
        device.write_all(&DATA).await.unwrap();
        let mut got = Vec::new();
        while !got.windows(DATA_OUT.len()).any(|frame| frame == DATA_OUT) {
            assert!(got.len() < 1 << 16, "only pongs come");
            timeout(LONG, from_gateway.read_buf(&mut got)).await.expect("nothing comes").unwrap();
        }
        let pongs = got.chunks(2).take_while(|frame| **frame == PONG_OUT).count();
        // One for each time something is written, and not one for each Ping.
        assert!(pongs < 1000, "{pongs}");
        flood.abort();
    }
}
