//! Buffers that are held only while there are bytes in them: a stream that waits has none, and the next one to move
//! bytes takes one that the processor's cache still holds.
//!
//! They begin on a page, because some processors copy many times slower to a destination that lies a few bytes above its
//! source within the page.

use std::cell::RefCell;
use std::future::poll_fn;
use std::io;
use std::ops::Range;
use std::pin::Pin;
use std::task::{Poll, ready};

use memmap2::MmapMut;
use tokio::io::{AsyncRead, ReadBuf};

/// Bytes in a buffer: enough for a frame, for the TLS records of one, and for what stands around them.
pub(crate) const SIZE: usize = 65_536 + 4096;

/// Buffers that a thread keeps for the next taker: one for each step of both directions of a stream.
const SPARE: usize = 4;

thread_local! {
    static SPARES: RefCell<Vec<MmapMut>> = const { RefCell::new(Vec::new()) };
}

/// [`SIZE`] bytes, aligned to a page. What they are is left from the last taker.
pub(crate) struct Buffer {
    /// Memory of its own, which the system has back when it goes: on the heap, what 50 streams once took was kept for good.
    /// `None` only while it is dropped.
    bytes: Option<MmapMut>,
}

impl Buffer {
    pub(crate) fn take() -> Self {
        let spare = SPARES.with_borrow_mut(Vec::pop);
        let new = || MmapMut::map_anon(SIZE).expect("the system has memory");
        Self { bytes: Some(spare.unwrap_or_else(new)) }
    }

    /// Reads into `room` of a buffer once there is something, or none at the end: the buffer, and how many bytes.
    ///
    /// Cancel-safe: bytes are taken only in the poll that returns them.
    pub(crate) async fn read(
        reader: &mut (impl AsyncRead + Unpin),
        room: Range<usize>,
    ) -> io::Result<(Self, usize)> {
        poll_fn(|cx| {
            let mut buffer = Self::take();
            let mut room = ReadBuf::new(&mut buffer[room.clone()]);
            ready!(Pin::new(&mut *reader).poll_read(cx, &mut room))?;
            let count = room.filled().len();
            Poll::Ready(Ok((buffer, count)))
        })
        .await
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        // A thread that ends has no place for it any more.
        let _ = SPARES.try_with(|spares| {
            let mut spares = spares.borrow_mut();
            if spares.len() < SPARE {
                spares.extend(self.bytes.take());
            }
        });
    }
}

impl std::ops::Deref for Buffer {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        self.bytes.as_deref().unwrap_or_default()
    }
}

impl std::ops::DerefMut for Buffer {
    fn deref_mut(&mut self) -> &mut [u8] {
        self.bytes.as_deref_mut().unwrap_or_default()
    }
}
