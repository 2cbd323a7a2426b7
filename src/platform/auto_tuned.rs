//! A reader whose kernel buffer grows once the connection proves fast: what waits in the buffer delays the next
//! keystroke, while on a fast connection a larger one saves wake-ups.

use std::fmt;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use tokio::io::{AsyncRead, ReadBuf};

/// Bytes without a pause that show a connection to be fast. At 100 Mbit/s frames of 16 KiB are more than a millisecond
/// apart, so such a connection keeps the small buffer.
const FAST_AFTER: usize = 256 * 1024;
const PAUSE: Duration = Duration::from_millis(1);

/// A reader, and the function that enlarges its kernel buffer.
pub struct AutoTuned<R> {
    reader: R,
    grow: fn(&R),
    /// `None` once the buffer is large.
    pace: Option<Pace>,
}

impl<R> AutoTuned<R> {
    /// Calls `grow` with the reader at most once, when the connection proves fast.
    pub fn new(reader: R, grow: fn(&R)) -> Self {
        Self { reader, grow, pace: Some(Pace { received: 0, last: Instant::now() }) }
    }

    #[cfg_attr(windows, expect(dead_code, reason = "stdin has no buffer that grows there"))]
    pub(crate) fn get_ref(&self) -> &R {
        &self.reader
    }
}

impl<R: fmt::Debug> fmt::Debug for AutoTuned<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.reader.fmt(f)
    }
}

impl<R: AsyncRead + Unpin> AsyncRead for AutoTuned<R> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let Self { reader, grow, pace } = self.get_mut();
        let before = buf.filled().len();
        ready!(Pin::new(&mut *reader).poll_read(cx, buf))?;
        let count = buf.filled().len() - before;
        if pace.as_mut().is_some_and(|pace| pace.is_fast(count, Instant::now())) {
            *pace = None;
            grow(reader);
        }
        Poll::Ready(Ok(()))
    }
}

/// How fast bytes arrive.
struct Pace {
    /// Bytes since the last pause.
    received: usize,
    last: Instant,
}

impl Pace {
    /// Counts `count` bytes read at `now`, and returns whether the connection has proved fast.
    fn is_fast(&mut self, count: usize, now: Instant) -> bool {
        if now - self.last > PAUSE {
            self.received = 0;
        }
        self.last = now;
        self.received += count;
        self.received > FAST_AFTER
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_buffer_grows_at_1_gbit_and_not_at_100_mbit() {
        const FRAME: u32 = 16 * 1024;
        let grows = |megabits: u32| {
            let mut now = Instant::now();
            let mut pace = Pace { received: 0, last: now };
            (0..100).any(|_| {
                now += Duration::from_micros(u64::from(8 * FRAME / megabits));
                pace.is_fast(FRAME as usize, now)
            })
        };
        assert!(grows(1000));
        assert!(!grows(100));
    }
}
