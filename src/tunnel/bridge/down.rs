//! The downward pump: frames → local side.

use std::future::poll_fn;
use std::io;
use std::ops::ControlFlow;
use std::pin::{Pin, pin};
use std::task::Poll;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio::task::yield_now;
use tokio::time::{Instant, Sleep, sleep};

use super::super::byte_count::ByteCount;
use super::super::incoming::{Batch, Down, Incoming};
use super::super::meter::Meter;
use super::super::pump_state::{PumpState, TURN};
use super::super::settings::Settings;
use super::super::watch::LOOK;

/// The pause between reads of a peer that keeps sending after its end.
pub(super) const PAUSE_AFTER_END: Duration = Duration::from_millis(20);

/// Pumps until the peer ends its direction or an error occurs.
pub(super) async fn down<S, W>(
    incoming: &mut Incoming<S>,
    local: &mut W,
    state: &PumpState,
    settings: &Settings,
    meter: &Meter,
) -> Down
where
    S: AsyncRead + Unpin,
    W: AsyncWrite + Unpin,
{
    let mut reads = 0;
    let mut look = pin!(sleep(Duration::ZERO));
    loop {
        state.reading();
        let (buffer, Batch { data, last }) = match incoming.next_or_linger(state).await {
            ControlFlow::Continue(Ok(taken)) => taken,
            ControlFlow::Continue(Err(error)) => {
                let is_end = settings.hold_close && incoming.is_disconnected() && state.lock().upward_ended;
                return if is_end { Down::Disconnected } else { Down::RemoteFailed(error) };
            }
            ControlFlow::Break(()) => return Down::Lingered,
        };
        if !data.is_empty() {
            let count = data.len();
            if let Err(error) = deliver(local, &buffer[data], state, look.as_mut()).await {
                return Down::LocalFailed(error);
            }
            meter.add_received(count);
        }
        drop(buffer);
        if let Some(end) = last {
            return counted(end, settings, meter.received());
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

/// Compares the byte count in a Close with the `received` bytes, and removes it.
fn counted(mut end: Down, settings: &Settings, received: u64) -> Down {
    if let (Some(ours), Down::Closed(close) | Down::Failed(close)) = (settings.direction, &mut end)
        && let Some(ByteCount { direction, bytes }) = ByteCount::of(close)
    {
        if direction == ours {
            return Down::ThrownBack;
        }
        if bytes != received {
            return Down::Incomplete(format!("{received} of {bytes} bytes arrived"));
        }
        close.reason.clear();
    }
    end
}

/// Writes all of `data`, and tells the watch if the local side accepts none of it for [`LOOK`]. `look` is reused between
/// calls, because setting a timer for each write is expensive.
async fn deliver(
    local: &mut (impl AsyncWrite + Unpin),
    data: &[u8],
    state: &PumpState,
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
    state.reading_paused();
    writing.await
}

/// How a peer's connection ended after the peer's end.
pub(super) enum AfterEnd {
    /// It was closed.
    Gone,
    /// The peer broke the protocol.
    Violation(&'static str),
}

/// Reads and discards after the peer's end until its connection ends.
pub(super) async fn read_past_end<S: AsyncRead + Unpin>(
    incoming: &mut Incoming<S>,
    state: &PumpState,
) -> AfterEnd {
    loop {
        state.reading();
        match incoming.next(state).await {
            Ok((_, Batch { last: Some(Down::Violation(what)), .. })) => return AfterEnd::Violation(what),
            Ok(_) => {}
            Err(_) => return AfterEnd::Gone,
        }
        sleep(PAUSE_AFTER_END).await;
    }
}
