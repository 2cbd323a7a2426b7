//! The bridge between a local side and a WebSocket: one pump for each direction. The end of one direction never discards
//! bytes of the other.
//!
//! WebSocket has no half-close, so the bridge gives Close that meaning: a side that receives one may still send data
//! before its own Close.

mod down;
mod first_cause;
mod up;

use std::future::{Future, pending, poll_fn};
use std::io::{self, Cursor};
use std::pin::pin;
use std::task::Poll;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::sync::oneshot;
use tokio::time::{Instant, sleep, sleep_until, timeout};

use self::down::{AfterEnd, PAUSE_AFTER_END, down, read_past_end};
use self::first_cause::first_cause;
use self::up::{Up, up};
use super::end::End;
use super::frame::Close;
use super::incoming::{Down, Incoming};
use super::meter::Meter;
use super::outgoing::Frames;
use super::pump_state::{HANGUP, PumpState};
use super::remote::{Remote, Shared};
use super::settings::Settings;
use super::watch::{Lost, watch};

/// The time limit for a peer that keeps sending after its end to acknowledge the last bytes. Closing a socket with unread
/// data resets the connection.
const ACKNOWLEDGE_LIMIT: Duration = Duration::from_secs(5);

/// What ends a running bridge. The futures are polled until they resolve.
#[derive(Debug)]
pub(crate) struct Controls<H, G, E> {
    /// Ends the stream within a second. Sends this Close if the local side has not ended.
    pub hangup: H,
    /// Resolves when the local side has ended and accepts no more data. The bridge sends the remaining data and ends the
    /// stream within a second. Sends this Close if data is left.
    pub gone: G,
    /// Whether the local side ends with the peer: at the peer's end, the bridge does not shut down the local writer, and
    /// sends only what the local side has ready.
    pub ends_with_peer: E,
}

/// Moves bytes between a local side and an established WebSocket until both directions have ended. `early` are the bytes
/// that arrived behind the upgrade's response.
///
/// Not cancel-safe: dropping the future drops bytes in transit. To end early, resolve `hangup`.
pub(crate) async fn bridge<R, W, S>(
    local: (R, W),
    remote: S,
    early: &[u8],
    settings: &Settings,
    meter: &Meter,
    controls: Controls<impl Future<Output = Close>, impl Future<Output = Close>, impl Fn() -> bool>,
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
        End::Cut(_) | End::Silent(_) | End::Abandoned => {}
        End::Local | End::Peer(_) | End::PeerFailed(_) | End::PeerEmptied => {
            // Sends TLS's close_notify.
            let _ = timeout(HANGUP / 2, frames.shutdown()).await;
            if still_sends(&remote).await {
                let _ = timeout(ACKNOWLEDGE_LIMIT, wait_until_acknowledged(&remote)).await;
            }
            remote.lock().reset_on_drop(false);
        }
        End::LocalFailed(_)
        | End::Incomplete(_)
        | End::ThrownBack
        | End::Violation(_)
        | End::HungUp { .. } => {
            let _ = timeout(HANGUP, shut_down_and_drain(&mut frames, &remote)).await;
            let is_delivered = remote.lock().tcp_info().is_none_or(|tcp| !tcp.queued);
            remote.lock().reset_on_drop(settings.reset && !is_delivered);
        }
    }
    end
}

/// Whether a peer that has ended still sends bytes.
async fn still_sends<S: Remote>(mut remote: &Shared<S>) -> bool {
    let mut unread = [0; 4096];
    let mut reading = pin!(remote.read(&mut unread));
    let read = poll_fn(|cx| Poll::Ready(reading.as_mut().poll(cx))).await;
    matches!(read, Poll::Ready(Ok(1..)))
}

/// Reads and discards until the peer has acknowledged the last bytes.
async fn wait_until_acknowledged<S: Remote>(mut remote: &Shared<S>) {
    let mut unread = [0; 4096];
    while remote.lock().tcp_info().is_some_and(|tcp| tcp.queued && !tcp.closed) {
        let _ = timeout(PAUSE_AFTER_END, remote.read(&mut unread)).await;
        sleep(PAUSE_AFTER_END).await;
    }
}

