//! The limits on the bandwidth and the daily bytes of all streams together.

use std::io;
use std::num::NonZeroU64;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::{Duration, SystemTime};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::watch;
use tokio::time::{Instant, Sleep, sleep_until};

use crate::time::clock::unix_seconds;

/// Under a bandwidth limit a stream carries at most an eighth of a second's bytes at a time, so that streams take turns.
const TURNS_A_SECOND: u64 = 8;
/// A turn of fewer bytes is not worth its system call.
const SMALLEST_TURN: u64 = 256;

/// What streams may carry. Both directions count, as in a hub's quota \[D].
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Allowance {
    /// Bytes a second.
    pub(super) bandwidth: Option<NonZeroU64>,
    /// Bytes a day. The day begins at 00:00 UTC, like the hub's \[D].
    pub(super) daily_bytes: Option<u64>,
}

/// The bytes of all streams.
#[derive(Debug)]
pub(super) struct Traffic {
    account: Mutex<Account>,
    /// Whether today's bytes are used up.
    spent: watch::Sender<bool>,
}

#[derive(Debug)]
struct Account {
    /// When the bandwidth limit allows the next byte.
    free_at: Instant,
    day: u64,
    today: u64,
}

impl Traffic {
    pub(super) fn new() -> Arc<Self> {
        let account = Account { free_at: Instant::now(), day: 0, today: 0 };
        Arc::new(Self { account: Mutex::new(account), spent: watch::Sender::new(false) })
    }

    fn lock(&self) -> MutexGuard<'_, Account> {
        self.account.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Counts `bytes`, and returns the time until which their stream must pause.
    fn charge(&self, bytes: u64, allowance: Allowance) -> Option<Instant> {
        let mut account = self.lock();
        let day = unix_seconds(SystemTime::now()).0 / 86_400;
        if account.day != day {
            (account.day, account.today) = (day, 0);
        }
        account.today = account.today.saturating_add(bytes);
        let spent = allowance.daily_bytes.is_some_and(|budget| account.today >= budget);
        self.spent.send_if_modified(|before| std::mem::replace(before, spent) != spent);
        let rate = allowance.bandwidth.filter(|_| bytes > 0)?;
        let takes = Duration::from_nanos(
            u64::try_from(u128::from(bytes) * 1_000_000_000 / u128::from(rate.get())).ok()?,
        );
        account.free_at = account.free_at.max(Instant::now()) + takes;
        Some(account.free_at)
    }

    /// Whether today's bytes are used up.
    pub(super) fn is_spent(&self, allowance: Allowance) -> bool {
        self.charge(0, allowance);
        *self.spent.borrow()
    }

    /// Resolves once today's bytes are used up.
    pub(super) async fn spent(&self) {
        // The sender lives as long as `self`.
        let _ = self.spent.subscribe().wait_for(|spent| *spent).await;
    }
}

/// One half of a connection, whose bytes are counted and limited.
#[derive(Debug)]
pub(super) struct Charged<T> {
    inner: T,
    traffic: Arc<Traffic>,
    allowance: Allowance,
    wait: Option<Pin<Box<Sleep>>>,
}

impl<T: Unpin> Charged<T> {
    pub(super) fn new(inner: T, traffic: &Arc<Traffic>, allowance: Allowance) -> Self {
        Self { inner, traffic: traffic.clone(), allowance, wait: None }
    }

    /// The most that may be carried now. Pending while this half must pause.
    fn poll_turn(&mut self, cx: &mut Context<'_>) -> Poll<usize> {
        if let Some(wait) = &mut self.wait {
            ready!(wait.as_mut().poll(cx));
            self.wait = None;
        }
        let turn = self.allowance.bandwidth.map(|rate| (rate.get() / TURNS_A_SECOND).max(SMALLEST_TURN));
        Poll::Ready(turn.map_or(usize::MAX, |turn| usize::try_from(turn).unwrap_or(usize::MAX)))
    }

    fn carried(&mut self, bytes: usize) {
        let until = self.traffic.charge(bytes as u64, self.allowance);
        self.wait = until.map(|until| Box::pin(sleep_until(until)));
    }
}

impl<T: AsyncRead + Unpin> AsyncRead for Charged<T> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let turn = ready!(self.poll_turn(cx)).min(buf.remaining());
        let mut part = ReadBuf::new(buf.initialize_unfilled_to(turn));
        ready!(Pin::new(&mut self.inner).poll_read(cx, &mut part))?;
        let count = part.filled().len();
        buf.advance(count);
        self.carried(count);
        Poll::Ready(Ok(()))
    }
}

impl<T: AsyncWrite + Unpin> AsyncWrite for Charged<T> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let turn = ready!(self.poll_turn(cx)).min(bytes.len());
        let count = ready!(Pin::new(&mut self.inner).poll_write(cx, &bytes[..turn]))?;
        self.carried(count);
        Poll::Ready(Ok(count))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    #[tokio::test(start_paused = true)]
    async fn streams_share_the_bandwidth() {
        let traffic = Traffic::new();
        let allowance = Allowance { bandwidth: NonZeroU64::new(10_000), daily_bytes: None };
        let begin = Instant::now();
        let reading = async {
            let mut read = Charged::new(tokio::io::repeat(7), &traffic, allowance);
            read.read_exact(&mut vec![0; 50_000]).await.unwrap();
        };
        let writing = async {
            let mut write = Charged::new(tokio::io::sink(), &traffic, allowance);
            write.write_all(&vec![0; 50_000]).await.unwrap();
        };
        tokio::join!(reading, writing);
        let took = begin.elapsed().as_millis();
        assert!((9_500..=10_000).contains(&took), "100 kB at 10 kB/s took {took} ms");
    }

    #[tokio::test]
    async fn streams_share_the_daily_bytes() {
        let traffic = Traffic::new();
        let allowance = Allowance { bandwidth: None, daily_bytes: Some(1000) };
        assert!(!traffic.is_spent(allowance));
        Charged::new(tokio::io::sink(), &traffic, allowance).write_all(&[0; 1000]).await.unwrap();
        traffic.spent().await;
        assert!(traffic.is_spent(allowance));
        // More is allowed after a reload, and on the next day.
        assert!(!traffic.is_spent(Allowance { daily_bytes: Some(2000), ..allowance }));
        traffic.lock().day -= 1;
        assert!(!traffic.is_spent(allowance));
    }
}
