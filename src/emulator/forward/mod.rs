//! Forwards the messages of one side of a stream to the other, from the upgrade to the end.
//!
//! How a service ends a stream is known only in part. What differs between services is in [`Rules`]; the rest is our
//! choice, the gentlest one. What a side sent before its end is delivered first. Its Close is passed on unchanged, and
//! what the other side sends is delivered until that side closes too, however long it takes, as long as both connections
//! live. The end of one connection ends the other. A user's side may read what is left at its own pace. A device that
//! takes nothing while its user is gone is disconnected: it would keep a stream open that nobody uses.

mod activity;
mod channel;
mod cut;
mod notices;
mod pipe;
mod reading;
mod rules;
#[cfg(test)]
mod tests;
mod writing;

use std::future::pending;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio::time::{sleep_until, timeout};

use self::notices::Notices;
use self::reading::{ReadEnd, discard, read_frames};
use self::writing::{STALL, WriteEnd, write_frames};

pub(super) use self::channel::{Channel, Settings};
pub(super) use self::rules::{Answer, Closes, Pings, Rules};

use crate::emulator::server::Linger;
use crate::emulator::websocket::frames::FrameReader;

/// Limit of each step that ends a side's connection once the stream is over. What the side sends in this time is read,
/// so that no reset overtakes what it was sent.
const LINGER: Duration = Duration::from_secs(1);

/// How this side's part ends.
enum End {
    /// Its connection has ended, or is cut.
    Gone,
    /// It was sent a Close, and nothing more will follow.
    Closed,
    /// The same, and it has sent its own Close.
    BothClosed,
    /// It takes nothing any more, not even a Close.
    Stalled,
}

/// Forwards for one side until the stream ends. Bytes that arrive before the other side has joined are kept, up to what
/// the pipe holds; then this side is not read from.
///
/// Gives back a connection that has not ended, and how long it may linger.
pub(super) async fn forward<S: AsyncRead + AsyncWrite + Unpin>(
    io: S,
    channel: Box<Channel>,
) -> Option<(S, Linger)> {
    let Channel { name, is_patient, to_peer, from_peer, cut, activity, rules } = *channel;
    let (reader, mut writer) = tokio::io::split(io);
    let mut frames = FrameReader::new(reader, rules.size);
    let notices = Notices::default();
    let end = {
        let reading = read_frames(&mut frames, &to_peer, &notices, &rules, &activity, &name);
        let writing = write_frames(&mut writer, is_patient, from_peer, &to_peer, &notices, &cut, &rules);
        tokio::pin!(reading, writing);
        let forwarding = async {
            let written = tokio::select! {
                read = &mut reading => match read {
                    ReadEnd::Gone => return End::Gone,
                    ReadEnd::Violation => timeout(LINGER, &mut writing).await.unwrap_or(WriteEnd::Stalled),
                },
                written = &mut writing => written,
            };
            match written {
                WriteEnd::Stalled => End::Stalled,
                WriteEnd::ServiceClosed => End::Closed,
                // The peer may go on, for nobody.
                WriteEnd::Answered(from_peer) => {
                    from_peer.finish();
                    End::BothClosed
                }
                // What this side sends is wanted until its own Close, as long as its peer is there to read it.
                WriteEnd::PeerClosed(from_peer) => {
                    let end = tokio::select! {
                        _ = &mut reading => End::Gone,
                        () = notices.closed() => End::Closed,
                        () = to_peer.gone() => {
                            log::info!("{name} is disconnected: its peer's connection has ended");
                            End::Closed
                        }
                    };
                    if notices.is_closed() {
                        // Neither side has more to send.
                        from_peer.finish();
                        if matches!(end, End::Closed) { End::BothClosed } else { end }
                    } else {
                        end
                    }
                }
                // What the side sent before is still there to be read.
                WriteEnd::Failed => {
                    reading.await;
                    End::Gone
                }
            }
        };
        let expiring = async {
            if let Some((when, code, reason)) = &rules.expiry {
                sleep_until(*when).await;
                notices.tell(|notice| notice.close = Some(Some((*code, reason.clone()))));
            }
            pending::<()>().await;
        };
        tokio::select! {
            // The cut first: it ends the other side too, and this side must not be told of that end.
            biased;
            () = cut.fired() => {
                log::info!("{name} is cut off by --inject cut");
                End::Gone
            }
            () = expiring => End::Gone,
            () = activity.ended() => {
                log::info!("{name} is cut off: the stream is idle");
                End::Gone
            }
            end = forwarding => end,
        }
    };
    // The peer learns of the end before this side's connection has ended.
    drop(to_peer);
    match end {
        End::Gone => None,
        End::Closed | End::BothClosed => {
            let _ = timeout(LINGER, writer.shutdown()).await;
            if timeout(LINGER, discard(frames.get_mut())).await.is_ok() {
                return None;
            }
            let waits = is_patient || matches!(end, End::BothClosed);
            let linger = if waits { Linger::UntilTaken } else { Linger::WhileTaking(STALL) };
            Some((frames.into_inner().unsplit(writer), linger))
        }
        End::Stalled => {
            log::info!("{name} is disconnected: it does not read, and its peer is gone");
            Some((frames.into_inner().unsplit(writer), Linger::Reset))
        }
    }
}
