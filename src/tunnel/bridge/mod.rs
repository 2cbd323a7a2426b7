//! The bridge: two pumps, joined. An end in one direction never discards bytes of the other.
//!
//! A WebSocket has no half-close, so the bridge makes one of what there is: Close says "nothing more from me", and
//! whoever gets it may still send what it has before it answers with its own.

use std::future::{Future, pending, poll_fn};
use std::io::{self, Cursor};
use std::ops::ControlFlow;
use std::pin::{Pin, pin};
use std::task::Poll;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::sync::oneshot;
use tokio::task::yield_now;
use tokio::time::{Instant, Sleep, sleep, sleep_until, timeout};

use super::frame::Close;
use super::incoming::{Down, Incoming, Taken};
use super::link::{HANGUP, Link, Sent};
use super::meter::Meter;
use super::outgoing::Frames;
use super::remote::{Keepalive, Remote, Shared};
use super::watch::{LOOK, Lost, watch};

/// Reads in a row after which everything else of the stream, and other streams, have their turn: a peer may send faster
/// than its frames are taken apart.
const TURN: u32 = 24;

/// What a peer sends once it has said that nothing more comes is read no faster than a buffer in this time.
const AFTER_END: Duration = Duration::from_millis(20);

/// How long such a peer may take what it was sent last: with something unread, the system would reset the connection.
const TAKEN: Duration = Duration::from_secs(5);

/// What a bridge goes by.
#[derive(Clone, Debug)]
pub struct Settings {
    /// `None`: silence means nothing.
    pub keepalive: Option<Keepalive>,
    /// After the local side's end: how long the peer may be silent before it closes too. `None`: as long as it lives.
    pub linger: Option<Duration>,
    /// After the peer's end: how long the local side may be silent before it ends too. `None`: as long as the peer's
    /// connection lasts.
    pub drain: Option<Duration>,
    /// How long the local side may take what is left once the peer's connection has ended. `None`: as long as it takes.
    pub rest: Option<Duration>,
    /// Whether the local side learns of the peer's end at once, while it may still send; else it does when the caller
    /// drops it.
    pub half_close: bool,
    /// What the peer is told of a failure of the local side.
    pub failed: fn(&io::Error) -> Close,
    /// A bridge that is dropped, or whose process is killed, resets the connection: an ordinary end would wait behind what
    /// the peer does not read.
    pub reset: bool,
}

