//! A bridge between a local side and a WebSocket, with any order of reads, writes, waits, ends and failures on both sides. A
//! model says what must come out.
#![no_main]

use std::collections::VecDeque;
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use iotstream::fuzzing::tunnel::{Bridge, Bridged, bridge};
use iotstream_fuzz::{Input, run};
use libfuzzer_sys::fuzz_target;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Sleep, sleep, timeout};
use tungstenite::protocol::frame::Frame;
use tungstenite::protocol::frame::coding::{Data, OpCode};

/// The times of waits, around the limits of the bridge.
const WAITS: [u64; 8] = [1, 20, 249, 251, 999, 3_001, 31_000, 120_000];

/// The most steps of one side.
const STEPS: usize = 64;

fuzz_target!(|data: &[u8]| {
    let mut input = Input(data);
    let options = options(&mut input);
    let mut local = Local::default();
    let mut peer = Peer::default();
    let (mut taken, mut wire_taken) = (VecDeque::new(), VecDeque::new());
    let mut steps = 0;
    while !input.is_empty() && steps < STEPS {
        steps += 1;
        match input.byte() % 4 {
            0 => local.step(&mut input),
            1 => peer.step(&mut input, options),
            2 => writing(&mut taken, &mut input),
            _ => writing(&mut wire_taken, &mut input),
        }
    }
    let local_writer = Taken { steps: taken.clone(), ..Taken::default() };
    let remote_writer = Taken { steps: wire_taken.clone(), ..Taken::default() };
    let (delivered, wire) = (local_writer.bytes.clone(), remote_writer.bytes.clone());
    let (early, reads) = peer.reads(usize::from(data.len().to_le_bytes()[0]));
    let remote = tokio::io::join(Given { steps: reads, sleep: None }, remote_writer);
    let given = Given { steps: local.steps.clone(), sleep: None };
    let bridging = bridge((given, local_writer), remote, &early, options);
    let ended = run(async { timeout(Duration::from_secs(7 * 86_400), bridging).await });
    let ended = ended.expect("a bridge ends when both sides have");
    let (delivered, wire) = (delivered.lock().expect("no panic"), wire.lock().expect("no panic"));
    let fails = |steps: &VecDeque<Step>| steps.iter().any(|step| matches!(step, Step::Fail));
    let outcome = Outcome { options, ended, local_fails: fails(&taken), remote_fails: fails(&wire_taken) };
    outcome.check(&local, &peer, &delivered, &wire);
});

fn options(input: &mut Input<'_>) -> Bridge {
    let (bits, times, ends) = (input.byte(), input.byte(), input.byte());
    let bit = |at: u8| bits >> at & 1 == 1;
    let time = |at: u8, times_of: [Option<u64>; 4]| {
        times_of[usize::from(times >> at & 3)].map(Duration::from_millis)
    };
    let wait = |bits: u8| (bits & 8 == 8).then(|| Duration::from_millis(WAITS[usize::from(bits & 7)]));
    Bridge {
        keepalive: bit(0),
        half_close: bit(1),
        one_connection: bit(2),
        hold_close: bit(3),
        going_away_is_end: bit(4),
        ends_with_peer: bit(5),
        direction: bit(6).then(|| bit(7)),
        linger: time(0, [None, None, Some(1000), Some(5000)]),
        drain: time(2, [None, Some(0), Some(1000), Some(3000)]),
        rest: time(4, [None, Some(1000), Some(4000), Some(4000)]),
        hangup: wait(ends & 15),
        gone: wait(ends >> 4),
    }
}

/// A step of a side that reads or is read from.
#[derive(Clone, Debug)]
enum Step {
    /// Gives these bytes.
    Give(Vec<u8>),
    /// Takes at most this many bytes in one write.
    Take(usize),
    Wait(Duration),
    /// Lets others go first.
    Yield,
    Fail,
}

/// The bytes at this position of a stream: a loss, a repetition or a swap shows.
fn noise(from: usize, count: usize) -> Vec<u8> {
    let byte = |at: usize| (at.wrapping_mul(2_654_435_761) >> 11).to_le_bytes()[0];
    (from..from + count).map(byte).collect()
}

/// A number of bytes: often few, sometimes more than a frame or a buffer holds.
fn count(byte: u8) -> usize {
    match byte % 4 {
        0 => usize::from(byte / 4),
        1 => usize::from(byte) * 16,
        2 => usize::from(byte) * 300,
        _ => 1,
    }
}

