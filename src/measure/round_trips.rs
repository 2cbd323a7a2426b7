//! Round-trip times of probes that an echo returns.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::sync::Notify;
use tokio::time::{Instant, sleep_until};

use super::stream::not_the_builtin;
use crate::error::Result;

/// The timing and size of probes.
#[derive(Clone, Debug)]
pub(crate) struct Pace {
    /// The number of probes; `None` is no limit.
    pub count: Option<u64>,
    /// The time between probes; zero sends each when the previous one is answered.
    pub interval: Duration,
    /// The size of a probe in bytes; at least one.
    pub size: usize,
    /// The time limit of an answer.
    pub timeout: Duration,
}

/// An event of a probe, with its number from 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Event {
    /// It was sent.
    Sent(u64),
    /// Its answer arrived after this time.
    Answered(u64, Duration),
    /// Its time limit passed. The answer may still arrive, because a stream loses nothing.
    Missed(u64),
}

/// How a measurement ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    /// All probes are answered or missed.
    Done,
    /// The stream has ended.
    Broken,
}

struct Probe {
    seq: u64,
    sent: Instant,
    missed: bool,
}

/// Unanswered probes, in the order of their answers.
#[derive(Default)]
struct Out {
    probes: RefCell<VecDeque<Probe>>,
    changed: Notify,
}

/// Sends probes to the echo behind `stream` and calls `note` for each event. Returns `false` if the stream ended first.
///
/// Cancel-safe for the measurement: the noted events are complete. The stream cannot be used afterwards.
///
/// # Errors
/// Returns [`crate::error::Error::Target`] if the answer differs from the probe, and the errors of `note`.
pub(crate) async fn round_trips(
    stream: &str,
    mut read: impl AsyncRead + Unpin,
    mut write: impl AsyncWrite + Unpin,
    pace: &Pace,
    note: impl Fn(Event) -> Result<()>,
) -> Result<bool> {
    let out = Out::default();
    let end = tokio::select! {
        biased;
        end = answers(stream, &mut read, pace, &out, &note) => end?,
        end = send(&mut write, pace, &out, &note) => end?,
        end = miss(pace, &out, &note) => end?,
    };
    Ok(end == End::Done)
}

/// Sends all probes, and waits until each is answered or missed.
async fn send(
    write: &mut (impl AsyncWrite + Unpin),
    pace: &Pace,
    out: &Out,
    note: &impl Fn(Event) -> Result<()>,
) -> Result<End> {
    let mut next = Instant::now();
    for seq in 1..=pace.count.unwrap_or(u64::MAX) {
        if pace.interval.is_zero() {
            settled(out).await;
        } else {
            sleep_until(next).await;
            // A late probe delays the next ones, too.
            next = Instant::now().max(next) + pace.interval;
        }
        out.probes.borrow_mut().push_back(Probe { seq, sent: Instant::now(), missed: false });
        out.changed.notify_waiters();
        note(Event::Sent(seq))?;
        let sent = async {
            write.write_all(&content(seq, pace.size)).await?;
            write.flush().await
        };
        if sent.await.is_err() {
            // The reading half reports the end.
            return std::future::pending().await;
        }
    }
    settled(out).await;
    Ok(End::Done)
}

/// Waits until every sent probe is answered or missed.
async fn settled(out: &Out) {
    loop {
        let changed = out.changed.notified();
        if out.probes.borrow().iter().all(|probe| probe.missed) {
            return;
        }
        changed.await;
    }
}

async fn answers(
    stream: &str,
    read: &mut (impl AsyncRead + Unpin),
    pace: &Pace,
    out: &Out,
    note: &impl Fn(Event) -> Result<()>,
) -> Result<End> {
    let mut answer = vec![0; pace.size];
    let mut filled = 0;
    loop {
        filled += match read.read(&mut answer[filled..]).await {
            Ok(0) | Err(_) => return Ok(End::Broken),
            Ok(count) => count,
        };
        let first = out.probes.borrow().front().map(|probe| (probe.seq, probe.sent));
        let Some((seq, sent)) = first.filter(|(seq, _)| content(*seq, filled) == answer[..filled]) else {
            return not_the_builtin(stream, "it sends what it was not sent", "echo");
        };
        if filled == pace.size {
            filled = 0;
            out.probes.borrow_mut().pop_front();
            note(Event::Answered(seq, sent.elapsed()))?;
            out.changed.notify_waiters();
        }
    }
}