/// Why a stream ended: its first cause.
#[derive(Debug)]
pub enum End {
    /// Both directions ended in good order, the local side's first.
    Local,
    /// The peer closed; everything it sent before was delivered. In good order where the Close is a normal one: then all
    /// that the local side had said was sent, too.
    Peer(Close),
    /// The peer sent nothing but empty messages, which is the end of some; else as for a normal Close.
    PeerEmptied,
    /// The local side could not be read or written.
    LocalFailed(io::Error),
    /// The connection ended without a Close, within a message, or before all was sent.
    Cut(io::Error),
    /// The peer sent what no gateway may send.
    Violation(&'static str),
    /// The peer acknowledged nothing, or answered no ping, for this long.
    Silent(Duration),
    /// The peer's connection has ended, and the local side did not end, or take what came before, in time.
    Abandoned,
    /// The caller asked for an end. `whole`: both directions ended in good order all the same.
    HungUp { whole: bool },
}

/// How one pump ended.
enum Up {
    Eof,
    /// Ordered to: the local side had nothing more to say, or is not asked.
    Drained,
    LocalFailed(io::Error),
    RemoteFailed(io::Error),
}

/// What may be asked of a running bridge. Both futures are polled until they resolve.
#[derive(Debug)]
pub struct Controls<H, G> {
    /// Ends the stream within a second, with this Close if the local side has not ended.
    pub hangup: H,
    /// The local side has ended and takes nothing more: what it has said is sent, and the stream ended within a second,
    /// whatever the peer does.
    pub gone: G,
}

/// Moves bytes between a local side and an established WebSocket, of which `early` are the bytes that came with the
/// upgrade's answer, until both directions have ended.
///
/// Not cancel-safe: dropping the future drops bytes on their way. To end early, resolve `hangup`.
pub async fn bridge<R, W, S>(
    local: (R, W),
    remote: S,
    early: &[u8],
    settings: &Settings,
    meter: &Meter,
    controls: Controls<impl Future<Output = Close>, impl Future<Output = ()>>,
) -> End
where
    R: AsyncRead + Unpin,
    W: AsyncWrite + Unpin,
    S: Remote,
{
    if let Some(keepalive) = settings.keepalive {
        remote.probe(keepalive);
    }
    remote.reset_on_drop(settings.reset);
    let remote = Shared::new(remote);
    let mut frames = Frames::new(&remote);
    let end = run(local, early, &remote, &mut frames, settings, meter, controls).await;
    match &end {
        // A peer that is gone does not miss what follows.
        End::Cut(_) | End::Silent(_) | End::Abandoned => {}
        End::Local | End::Peer(_) | End::PeerEmptied => {
            // TLS has a close of its own.
            let _ = timeout(HANGUP / 2, frames.shutdown()).await;
            if goes_on(&remote).await {
                let _ = timeout(TAKEN, taken(&remote)).await;
            }
            remote.lock().reset_on_drop(false);
        }
        End::LocalFailed(_) | End::Violation(_) | End::HungUp { .. } => {
            let _ = timeout(HANGUP, leave(&mut frames, &remote)).await;
            let is_delivered = remote.lock().tcp_info().is_none_or(|tcp| !tcp.queued);
            remote.lock().reset_on_drop(settings.reset && !is_delivered);
        }
    }
    end
}

/// Whether the peer, which has ended, sends something all the same.
async fn goes_on<S: Remote>(mut remote: &Shared<S>) -> bool {
    let mut unread = [0; 4096];
    let mut reading = pin!(remote.read(&mut unread));
    let read = poll_fn(|cx| Poll::Ready(reading.as_mut().poll(cx))).await;
    matches!(read, Poll::Ready(Ok(1..)))
}

/// Hears such a peer out until it has what was sent last.
async fn taken<S: Remote>(mut remote: &Shared<S>) {
    let mut unread = [0; 4096];
    while remote.lock().tcp_info().is_some_and(|tcp| tcp.queued && !tcp.closed) {
        let _ = timeout(AFTER_END, remote.read(&mut unread)).await;
        sleep(AFTER_END).await;
    }
}

/// Ends the connection so that what was sent last arrives: with something unread, the system would reset it.
async fn leave<S: Remote>(frames: &mut Frames<&Shared<S>>, mut remote: &Shared<S>) {
    let _ = frames.shutdown().await;
    let mut unread = [0; 4096];
    while remote.read(&mut unread).await.is_ok_and(|count| count > 0) {}
}

async fn run<R, W, S>(
    mut local: (R, W),
    early: &[u8],
    remote: &Shared<S>,
    frames: &mut Frames<&Shared<S>>,
    settings: &Settings,
    meter: &Meter,
    controls: Controls<impl Future<Output = Close>, impl Future<Output = ()>>,
) -> End
where
    R: AsyncRead + Unpin,
    W: AsyncWrite + Unpin,
    S: Remote,
{
    let link = Link::new();
    let (tell, mut told) = oneshot::channel();
    let mut up = pin!(up(local.0, frames, &link, settings, meter));
    let mut down = pin!(async {
        let mut incoming = Incoming::new(Cursor::new(early).chain(remote));
        let end = down(&mut incoming, &mut local.1, &link, settings.half_close, meter).await;
        let is_over = matches!(end, Down::Closed(_) | Down::Emptied);
        let _ = tell.send(end);
        if is_over { after(&mut incoming, &link).await } else { pending().await }
    });
    let mut lost = pin!(watch(&link, settings.keepalive, settings.rest, || remote.lock().tcp_info()));
    let Controls { hangup, gone } = controls;
    let (mut hangup, mut gone) = (pin!(hangup), pin!(gone));
    let (mut upward, mut downward) = (None, None);
    let mut limit: Option<Instant> = None;
    let sooner = |limit: &mut Option<Instant>, time: Duration| {
        let new = Instant::now() + time;
        *limit = Some(limit.map_or(new, |old| old.min(new)));
    };
    let (mut is_after, mut hung_up, mut peer_was_first) = (true, false, false);
    while upward.is_none() || downward.is_none() {
        tokio::select! {
            biased;
            end = &mut down, if is_after => {
                is_after = false;
                match end {
                    After::Gone => if let Some(rest) = settings.rest {
                        sooner(&mut limit, rest);
                    },
                    After::Violation(what) => {
                        link.order(|orders| orders.close = Some(Close::new(Close::PROTOCOL, what)));
                        sooner(&mut limit, HANGUP);
                        downward = Some(Down::Violation(what));
                    }
                }
            }
            Ok(end) = &mut told, if downward.is_none() => {
                match &end {
                    // It is over, and what the local side still says is not wanted.
                    Down::Closed(close) if !close.is_normal() => {
                        link.order(|orders| orders.end_soon(Duration::ZERO, None));
                        sooner(&mut limit, 2 * HANGUP);
                    }
                    Down::Closed(_) | Down::Emptied => {
                        peer_was_first = upward.is_none();
                        link.peer_ended();
                        link.order(|orders| orders.drain = orders.drain.or(settings.drain));
                    }
                    // The peer is told in good manners, if it listens at all.
                    Down::LocalFailed(error) => {
                        link.order(|orders| orders.end_soon(Duration::ZERO, Some((settings.failed)(error))));
                        sooner(&mut limit, 2 * HANGUP);
                    }
                    Down::Violation(what) => {
                        link.order(|orders| orders.close = Some(Close::new(Close::PROTOCOL, *what)));
                        sooner(&mut limit, HANGUP);
                    }
                    // Nothing more can be sent either.
                    Down::RemoteFailed(_) => sooner(&mut limit, Duration::ZERO),
                    Down::Lingered => {}
                }
                downward = Some(end);
            }
            end = &mut up, if upward.is_none() => {
                link.upward_ended(settings.linger);
                if matches!(end, Up::LocalFailed(_)) {
                    sooner(&mut limit, 2 * HANGUP);
                }
                upward = Some(end);
            }
            lost = &mut lost => return match lost {
                Lost::Silent(silent) => End::Silent(silent),
                Lost::Gone => End::Abandoned,
            },
            close = &mut hangup, if !hung_up => {
                hung_up = true;
                link.order(|orders| orders.end_soon(HANGUP, Some(close)));
                sooner(&mut limit, 2 * HANGUP);
            }
            () = &mut gone, if !hung_up => {
                hung_up = true;
                link.order(|orders| orders.end_soon(HANGUP, None));
                sooner(&mut limit, 2 * HANGUP);
            }
            () = sleep_until(limit.unwrap_or_else(Instant::now)), if limit.is_some() => break,
        }
    }
    first_cause(upward, downward, settings.half_close, hung_up, peer_was_first)
}

/// Why the stream ended, from how its pumps did; `None` is one that was still running when the other's end decided.
fn first_cause(
    up: Option<Up>,
    down: Option<Down>,
    half_close: bool,
    hung_up: bool,
    peer_was_first: bool,
) -> End {
    match (up, down) {
        (_, Some(Down::Violation(what))) => End::Violation(what),
        // It had ended altogether, which shows only when something is sent to it.
        (Some(Up::Eof), Some(Down::LocalFailed(error))) if half_close && is_gone(&error) => End::Local,
        // What it could not say tells more than that it takes no more.
        (Some(Up::LocalFailed(error)), _) | (_, Some(Down::LocalFailed(error))) => End::LocalFailed(error),
        (up, down) if hung_up => {
            let is_over = matches!(down, Some(Down::Closed(close)) if close.is_normal());
            End::HungUp { whole: is_over && matches!(up, Some(Up::Eof)) }
        }
        (_, Some(Down::Closed(close))) if !close.is_normal() => End::Peer(close),
        (Some(Up::Eof), Some(Down::Closed(_) | Down::Emptied | Down::Lingered)) if !peer_was_first => {
            End::Local
        }
        (Some(Up::Eof), Some(Down::Closed(close))) => End::Peer(close),
        (Some(Up::Eof), Some(Down::Emptied)) => End::PeerEmptied,
        // It had said its last, and then went without taking ours.
        (Some(Up::RemoteFailed(_)), Some(Down::Closed(_) | Down::Emptied)) => End::Abandoned,
        (_, Some(Down::RemoteFailed(error))) | (Some(Up::RemoteFailed(error)), _) => End::Cut(error),
        (Some(Up::Drained), Some(Down::Closed(close))) => End::Peer(close),
        (Some(Up::Drained), Some(Down::Emptied)) => End::PeerEmptied,
        (Some(_), Some(Down::Lingered)) => End::Local,
        // The peer's connection ended after its Close, and the local side went on.
        (None, _) | (_, None) => End::Abandoned,
    }
}

fn is_gone(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset)
}