fn wait(byte: u8) -> Step {
    Step::Wait(Duration::from_millis(WAITS[usize::from(byte % 8)]))
}

fn writing(steps: &mut VecDeque<Step>, input: &mut Input<'_>) {
    let (kind, byte) = (input.byte(), input.byte());
    steps.push_back(match kind % 16 {
        0 => Step::Fail,
        1..=4 => wait(byte),
        5..=7 => Step::Yield,
        _ => Step::Take(count(byte).max(1)),
    });
}

/// What the local side sends.
#[derive(Default)]
struct Local {
    steps: VecDeque<Step>,
    data: Vec<u8>,
    fails: bool,
}

impl Local {
    fn step(&mut self, input: &mut Input<'_>) {
        let (kind, byte) = (input.byte(), input.byte());
        if self.fails {
            return;
        }
        self.steps.push_back(match kind % 16 {
            0 => {
                self.fails = true;
                Step::Fail
            }
            1..=3 => wait(byte),
            4..=5 => Step::Yield,
            _ => {
                let data = noise(self.data.len(), count(byte).max(1));
                self.data.extend_from_slice(&data);
                Step::Give(data)
            }
        });
    }
}

/// What the peer sends over the WebSocket.
#[derive(Default)]
struct Peer {
    steps: VecDeque<Step>,
    /// All its data, before its end.
    data: Vec<u8>,
    pings: Vec<Vec<u8>>,
    /// Its Close, with the reason.
    close: Option<(Option<u16>, String)>,
    /// It has sent a run of empty messages.
    has_emptied: bool,
    /// It breaks the protocol or its connection: all that follows counts only as far as it is read.
    is_broken: bool,
    within_message: bool,
}

impl Peer {
    fn step(&mut self, input: &mut Input<'_>, options: Bridge) {
        let (kind, byte) = (input.byte(), input.byte());
        if self.is_broken {
            return;
        }
        let mut wire = Vec::new();
        let mut put = |frame: Frame| frame.format(&mut wire).expect("a frame");
        let data = |is_first: bool| OpCode::Data(if is_first { Data::Binary } else { Data::Continue });
        match kind % 16 {
            0..=5 => {
                let payload = noise(self.data.len(), count(byte));
                let is_last = kind & 16 == 0;
                put(Frame::message(payload.clone(), data(!self.within_message), is_last));
                self.within_message = !is_last;
                if self.close.is_none() && !self.has_emptied {
                    self.data.extend_from_slice(&payload);
                } else if self.close.is_none() && !payload.is_empty() {
                    self.is_broken = true;
                }
            }
            6 => {
                let payload = vec![byte; usize::from(byte % 126)];
                put(Frame::ping(payload.clone()));
                self.pings.push(payload);
            }
            7 => put(Frame::pong(vec![byte])),
            8..=9 => {
                let code = [1000_u16, 1000, 1000, 1001, 1011, 1013, 4000, 0][usize::from(byte % 8)];
                let count = match byte / 8 % 8 {
                    0 => self.data.len() + 1,
                    1 => self.data.len().saturating_sub(1),
                    _ => self.data.len(),
                };
                // The peer counts the other direction than ours.
                let direction =
                    if options.direction.unwrap_or_default() == (byte & 128 == 0) { "down" } else { "up" };
                let reason =
                    if byte & 64 == 0 { String::new() } else { format!("iotstream {direction} {count}") };
                let close = (code > 0).then(|| (Some(code), reason.clone()));
                let payload = close.as_ref().map_or(Vec::new(), |(code, reason)| {
                    [&code.unwrap_or_default().to_be_bytes()[..], reason.as_bytes()].concat()
                });
                wire.extend([0x88, payload.len().to_le_bytes()[0]]);
                wire.extend(payload);
                if self.close.is_none() {
                    self.close = Some(close.unwrap_or_default());
                }
            }
            10 if !self.within_message => {
                for _ in 0..100 {
                    put(Frame::message(vec![], data(true), true));
                }
                self.has_emptied |= self.close.is_none();
            }
            11 => {
                wire.extend([[0xc2, 0], [0x82, 0x80], [0x83, 0], [0x09, 0]][usize::from(byte % 4)]);
                self.is_broken |= self.close.is_none();
            }
            12..=14 => return self.steps.push_back(wait(byte)),
            _ if byte > 250 => {
                self.is_broken = true;
                return self.steps.push_back(Step::Fail);
            }
            _ => return self.steps.push_back(Step::Yield),
        }
        self.steps.push_back(Step::Give(wire));
    }

