//! Buffers that are held only while they hold bytes. An idle stream has none, and an active one reuses a buffer that is
//! still in the processor's cache.
//!
//! They start on a page: some processors copy many times slower to a destination a few bytes above its source within the
//! page.

use std::cell::RefCell;
use std::future::poll_fn;
use std::io;
use std::ops::Range;
use std::pin::Pin;
use std::task::{Poll, ready};

use memmap2::MmapMut;
use tokio::io::{AsyncRead, ReadBuf};

/// The size of a buffer in bytes: a frame or its TLS records, and their headers.
pub(crate) const SIZE: usize = 65_536 + 4096;

/// Buffers that a thread keeps for reuse: one for each step of both directions of a stream.
const SPARE: usize = 4;

thread_local! {
    static SPARES: RefCell<Vec<MmapMut>> = const { RefCell::new(Vec::new()) };
}

/// [`SIZE`] bytes, aligned to a page. They are left over from the last use.
pub(crate) struct Buffer {
    /// A mapping of its own, which dropping returns to the system: the heap kept for good what 50 streams once used. `None`
    /// only while it is dropped.
    bytes: Option<MmapMut>,
}

impl Buffer {
    pub(crate) fn take() -> Self {
        let spare = SPARES.with_borrow_mut(Vec::pop);
        let new = || MmapMut::map_anon(SIZE).expect("the system has memory");
        Self { bytes: Some(spare.unwrap_or_else(new)) }
    }

    /// Reads into `room` of a new buffer. Returns the buffer and the number of bytes, which is 0 at the end.
    ///
    /// Cancel-safe: bytes are read only in the poll that returns them.
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
        // A thread that is ending no longer has spares.
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