/// Local side → frames.
async fn up<R, S>(mut local: R, frames: &mut Frames<S>, link: &Link, settings: &Settings, meter: &Meter) -> Up
where
    R: AsyncRead + Unpin,
    S: AsyncWrite + Unpin,
{
    let normal = Close::new(Close::NORMAL, "");
    let (mut drain, mut by, mut payloads) = (None, None, 0);
    loop {
        let now = Instant::now();
        if by.is_some_and(|by| by <= now) {
            // A local side that is never silent leaves the timer no turn.
            let close = link.lock().orders.hangup.take().unwrap_or(normal);
            return ended(frames, &close, Up::Drained).await;
        }
        let deadline = drain.map(|patience| now + patience).into_iter().chain(by).min();
        let step = tokio::select! {
            biased;
            () = link.attention.notified() => {
                let (ping, pong, close) = {
                    let orders = &mut link.lock().orders;
                    (drain, by) = (orders.drain, orders.by);
                    (std::mem::take(&mut orders.ping), orders.pong.take(), orders.close.take())
                };
                if let Some(close) = close {
                    return ended(frames, &close, Up::Drained).await;
                }
                let sent = frames.control(ping, pong.as_deref()).await;
                if ping && sent.is_ok() {
                    link.sent(Sent::Ping);
                }
                sent
            }
            payload = frames.payload(&mut local) => match payload {
                Ok(None) => return ended(frames, &normal, Up::Eof).await,
                Ok(Some(payload)) => {
                    let count = payload.len();
                    link.sent(Sent::Data);
                    let sent = frames.data(payload).await;
                    if sent.is_ok() {
                        meter.add_sent(count);
                    }
                    payloads += 1;
                    if payloads % TURN == 0 {
                        yield_now().await;
                    }
                    sent
                }
                Err(error) => {
                    let close = (settings.failed)(&error);
                    return ended(frames, &close, Up::LocalFailed(error)).await;
                }
            },
            () = sleep_until(deadline.unwrap_or(now)), if deadline.is_some() => {
                let close = link.lock().orders.hangup.take().unwrap_or(normal);
                return ended(frames, &close, Up::Drained).await;
            }
        };
        if let Err(error) = step {
            return Up::RemoteFailed(error);
        }
    }
}