    /// What the bridge reads: the first `early` bytes came with the upgrade's answer.
    fn reads(&self, early: usize) -> (Vec<u8>, VecDeque<Step>) {
        let mut steps = self.steps.clone();
        match steps.pop_front() {
            Some(Step::Give(mut first)) => {
                let rest = first.split_off(early.min(first.len()));
                steps.push_front(Step::Give(rest));
                (first, steps)
            }
            Some(other) => {
                steps.push_front(other);
                (Vec::new(), steps)
            }
            None => (Vec::new(), steps),
        }
    }

    /// Whether its Close is an end in order.
    fn is_normal(&self, options: Bridge) -> bool {
        let is_end = |code: Option<u16>| {
            matches!(code, None | Some(1000)) || code == Some(1001) && options.going_away_is_end
        };
        self.has_emptied || self.close.as_ref().is_some_and(|(code, _)| is_end(*code))
    }
}

struct Outcome {
    options: Bridge,
    ended: Bridged,
    local_fails: bool,
    remote_fails: bool,
}

impl Outcome {
    fn check(&self, local: &Local, peer: &Peer, delivered: &[u8], wire: &[u8]) {
        let Self { options, ended, local_fails, remote_fails } = self;
        let end = ended.end.as_str();
        let sent = Sent::read(wire);
        // A time limit may cut the last frame; the end of the peer's connection, one without data.
        let is_cut = sent.cut.is_some_and(|first| first & 8 == 0);
        assert!(*remote_fails || !is_cut || !ended.is_in_order, "a frame is cut: {end}");
        assert!(local.data.starts_with(&sent.data), "other data is sent: {end}");
        assert!(peer.data.starts_with(delivered), "other data is delivered: {end}");
        let (sent_count, received_count) = (sent.data.len() as u64, delivered.len() as u64);
        assert!(ended.sent <= sent_count && ended.received <= received_count, "counts too much: {end}");
        if ended.is_in_order && !remote_fails && !local_fails {
            assert_eq!(
                (ended.sent, ended.received),
                (sent_count, received_count),
                "counts too little: {end}"
            );
        }
        let mut pings = peer.pings.iter();
        for pong in &sent.pongs {
            assert!(pings.any(|ping| ping == pong), "a pong without its ping: {end}");
        }
        if let Some(reason) = &sent.close
            && let Some(count) = reason.strip_prefix("iotstream ")
        {
            let direction = if options.direction == Some(true) { "up" } else { "down" };
            assert_eq!(count, format!("{direction} {}", sent.data.len()), "the count in our Close: {end}");
        }
        if !ended.is_in_order {
            return;
        }
        // A local side that has ended and takes no more ends the stream, whatever the peer sends.
        let has_gone = end == "Local" && *local_fails;
        let is_unread = options.linger.is_some() || has_gone;
        assert!(
            !peer.is_broken || peer.close.is_some() || peer.has_emptied || is_unread,
            "no end in order: {end}"
        );
        let has_all = delivered == peer.data;
        if end == "Local" {
            assert_eq!(sent.data, local.data, "not all is sent: {end}");
            assert!(has_all || *local_fails || options.linger.is_some(), "not all is delivered: {end}");
        } else {
            assert!(has_all, "not all is delivered: {end}");
            assert!(
                options.drain.is_some()
                    || options.ends_with_peer
                    || options.rest.is_none()
                    || sent.data == local.data,
                "not all is sent: {end}"
            );
            assert!(peer.is_normal(*options), "the peer has not ended: {end}");
        }
        if options.linger.is_none() && !local_fails {
            if let Some((_, reason)) = &peer.close
                && options.direction.is_some()
                && let Some(count) = reason.strip_prefix("iotstream ").and_then(|count| count.split_once(' '))
                && !peer.has_emptied
            {
                let ours = if options.direction == Some(true) { "up" } else { "down" };
                assert!(
                    count.0 != ours && count.1 == delivered.len().to_string(),
                    "a loss is not noticed: {end}"
                );
            }
            let is_over = peer.is_normal(*options) || options.hold_close;
            assert!(is_over, "the peer has failed: {end}");
        }
    }
}

/// What a client sends, as a server reads it.
#[derive(Default)]
struct Sent {
    data: Vec<u8>,
    pongs: Vec<Vec<u8>>,
    close: Option<String>,
    /// The first byte of a last frame that is not whole.
    cut: Option<u8>,
}

