//! One direction of a stream, from the reader of one side to the writer of the other: bounded in bytes, and a delay
//! line where latency is asked for.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::time::Instant;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;

use crate::emulator::websocket::frames::Fragment;

/// Bytes that one direction holds before its sender waits.
const CAPACITY: usize = 256 << 10;
/// Bytes that a delay line holds for each second of delay, so that latency does not limit the throughput.
const CAPACITY_PER_SECOND: usize = 512 << 20;
const MAX_CAPACITY: usize = 64 << 20;
/// Items that one direction holds: small frames take more memory than their bytes.
const MAX_ITEMS: usize = 8192;

/// A part of what one side sends to the other.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Content {
    Data(Fragment),
    /// A Ping or a Pong that is passed on.
    Ping(Bytes),
    Pong(Bytes),
    /// The Close of the sender's side, with its code and reason; nothing follows.
    Close(Option<(CloseCode, String)>),
}

#[derive(Debug)]
struct Item {
    content: Content,
    due: Instant,
    /// Given back once the item is taken.
    _room: OwnedSemaphorePermit,
}

/// The sender's end. Dropping it ends the direction once the receiver has taken everything.
#[derive(Debug)]
pub(super) struct Sender {
    items: mpsc::Sender<Item>,
    room: Arc<Semaphore>,
    capacity: usize,
    latency: Duration,
    finished: Arc<AtomicBool>,
}

/// The receiver's end. A direction that ends without a [`Content::Close`] was cut.
#[derive(Debug)]
pub(super) struct Receiver {
    items: mpsc::Receiver<Item>,
    head: Option<Item>,
    finished: Arc<AtomicBool>,
}

/// A direction that delays everything by `latency`, and holds at least `window` bytes. Single items have to fit.
pub(super) fn pipe(latency: Duration, window: usize) -> (Sender, Receiver) {
    let seconds = latency.as_secs_f64().min(1.0);
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, clippy::cast_precision_loss)]
    let for_latency = (CAPACITY_PER_SECOND as f64 * seconds) as usize;
    let capacity = for_latency.clamp(CAPACITY, MAX_CAPACITY).max(window);
    let (sender, items) = mpsc::channel(MAX_ITEMS);
    let room = Arc::new(Semaphore::new(capacity));
    let finished = Arc::new(AtomicBool::new(false));
    (
        Sender { items: sender, room, capacity, latency, finished: Arc::clone(&finished) },
        Receiver { items, head: None, finished },
    )
}

impl Sender {
    /// Waits for room, then sends; `false` when the receiver is gone.
    pub(super) async fn send(&self, content: Content) -> bool {
        let size = match &content {
            Content::Data(data) => data.bytes.len().clamp(1, self.capacity),
            Content::Ping(_) | Content::Pong(_) | Content::Close(_) => 1,
        };
        let due = Instant::now() + self.latency;
        let room = Arc::clone(&self.room).acquire_many_owned(u32::try_from(size).unwrap_or(u32::MAX));
        let room = tokio::select! {
            room = room => room,
            () = self.items.closed() => return false,
        };
        match room {
            Ok(room) => self.items.send(Item { content, due, _room: room }).await.is_ok(),
            Err(_) => false,
        }
    }

    /// Waits until the receiver is gone; one that has finished does not count as gone. Cancel-safe.
    pub(super) async fn gone(&self) {
        self.items.closed().await;
        if self.finished.load(Relaxed) {
            std::future::pending::<()>().await;
        }
    }
}

impl Receiver {
    /// Drops the receiver after the last content: the sender does not take it for gone.
    pub(super) fn finish(self) {
        self.finished.store(true, Relaxed);
    }

    /// The next content when it is due; `None` when the sender is gone. Cancel-safe.
    pub(super) async fn next(&mut self) -> Option<Content> {
        if self.head.is_none() {
            self.head = Some(self.items.recv().await?);
        }
        if let Some(due) = self.head.as_ref().map(|item| item.due).filter(|due| *due > Instant::now()) {
            tokio::time::sleep_until(due).await;
        }
        self.head.take().map(|item| item.content)
    }

    /// The next content, if it is due.
    pub(super) fn ready(&mut self) -> Option<Content> {
        if self.head.is_none() {
            self.head = self.items.try_recv().ok();
        }
        self.head.take_if(|item| item.due <= Instant::now()).map(|item| item.content)
    }
}

#[cfg(test)]
mod tests {
    use tokio_tungstenite::tungstenite::protocol::frame::coding::Data;

    use super::*;

    fn block() -> Content {
        Content::Data(Fragment { bytes: vec![0; 65_536].into(), kind: Data::Binary, is_final: true })
    }

    #[tokio::test(start_paused = true)]
    async fn latency_does_not_limit_the_throughput() {
        let latency = Duration::from_millis(100);
        let (sender, mut receiver) = pipe(latency, 65_536);
        let start = Instant::now();
        // Four megabytes are sent at once, and arrive together.
        for _ in 0..64 {
            assert!(sender.send(block()).await);
        }
        assert_eq!(Instant::now(), start);
        assert!(receiver.ready().is_none());
        for _ in 0..64 {
            assert!(receiver.next().await.is_some());
        }
        assert_eq!(Instant::now(), start + latency);
        drop(sender);
        assert_eq!(receiver.next().await, None);
    }

    #[tokio::test(start_paused = true)]
    async fn a_sender_waits_for_room_until_the_receiver_is_gone() {
        let (sender, receiver) = pipe(Duration::ZERO, 65_536);
        for _ in 0..4 {
            assert!(sender.send(block()).await);
        }
        let fifth = tokio::time::timeout(Duration::from_secs(1), sender.send(block())).await;
        assert!(fifth.is_err());
        drop(receiver);
        assert!(!sender.send(block()).await);
    }
}