/// Says that nothing more comes; an upward pump ends with this.
async fn ended<S: AsyncWrite + Unpin>(frames: &mut Frames<S>, close: &Close, why: Up) -> Up {
    // Where the connection is lost, the downward pump tells.
    let _ = frames.close(close).await;
    why
}

/// Frames → local side, until the peer says that nothing more comes, or something fails.
async fn down<S, W>(
    incoming: &mut Incoming<S>,
    local: &mut W,
    link: &Link,
    half_close: bool,
    meter: &Meter,
) -> Down
where
    S: AsyncRead + Unpin,
    W: AsyncWrite + Unpin,
{
    let mut reads = 0;
    let mut look = pin!(sleep(Duration::ZERO));
    loop {
        link.listening();
        let (buffer, Taken { data, last }) = match incoming.next_or_linger(link).await {
            ControlFlow::Continue(Ok(taken)) => taken,
            ControlFlow::Continue(Err(error)) => return Down::RemoteFailed(error),
            ControlFlow::Break(()) => return Down::Lingered,
        };
        if !data.is_empty() {
            let count = data.len();
            if let Err(error) = deliver(local, &buffer[data], link, look.as_mut()).await {
                return Down::LocalFailed(error);
            }
            meter.add_received(count);
        }
        drop(buffer);
        if let Some(end) = last {
            let is_over = matches!(end, Down::Closed(_) | Down::Emptied);
            if !is_over || !half_close {
                return end;
            }
            return match local.shutdown().await {
                Err(error) if error.kind() != io::ErrorKind::NotConnected => Down::LocalFailed(error),
                _ => end,
            };
        }
        if let Err(error) = local.flush().await {
            return Down::LocalFailed(error);
        }
        reads += 1;
        if reads % TURN == 0 {
            yield_now().await;
        }
    }
}

/// Writes all of `data`; the watch learns of a local side that takes nothing. `look` is set once in a while, for that is
/// dear.
async fn deliver(
    local: &mut (impl AsyncWrite + Unpin),
    data: &[u8],
    link: &Link,
    mut look: Pin<&mut Sleep>,
) -> io::Result<()> {
    let mut writing = pin!(local.write_all(data));
    if let Poll::Ready(written) = poll_fn(|cx| Poll::Ready(writing.as_mut().poll(cx))).await {
        return written;
    }
    let stalled = Instant::now() + LOOK;
    loop {
        tokio::select! {
            biased;
            written = &mut writing => return written,
            () = &mut look => {
                if Instant::now() >= stalled {
                    break;
                }
                look.as_mut().reset(stalled);
            }
        }
    }
    link.not_listening();
    writing.await
}

/// What became of a peer after its end.
enum After {
    /// Its connection has ended.
    Gone,
    Violation(&'static str),
}

/// Hears a peer out that has said that nothing more comes, until its connection ends.
async fn after<S: AsyncRead + Unpin>(incoming: &mut Incoming<S>, link: &Link) -> After {
    loop {
        link.listening();
        match incoming.next(link).await {
            Ok((_, Taken { last: Some(Down::Violation(what)), .. })) => return After::Violation(what),
            Ok(_) => {}
            Err(_) => return After::Gone,
        }
        sleep(AFTER_END).await;
    }
}

#[cfg(test)]
mod tests;