impl Sent {
    fn read(mut wire: &[u8]) -> Self {
        let mut sent = Self::default();
        while !wire.is_empty() {
            assert!(sent.close.is_none(), "{} bytes after the Close", wire.len());
            let Some((opcode, payload, rest)) = frame(wire) else {
                sent.cut = Some(wire[0]);
                break;
            };
            wire = rest;
            match opcode {
                2 => {
                    assert!(!payload.is_empty() && payload.len() <= 65_536);
                    sent.data.extend_from_slice(&payload);
                }
                8 => {
                    sent.close =
                        Some(String::from_utf8(payload[payload.len().min(2)..].to_vec()).expect("text"))
                }
                9 => {}
                10 => sent.pongs.push(payload),
                other => panic!("a frame of kind {other}"),
            }
        }
        sent
    }
}

/// The opcode and the payload of the first frame, and what follows it.
fn frame(wire: &[u8]) -> Option<(u8, Vec<u8>, &[u8])> {
    let [first, second, rest @ ..] = wire else { return None };
    assert_eq!((first & 0xf0, second & 0x80), (0x80, 0x80), "a frame is not final, or not masked");
    let (length, rest) = match second & 0x7f {
        126 => rest
            .split_first_chunk::<2>()
            .map(|(length, rest)| (u64::from(u16::from_be_bytes(*length)), rest))?,
        127 => rest.split_first_chunk::<8>().map(|(length, rest)| (u64::from_be_bytes(*length), rest))?,
        length => (length.into(), rest),
    };
    let (key, rest) = rest.split_first_chunk::<4>()?;
    let (payload, rest) = rest.split_at_checked(usize::try_from(length).expect("a short frame"))?;
    let payload = payload.iter().zip(key.iter().cycle()).map(|(byte, key)| byte ^ key).collect();
    Some((first & 0x0f, payload, rest))
}

/// Gives bytes, step by step, and then ends.
struct Given {
    steps: VecDeque<Step>,
    sleep: Option<Pin<Box<Sleep>>>,
}

/// Takes bytes, step by step, and then all.
#[derive(Default)]
struct Taken {
    steps: VecDeque<Step>,
    sleep: Option<Pin<Box<Sleep>>>,
    bytes: Arc<Mutex<Vec<u8>>>,
}

/// Waits if the next step is to wait. Returns it, if it is another.
fn next(
    steps: &mut VecDeque<Step>,
    waiting: &mut Option<Pin<Box<Sleep>>>,
    cx: &mut Context<'_>,
) -> Poll<Option<Step>> {
    loop {
        if let Some(sleep) = waiting {
            ready!(sleep.as_mut().poll(cx));
            *waiting = None;
        }
        match steps.front() {
            Some(Step::Wait(time)) => *waiting = Some(Box::pin(sleep(*time))),
            Some(Step::Yield) => {
                steps.pop_front();
                cx.waker().wake_by_ref();
                return Poll::Pending;
            }
            // A failed side stays so.
            Some(Step::Fail) => return Poll::Ready(Some(Step::Fail)),
            Some(Step::Give(_) | Step::Take(_)) => return Poll::Ready(steps.pop_front()),
            None => return Poll::Ready(None),
        }
        steps.pop_front();
    }
}

fn failed() -> io::Error {
    io::ErrorKind::ConnectionReset.into()
}

impl AsyncRead for Given {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        loop {
            match ready!(next(&mut this.steps, &mut this.sleep, cx)) {
                Some(Step::Fail) => return Poll::Ready(Err(failed())),
                Some(Step::Give(mut bytes)) => {
                    let rest = bytes.split_off(bytes.len().min(buffer.remaining()));
                    if !rest.is_empty() {
                        this.steps.push_front(Step::Give(rest));
                    }
                    if !bytes.is_empty() {
                        buffer.put_slice(&bytes);
                        return Poll::Ready(Ok(()));
                    }
                }
                _ => return Poll::Ready(Ok(())),
            }
        }
    }
}

impl AsyncWrite for Taken {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let this = &mut *self;
        let count = match ready!(next(&mut this.steps, &mut this.sleep, cx)) {
            Some(Step::Fail) => return Poll::Ready(Err(failed())),
            Some(Step::Take(most)) => bytes.len().min(most),
            _ => bytes.len(),
        };
        this.bytes.lock().expect("no panic").extend_from_slice(&bytes[..count]);
        Poll::Ready(Ok(count))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}
