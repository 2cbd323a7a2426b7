//! What the targets share: a limit of memory, the parts of an input, and connections in memory.

use std::alloc::System;
use std::collections::VecDeque;
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};

use cap::Cap;
use http::{HeaderMap, HeaderName, HeaderValue};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::runtime::Builder;

/// The most memory of the program under test, in bytes. libFuzzer's own, for its corpus, does not count.
const MEMORY: usize = 256 << 20;

#[global_allocator]
static ALLOCATOR: Cap<System> = Cap::new(System, MEMORY);

/// The bytes of an input, which decide in order. At its end they are all zero.
#[derive(Clone, Copy, Debug)]
pub struct Input<'a>(pub &'a [u8]);

impl<'a> Input<'a> {
    /// Whether no byte is left.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The next byte.
    pub fn byte(&mut self) -> u8 {
        self.bytes(1).first().copied().unwrap_or_default()
    }

    /// The lowest bit of the next byte.
    pub fn bit(&mut self) -> bool {
        self.byte() & 1 == 1
    }

    /// The next `count` bytes, or as many as are left.
    pub fn bytes(&mut self, count: usize) -> &'a [u8] {
        let (taken, rest) = self.0.split_at(count.min(self.0.len()));
        self.0 = rest;
        taken
    }

    /// The bytes that the next byte counts.
    pub fn counted(&mut self) -> &'a [u8] {
        let count = self.byte();
        self.bytes(count.into())
    }

    /// The text before the next zero byte, or all; an empty one if it is not UTF-8.
    pub fn text(&mut self) -> &'a str {
        let end = self.0.iter().position(|&byte| byte == 0).unwrap_or(self.0.len());
        let taken = self.bytes(end);
        self.bytes(1);
        text(taken)
    }

    /// The lengths of the pieces that bytes arrive in, over and over: 1 to 64, or all at once.
    pub fn lengths(&mut self) -> impl Iterator<Item = usize> + Clone + Send + use<> {
        let lengths = self.counted().to_vec();
        let lengths = if lengths.is_empty() { vec![u8::MAX] } else { lengths };
        let length = |byte| if byte == u8::MAX { usize::MAX } else { usize::from(byte % 64) + 1 };
        lengths.into_iter().map(length).cycle()
    }
}

/// The text of an input; an empty one if it is not UTF-8.
pub fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap_or_default()
}

/// An HTTP answer as text: a line with the status, lines with headers, an empty line and the body.
pub fn answer(bytes: &[u8]) -> (u16, HeaderMap, &[u8]) {
    let at = bytes.windows(2).position(|pair| pair == b"\n\n").unwrap_or(bytes.len());
    let (head, body) = (&bytes[..at], bytes.get(at + 2..).unwrap_or_default());
    let mut lines = head.split(|&byte| byte == b'\n');
    let status = text(lines.next().unwrap_or_default()).parse().unwrap_or(200);
    let header = |line: &[u8]| {
        let at = line.iter().position(|&byte| byte == b':')?;
        Some((HeaderName::try_from(&line[..at]).ok()?, HeaderValue::try_from(&line[at + 1..]).ok()?))
    };
    (status, lines.filter_map(header).collect(), body)
}

/// Runs a future to its end. Time passes only while everything waits.
pub fn run<F: Future>(future: F) -> F::Output {
    let runtime = Builder::new_current_thread().enable_time().start_paused(true).build();
    runtime.expect("a runtime").block_on(future)
}

/// Makes the answer to a request.
type Answer = Box<dyn FnOnce(&[u8]) -> Vec<u8> + Send>;

/// A connection whose other end sends what it has to say in pieces, ends, and takes everything.
pub struct Wire {
    /// What the other end has not sent yet.
    unread: VecDeque<u8>,
    lengths: Box<dyn Iterator<Item = usize> + Send>,
    /// What is left of the current piece.
    piece: usize,
    /// The other end speaks only after it has read the head of a request.
    answer: Option<Answer>,
    written: Arc<Mutex<Vec<u8>>>,
}

impl Wire {
    /// The other end sends these bytes in pieces of these lengths.
    pub fn new(bytes: &[u8], lengths: impl Iterator<Item = usize> + Send + 'static) -> Self {
        let unread = bytes.iter().copied().collect();
        Self { unread, lengths: Box::new(lengths), piece: 0, answer: None, written: Arc::default() }
    }

    /// The other end sends its answer to the head of a request.
    pub fn answering(
        answer: impl FnOnce(&[u8]) -> Vec<u8> + Send + 'static,
        lengths: impl Iterator<Item = usize> + Send + 'static,
    ) -> Self {
        Self { answer: Some(Box::new(answer)), ..Self::new(&[], lengths) }
    }

    /// What is written, also after the connection has been given away.
    pub fn written(&self) -> Arc<Mutex<Vec<u8>>> {
        self.written.clone()
    }

    /// What has not been read.
    pub fn rest(self) -> Vec<u8> {
        self.unread.into()
    }
}

impl AsyncRead for Wire {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if let Some(answer) = this.answer.take() {
            let written = this.written.lock().expect("no panic");
            if !written.windows(4).any(|end| end == b"\r\n\r\n") {
                this.answer = Some(answer);
                // Everything runs in one thread, and the request is written before the next look.
                cx.waker().wake_by_ref();
                return Poll::Pending;
            }
            this.unread = answer(&written).into();
        }
        if this.unread.is_empty() {
            return Poll::Ready(Ok(()));
        }
        if this.piece == 0 {
            this.piece = this.lengths.next().unwrap_or(usize::MAX);
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        let count = this.piece.min(this.unread.len()).min(buffer.remaining());
        this.piece -= count;
        buffer.put_slice(&this.unread.drain(..count).collect::<Vec<_>>());
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Wire {
    fn poll_write(self: Pin<&mut Self>, _: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.written.lock().expect("no panic").extend_from_slice(bytes);
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}
