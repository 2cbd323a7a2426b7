//! Buffers that are held only while they contain bytes. An idle stream holds none; an active one reuses a buffer that is
//! still in the processor's cache.
//!
//! Each starts on a page, because some processors copy many times slower if the destination is a few bytes above the
//! source within the page.

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

/// Buffers that a thread keeps for reuse: enough for both directions of a stream.
const SPARE: usize = 4;

thread_local! {
    static SPARES: RefCell<Vec<MmapMut>> = const { RefCell::new(Vec::new()) };
}

/// [`SIZE`] bytes, aligned to a page. Their content is left over from the last use.
pub(crate) struct Buffer {
    /// A memory mapping, which is returned to the system on drop: the heap never returned the buffers of 50 streams.
    /// `None` only during the drop.
    bytes: Option<MmapMut>,
}

impl Buffer {
    /// A spare buffer, or a new one.
    pub(crate) fn take() -> Self {
        let spare = SPARES.with_borrow_mut(Vec::pop);
        let new = || MmapMut::map_anon(SIZE).expect("the system has memory");
        Self { bytes: Some(spare.unwrap_or_else(new)) }
    }

    /// Reads into `room` of a buffer. Returns the buffer and the number of bytes read, which is 0 at the end.
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
        // Fails in a thread that is ending.
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