/// Shuts the connection down and reads to its end, because closing a socket with unread data resets the connection.
async fn shut_down_and_drain<S: Remote>(frames: &mut Frames<&Shared<S>>, mut remote: &Shared<S>) {
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
    controls: Controls<impl Future<Output = Close>, impl Future<Output = Close>, impl Fn() -> bool>,
) -> End
where
    R: AsyncRead + Unpin,
    W: AsyncWrite + Unpin,
    S: Remote,
{
    let state = PumpState::new();
    let (report, mut reported) = oneshot::channel();
    let mut up = pin!(up(local.0, frames, &state, settings, meter));
    let Controls { hangup, gone, ends_with_peer } = controls;
    let mut down = pin!(async {
        let mut incoming = Incoming::new(Cursor::new(early).chain(remote), settings.going_away_is_end);
        let mut end = down(&mut incoming, &mut local.1, &state, settings, meter).await;
        let mut drain = settings.drain;
        if end.is_in_order() {
            if ends_with_peer() {
                drain = Some(Duration::ZERO);
            } else if settings.half_close
                && let Err(error) = local.1.shutdown().await
                && error.kind() != io::ErrorKind::NotConnected
            {
                end = Down::LocalFailed(error);
            }
        }
        let (is_over, sent) = (end.is_over(), meter.sent());
        let _ = report.send((end, drain));
        if is_over { (read_past_end(&mut incoming, &state).await, sent) } else { pending().await }
    });
    let mut lost = pin!(watch(&state, settings.keepalive, settings.rest, || remote.lock().tcp_info()));
    let (mut hangup, mut gone) = (pin!(hangup), pin!(gone));
    let (mut upward, mut downward) = (None, None);
    // What had been sent at the peer's end, once its connection has ended, too.
    let mut sent_at_end = None;
    let mut limit: Option<Instant> = None;
    let sooner = |limit: &mut Option<Instant>, time: Duration| {
        let new = Instant::now() + time;
        *limit = Some(limit.map_or(new, |old| old.min(new)));
    };
    let (mut is_after, mut hung_up, mut peer_was_first) = (true, false, false);
    while upward.is_none() || downward.is_none() {
        tokio::select! {
            biased;
            (after, sent) = &mut down, if is_after => {
                is_after = false;
                match after {
                    AfterEnd::Gone => {
                        sent_at_end = Some(sent);
                        if let Some(rest) = settings.rest {
                            sooner(&mut limit, rest);
                        } else {
                            // What the local side has ready shows whether data is lost.
                            state.order(|orders| orders.end_soon(Duration::ZERO, None));
                            sooner(&mut limit, 2 * HANGUP);
                        }
                    }
                    AfterEnd::Violation(what) => {
                        state.order(|orders| orders.close = Some(Close::new(Close::PROTOCOL, what)));
                        sooner(&mut limit, HANGUP);
                        downward = Some(Down::Violation(what));
                    }
                }
            }
            Ok((end, drain)) = &mut reported, if downward.is_none() => {
                match &end {
                    // The peer's failure ends both directions.
                    Down::Failed(_) => {
                        state.order(|orders| orders.end_soon(Duration::ZERO, None));
                        sooner(&mut limit, 2 * HANGUP);
                    }
                    Down::Closed(_) | Down::Emptied => {
                        peer_was_first = !state.lock().upward_ended;
                        state.lock().peer_ended = true;
                        state.closing();
                        state.order(|orders| orders.drain = orders.drain.or(drain));
                    }
                    // The Close with the reason gets a time limit: the peer may not read.
                    Down::LocalFailed(error) => {
                        state.order(|orders| orders.end_soon(Duration::ZERO, Some((settings.failed)(error))));
                        sooner(&mut limit, 2 * HANGUP);
                    }
                    Down::Violation(what) => {
                        state.order(|orders| orders.close = Some(Close::new(Close::PROTOCOL, *what)));
                        sooner(&mut limit, HANGUP);
                    }
                    // The peer is told that the stream has failed, unless our Close has said that our direction ended.
                    Down::Incomplete(problem) => {
                        state.order(|orders| orders.close = Some(Close::new(Close::FAILURE, problem)));
                        sooner(&mut limit, HANGUP);
                    }
                    Down::ThrownBack => {
                        let close = Close::new(Close::FAILURE, "the Close came back");
                        state.order(|orders| orders.close = Some(close));
                        sooner(&mut limit, HANGUP);
                    }
                    // The connection is lost in both directions.
                    Down::RemoteFailed(_) => sooner(&mut limit, Duration::ZERO),
                    // A Close that is held back is sent now.
                    Down::Lingered | Down::Disconnected => {
                        state.closing();
                        state.order(|_| {});
                        sooner(&mut limit, HANGUP);
                    }
                }
                downward = Some(end);
            }
            end = &mut up, if upward.is_none() => {
                state.upward_ended(settings.linger);
                state.closing();
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
                state.order(|orders| orders.end_soon(HANGUP, Some(close)));
                sooner(&mut limit, 2 * HANGUP);
            }
            close = &mut gone, if !hung_up => {
                hung_up = true;
                state.order(|orders| orders.end_soon(HANGUP, Some(close)));
                sooner(&mut limit, 2 * HANGUP);
            }
            () = sleep_until(limit.unwrap_or_else(Instant::now)), if limit.is_some() => break,
        }
    }
    let undelivered = sent_at_end.is_some_and(|sent| meter.sent() > sent);
    first_cause(upward, downward, settings.one_connection, hung_up, peer_was_first, undelivered)
}

#[cfg(test)]
mod tests;
