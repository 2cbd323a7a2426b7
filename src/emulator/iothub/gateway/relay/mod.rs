//! The relay: one side of a stream, from its upgrade to its end.
//!
//! How the service ends a stream is known only in part: it ends the other side too \[D], and was seen to send the side
//! that is left 1011 `WS disconnected` \[I]. The rest is our choice, the gentlest one. What a side sent before its end
//! is delivered first. Its Close is passed on unchanged, and what the other side sends is delivered until that side
//! closes too, however long it takes, as long as both connections live. The end of one connection ends the other. A
//! user's side may read what is left at its own pace. A device that takes nothing while its user is gone is
//! disconnected: it would keep a stream open that nobody uses.

mod notices;
mod reading;
#[cfg(test)]
mod tests;
mod writing;

use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio::time::timeout;

use self::notices::Notices;
use self::reading::{ReadEnd, discard, read_frames};
use self::writing::{STALL, WriteEnd, write_frames};
use super::channel::Channel;
use super::side::Side;
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

/// Relays for one side until the stream ends. Bytes that arrive before the other side has joined are kept, up to what
/// the pipe holds; then this side is not read from.
///
/// Gives back a connection that has not ended, and how long it may linger.
pub(in crate::emulator) async fn relay<S: AsyncRead + AsyncWrite + Unpin>(
    io: S,
    channel: Channel,
    max_frame: usize,
) -> Option<(S, Linger)> {
    let Channel { name, side, to_peer, from_peer, cut } = channel;
    let (reader, mut writer) = tokio::io::split(io);
    let mut frames = FrameReader::new(reader, max_frame);
    let notices = Notices::default();
    let end = {
        let reading = read_frames(&mut frames, &to_peer, &notices, &name);
        let writing = write_frames(&mut writer, side, from_peer, &to_peer, &notices, &cut);
        tokio::pin!(reading, writing);
        let relaying = async {
            let written = tokio::select! {
                read = &mut reading => match read {
                    ReadEnd::Gone => return End::Gone,
                    ReadEnd::Violation => timeout(LINGER, &mut writing).await.unwrap_or(WriteEnd::Stalled),
                },
                written = &mut writing => written,
            };
            match written {
                WriteEnd::Stalled => End::Stalled,
                WriteEnd::GatewayClosed => End::Closed,
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
        tokio::select! {
            // The cut first: it ends the other side too, and this side must not be told of that end.
            biased;
            () = cut.fired() => {
                log::info!("{name} is cut off by --inject cut");
                End::Gone
            }
            end = relaying => end,
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
            let waits = side == Side::Service || matches!(end, End::BothClosed);
            let linger = if waits { Linger::UntilTaken } else { Linger::WhileTaking(STALL) };
            Some((frames.into_inner().unsplit(writer), linger))
        }
        End::Stalled => {
            log::info!("{name} is disconnected: it does not read, and its peer is gone");
            Some((frames.into_inner().unsplit(writer), Linger::Reset))
        }
    }
}
