//! Whether the peer is still there. A peer that reads slowly, or not at all for an hour, is: what counts is whether its
//! system acknowledges what it is sent.

use std::time::Duration;

use tokio::time::{Instant, sleep_until};

use super::link::Link;
use super::remote::Keepalive;
use crate::platform::TcpInfo;

/// While the local side takes nothing, the connection's end can be seen only by looking.
pub(super) const LOOK: Duration = Duration::from_secs(1);

/// How the peer was lost.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Lost {
    /// It has been dead for this long.
    Silent(Duration),
    /// Its connection has ended, and the local side has not taken in time what had come before.
    Gone,
}

/// Resolves once the peer is lost. `rest` is how long the local side may take what is left of a peer whose connection has
/// ended; `tcp_info` tells the state of the connection.
///
/// Dead is, for `keepalive.dead`: data, a ping or a window probe that is not acknowledged; or a pong that does not come,
/// though the ping was acknowledged and was not behind data of ours. A shut window whose probes are acknowledged is life.
pub(super) async fn watch(
    link: &Link,
    keepalive: Option<Keepalive>,
    rest: Option<Duration>,
    tcp_info: impl Fn() -> Option<TcpInfo>,
) -> Lost {
    let Some(Keepalive { ping, dead }) = keepalive.or(rest.map(|_| NEVER)) else {
        return std::future::pending().await;
    };
    // Often enough to tell one limit from the next.
    let step = (dead / 32).clamp(Duration::from_millis(50), 4 * LOOK);
    // When the peer last owed nothing, when it was last asked for a ping, and since when its connection is seen ended.
    let (mut clear, mut asked, mut ended) = (Instant::now(), None, None);
    loop {
        let now = Instant::now();
        let peer = link.lock().peer;
        if !peer.unheard && now < peer.heard + ping {
            ended = None;
            tokio::select! {
                () = sleep_until(peer.heard + ping) => {}
                () = link.stalled.notified() => {}
            }
            continue;
        }
        let tcp = tcp_info();
        match (rest, tcp) {
            (Some(rest), Some(TcpInfo { closed: true, .. })) if peer.unheard => {
                if now >= *ended.get_or_insert(now) + rest {
                    return Lost::Gone;
                }
            }
            _ => ended = None,
        }
        if now >= peer.heard.max(asked.unwrap_or(peer.heard)) + ping && !peer.is_closing {
            asked = Some(now);
            link.order(|orders| orders.ping = true);
        }
        if let Some(tcp) = tcp {
            if tcp.unacknowledged {
                let answered = now.checked_sub(tcp.last_ack).unwrap_or(clear);
                let silent = now - peer.heard.max(answered).max(clear).min(now);
                if silent >= dead {
                    return Lost::Silent(silent);
                }
            } else if tcp.queued {
                // It waits for a window to open, and probes of that are far apart.
                clear = now;
            }
        }
        let is_asked = peer.pinged.is_some_and(|pinged| pinged > peer.heard);
        let is_behind = peer.has_data || tcp.is_some_and(|tcp| tcp.queued);
        if is_asked && !is_behind && !peer.unheard && !peer.is_closing && now >= peer.heard + dead {
            return Lost::Silent(now - peer.heard);
        }
        let next = if peer.unheard { now + step.min(LOOK) } else { now + step };
        sleep_until(next).await;
    }
}

/// Longer than any stream.
const NEVER: Keepalive =
    Keepalive { ping: Duration::from_secs(u32::MAX as u64), dead: Duration::from_secs(u32::MAX as u64) };