/// Notes each probe whose time limit passes.
async fn miss(pace: &Pace, out: &Out, note: &impl Fn(Event) -> Result<()>) -> Result<End> {
    loop {
        let changed = out.changed.notified();
        let due =
            out.probes.borrow().iter().find(|probe| !probe.missed).map(|probe| probe.sent + pace.timeout);
        let Some(due) = due else {
            changed.await;
            continue;
        };
        tokio::select! {
            () = changed => continue,
            () = sleep_until(due) => {}
        }
        let missed = out.probes.borrow_mut().iter_mut().find(|probe| !probe.missed).map(|probe| {
            probe.missed = true;
            probe.seq
        });
        if let Some(seq) = missed {
            note(Event::Missed(seq))?;
            out.changed.notify_waiters();
        }
    }
}

/// The content of a probe: its number, and bytes that differ from its neighbours'.
fn content(seq: u64, size: usize) -> Vec<u8> {
    let tail = (0u8..=u8::MAX).cycle().map(|byte| byte ^ seq.to_le_bytes()[0]);
    seq.to_le_bytes().into_iter().chain(tail).take(size).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{duplex, split};

    fn pace(count: u64, interval: u64) -> Pace {
        Pace {
            count: Some(count),
            interval: Duration::from_millis(interval),
            size: 20,
            timeout: Duration::from_secs(3),
        }
    }

    /// Sends probes to `other`.
    async fn probe<F: Future<Output = ()>>(
        pace: Pace,
        other: impl FnOnce(tokio::io::DuplexStream) -> F,
    ) -> (Result<bool>, Vec<Event>) {
        let events = RefCell::new(Vec::new());
        let (ours, theirs) = duplex(64);
        let (read, write) = split(ours);
        let note = |event| {
            events.borrow_mut().push(event);
            Ok(())
        };
        let other = async {
            other(theirs).await;
            std::future::pending::<()>().await;
        };
        let done = tokio::select! {
            done = round_trips("echo", read, write, &pace, note) => done,
            () = other => unreachable!(),
        };
        (done, events.into_inner())
    }

    #[tokio::test(start_paused = true)]
    async fn times_each_probe() {
        for interval in [0, 1000] {
            let echo = async |mut stream: tokio::io::DuplexStream| {
                let mut probe = [0; 20];
                for delay in [100, 2500] {
                    stream.read_exact(&mut probe).await.unwrap();
                    tokio::time::sleep(Duration::from_millis(delay)).await;
                    stream.write_all(&probe).await.unwrap();
                }
                std::future::pending::<()>().await;
            };
            let (done, events) = probe(pace(2, interval), echo).await;
            assert!(done.unwrap());
            let answered = |seq, millis| Event::Answered(seq, Duration::from_millis(millis));
            assert_eq!(events, [Event::Sent(1), answered(1, 100), Event::Sent(2), answered(2, 2500)]);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_late_probe_is_missed_and_then_answered() {
        let late = async |mut stream: tokio::io::DuplexStream| {
            let mut probes = [0; 60];
            stream.read_exact(&mut probes).await.unwrap();
            tokio::time::sleep(Duration::from_millis(1500)).await;
            stream.write_all(&probes[..40]).await.unwrap();
            std::future::pending::<()>().await;
        };
        let (done, events) = probe(pace(3, 1000), late).await;
        assert!(done.unwrap());
        let answered = |seq, millis| Event::Answered(seq, Duration::from_millis(millis));
        assert_eq!(
            events,
            [
                Event::Sent(1),
                Event::Sent(2),
                Event::Sent(3),
                Event::Missed(1),
                answered(1, 3500),
                answered(2, 2500),
                Event::Missed(3)
            ]
        );
    }

    #[tokio::test(start_paused = true)]
    async fn another_target_is_an_error() {
        for said in [&b"SSH-2.0"[..], &[0; 20]] {
            let (done, _) = probe(pace(2, 1000), async |mut stream: tokio::io::DuplexStream| {
                stream.write_all(said).await.unwrap();
                std::future::pending::<()>().await;
            })
            .await;
            assert!(done.unwrap_err().to_string().contains("not the agent's builtin echo"), "{said:?}");
        }
        let (done, events) = probe(pace(2, 1000), async |stream| drop(stream)).await;
        assert!(!done.unwrap() && !events.contains(&Event::Sent(2)));
    }
}
