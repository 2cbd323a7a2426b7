//! A reader whose kernel buffer is short until the line is known to be fast: what waits in it is in front of the next
//! keystroke, and on a fast line it spares wake-ups.

use std::fmt;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use tokio::io::{AsyncRead, ReadBuf};

/// A line has outgrown the short buffer when it took so many bytes without a pause, which one of 100 Mbit/s does not:
/// frames of 16 KiB are more than a millisecond apart there.
const OUTGROWN_BY: usize = 256 * 1024;
const PAUSE: Duration = Duration::from_millis(1);

/// A reader, and how to make its buffer longer.
pub struct Paced<R> {
    reader: R,
    lengthen: fn(&R),
    /// `None` once the buffer is long.
    pace: Option<Pace>,
}

impl<R> Paced<R> {
    /// `lengthen` is called once, with the reader, if ever the line is seen to be fast.
    pub fn new(reader: R, lengthen: fn(&R)) -> Self {
        Self { reader, lengthen, pace: Some(Pace { taken: 0, last: Instant::now() }) }
    }

    pub(crate) fn get_ref(&self) -> &R {
        &self.reader
    }
}

impl<R: fmt::Debug> fmt::Debug for Paced<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.reader.fmt(f)
    }
}

impl<R: AsyncRead + Unpin> AsyncRead for Paced<R> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let Self { reader, lengthen, pace } = self.get_mut();
        let before = buf.filled().len();
        ready!(Pin::new(&mut *reader).poll_read(cx, buf))?;
        let count = buf.filled().len() - before;
        if pace.as_mut().is_some_and(|pace| pace.outgrows(count, Instant::now())) {
            *pace = None;
            lengthen(reader);
        }
        Poll::Ready(Ok(()))
    }
}

/// How fast bytes are taken.
struct Pace {
    /// Bytes since the last pause.
    taken: usize,
    last: Instant,
}

impl Pace {
    fn outgrows(&mut self, count: usize, now: Instant) -> bool {
        if now - self.last > PAUSE {
            self.taken = 0;
        }
        self.last = now;
        self.taken += count;
        self.taken > OUTGROWN_BY
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fast_line_outgrows_the_buffer_and_a_slow_one_does_not() {
        const FRAME: u32 = 16 * 1024;
        let outgrown = |megabits: u32| {
            let mut now = Instant::now();
            let mut pace = Pace { taken: 0, last: now };
            (0..100).any(|_| {
                now += Duration::from_micros(u64::from(8 * FRAME / megabits));
                pace.outgrows(FRAME as usize, now)
            })
        };
        assert!(outgrown(1000));
        assert!(!outgrown(100));
    }
}
