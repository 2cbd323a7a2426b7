//! The reading half of either side.

use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::task::Poll;

use tokio::io::{AsyncRead, ReadBuf};

/// A reader that takes all that is there.
pub(super) struct Source<R> {
    reader: R,
    /// An error that came behind bytes: it is told with the next call.
    failed: Option<io::Error>,
}

impl<R: AsyncRead + Unpin> Source<R> {
    pub(super) fn new(reader: R) -> Self {
        Self { reader, failed: None }
    }

    /// Fills `room` with what is there without waiting, at least one byte; 0 is EOF.
    ///
    /// Cancel-safe: bytes are taken only in the poll that returns them.
    pub(super) async fn fill(&mut self, room: &mut [u8]) -> io::Result<usize> {
        if let Some(error) = self.failed.take() {
            return Err(error);
        }
        poll_fn(|cx| {
            let mut buffer = ReadBuf::new(room);
            loop {
                let before = buffer.filled().len();
                let full = buffer.remaining() == 0;
                match if full { Poll::Pending } else { Pin::new(&mut self.reader).poll_read(cx, &mut buffer) }
                {
                    Poll::Pending if before == 0 => return Poll::Pending,
                    Poll::Pending => return Poll::Ready(Ok(before)),
                    Poll::Ready(Ok(())) if buffer.filled().len() == before => return Poll::Ready(Ok(before)),
                    Poll::Ready(Ok(())) => {}
                    Poll::Ready(Err(error)) if before == 0 => return Poll::Ready(Err(error)),
                    Poll::Ready(Err(error)) => {
                        self.failed = Some(error);
                        return Poll::Ready(Ok(before));
                    }
                }
            }
        })
        .await
    }
}
