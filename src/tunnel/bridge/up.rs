//! The upward pump: local side → frames.

use std::io;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::task::yield_now;
use tokio::time::{Instant, sleep_until};

use super::super::frame::Close;
use super::super::meter::Meter;
use super::super::outgoing::Frames;
use super::super::pump_state::{PumpState, Sent, TURN};
use super::super::settings::Settings;

/// How the upward pump ended.
pub(super) enum Up {
    /// The local side ended.
    Eof,
    /// The bridge ordered the end.
    Drained,
    LocalFailed(io::Error),
    RemoteFailed(io::Error),
}

/// Pumps until the local side ends, [`Orders`] end the pump, or an error occurs. Sends a Close last.
///
/// [`Orders`]: super::super::pump_state::Orders
pub(super) async fn up<R, S>(
    mut local: R,
    frames: &mut Frames<S>,
    state: &PumpState,
    settings: &Settings,
    meter: &Meter,
) -> Up
where
    R: AsyncRead + Unpin,
    S: AsyncWrite + Unpin,
{
    let normal = || settings.normal_close(meter.sent());
    let hangup = || {
        let ordered = state.lock().orders.hangup.take();
        ordered.filter(|close| !close.is_normal()).unwrap_or_else(normal)
    };
    let (mut drain, mut end_by, mut payloads) = (None, None, 0);
    loop {
        let now = Instant::now();
        if end_by.is_some_and(|end_by| end_by <= now) {
            // `select!` prefers data: with a local side that always has some, it never reaches the timer.
            return ended(frames, &hangup(), Up::Drained).await;
        }
        let deadline = drain.map(|patience| now + patience).into_iter().chain(end_by).min();
        let step = tokio::select! {
            biased;
            () = state.attention.notified() => {
                let (ping, pong, close) = {
                    let orders = &mut state.lock().orders;
                    (drain, end_by) = (orders.drain, orders.end_by);
                    (std::mem::take(&mut orders.ping), orders.pong.take(), orders.close.take())
                };
                if let Some(close) = close {
                    return ended(frames, &close, Up::Drained).await;
                }
                // The downward pump reports a lost connection: no data is lost with a pong.
                let _ = control(frames, state, ping, pong).await;
                Ok(())
            }
            payload = frames.payload(&mut local) => match payload {
                Ok(None) => {
                    let ordered = if settings.hold_close {
                        state.upward_ended(settings.linger);
                        hold(frames, state).await
                    } else {
                        None
                    };
                    return ended(frames, &ordered.unwrap_or_else(normal), Up::Eof).await;
                }
                Ok(Some(payload)) => {
                    let count = payload.len();
                    state.sent(Sent::Data);
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
                return ended(frames, &hangup(), Up::Drained).await;
            }
        };
        if let Err(error) = step {
            return Up::RemoteFailed(error);
        }
    }
}

/// Sends the ordered ping and pong.
async fn control<S: AsyncWrite + Unpin>(
    frames: &mut Frames<S>,
    state: &PumpState,
    ping: bool,
    pong: Option<Vec<u8>>,
) -> io::Result<()> {
    frames.control(ping, pong.as_deref()).await?;
    if ping {
        state.sent(Sent::Ping);
    }
    Ok(())
}

/// Sends pings and pongs after the local side's end, until the peer or the bridge ends the stream. Returns the Close to send;
/// `None` is the normal one with its count. A peer that has not ended answers our Close with a copy, in which a count would
/// look like a loss.
async fn hold<S: AsyncWrite + Unpin>(frames: &mut Frames<S>, state: &PumpState) -> Option<Close> {
    loop {
        let (ping, pong) = {
            let mut state = state.lock();
            let (is_peer_closing, peer_ended) = (state.peer.is_closing, state.peer_ended);
            let orders = &mut state.orders;
            if is_peer_closing || orders.drain.is_some() || orders.close.is_some() {
                let without_count = (!peer_ended).then(|| Close::new(Close::NORMAL, ""));
                return orders.close.take().or(without_count);
            }
            (std::mem::take(&mut orders.ping), orders.pong.take())
        };
        // The downward pump reports a lost connection.
        control(frames, state, ping, pong).await.ok()?;
        state.attention.notified().await;
    }
}

/// Sends the Close that ends this direction.
async fn ended<S: AsyncWrite + Unpin>(frames: &mut Frames<S>, close: &Close, why: Up) -> Up {
    // The downward pump reports a lost connection.
    let _ = frames.close(close).await;
    why
}
