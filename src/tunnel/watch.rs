//! Detects a lost peer. A peer is alive as long as its system acknowledges data, even if it reads nothing for an hour.

use std::time::Duration;

use tokio::time::{Instant, sleep_until};

use super::pump_state::PumpState;
use super::remote::Keepalive;
use crate::platform::TcpInfo;

/// How often the watch checks for the connection's end while the local side accepts no data and nobody reads.
pub(super) const LOOK: Duration = Duration::from_secs(1);

/// How the peer was lost.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Lost {
    /// It was silent for this long.
    Silent(Duration),
    /// Its connection ended, and the local side did not accept the remaining data in time.
    Gone,
}

/// Resolves when the peer is lost. `rest` limits how long the local side may take to accept the remaining data after the
/// connection's end; `tcp_info` returns the state of the connection.
///
/// The peer is lost if, for `keepalive.dead`, it does not acknowledge data, a ping or a window probe, or does not answer an
/// acknowledged ping that was not queued behind data. A closed window with acknowledged probes is a sign of life.
pub(super) async fn watch(
    state: &PumpState,
    keepalive: Option<Keepalive>,
    rest: Option<Duration>,
    tcp_info: impl Fn() -> Option<TcpInfo>,
) -> Lost {
    let Some(Keepalive { ping, dead }) = keepalive.or(rest.map(|_| NEVER)) else {
        return std::future::pending().await;
    };
    let step = (dead / 32).clamp(Duration::from_millis(50), 4 * LOOK);
    // When the peer last had nothing to acknowledge, when its last acknowledgement of something new arrived, when the last
    // ping was ordered, and when the connection ended.
    let (mut clear, mut answered, mut asked, mut ended) = (Instant::now(), Instant::now(), None, None);
    let mut behind_gap = 0;
    loop {
        let now = Instant::now();
        let peer = state.lock().peer;
        if !peer.paused && now < peer.heard + ping {
            ended = None;
            tokio::select! {
                () = sleep_until(peer.heard + ping) => {}
                () = state.stalled.notified() => {}
            }
            continue;
        }
        let tcp = tcp_info();
        match (rest, tcp) {
            (Some(rest), Some(TcpInfo { closed: true, .. })) if peer.paused => {
                if now >= *ended.get_or_insert(now) + rest {
                    return Lost::Gone;
                }
            }
            _ => ended = None,
        }
        if now >= peer.heard.max(asked.unwrap_or(peer.heard)) + ping && !peer.is_closing {
            asked = Some(now);
            state.order(|orders| orders.ping = true);
        }
        if let Some(tcp) = tcp {
            // What the peer sends again acknowledges nothing new.
            if !tcp.repeats || tcp.behind_gap != behind_gap {
                answered = now.checked_sub(tcp.last_ack).unwrap_or(answered);
                behind_gap = tcp.behind_gap;
            }
            if tcp.unacknowledged {
                let silent = now - peer.heard.max(answered).max(clear).min(now);
                if silent >= dead {
                    return Lost::Silent(silent);
                }
            } else if tcp.queued {
                // The window is closed, and its probes are far apart.
                clear = now;
            }
        }
        let is_asked = peer.pinged.is_some_and(|pinged| pinged > peer.heard);
        let is_behind = peer.has_data || tcp.is_some_and(|tcp| tcp.queued);
        if is_asked && !is_behind && !peer.paused && !peer.is_closing && now >= peer.heard + dead {
            return Lost::Silent(now - peer.heard);
        }
        let next = if peer.paused { now + step.min(LOOK) } else { now + step };
        sleep_until(next).await;
    }
}

/// Longer than any stream.
const NEVER: Keepalive =
    Keepalive { ping: Duration::from_secs(u32::MAX as u64), dead: Duration::from_secs(u32::MAX as u64) };
