//! Services in the agent itself, for measuring: echo, discard and source.

use std::io::Result;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use serde::Deserialize;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf, simplex};

/// What echo holds between its input and its output, in bytes.
const ECHO_BUFFER: usize = 64 * 1024;

/// A service that needs no server.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub enum Builtin {
    /// Sends back what it receives (RFC 862).
    Echo,
    /// Discards what it receives (RFC 863), and sends the number of bytes: in decimal on a line, again when it has grown.
    Discard,
    /// Sends as many zero bytes as a decimal number on the first line asks for. Unlimited output would waste quota.
    Source,
    /// Panics, for a test of what a bug ends.
    #[cfg(test)]
    Bug,
}

impl Builtin {
    pub(super) fn name(self) -> &'static str {
        match self {
            Builtin::Echo => "echo",
            Builtin::Discard => "discard",
            Builtin::Source => "source",
            #[cfg(test)]
            Builtin::Bug => "bug",
        }
    }

    /// The service with that name.
    pub(in crate::agent) fn named(name: &str) -> Option<Self> {
        [Builtin::Echo, Builtin::Discard, Builtin::Source].into_iter().find(|builtin| builtin.name() == name)
    }

    /// A new connection: its output and its input.
    pub(crate) fn connect(self) -> (Box<dyn AsyncRead + Send + Unpin>, Box<dyn AsyncWrite + Send + Unpin>) {
        match self {
            Builtin::Echo => {
                let (read, write) = simplex(ECHO_BUFFER);
                (Box::new(read), Box::new(write))
            }
            Builtin::Discard => {
                let shared = Shared::default();
                (
                    Box::new(Counts { shared: shared.clone(), reported: None, line: Vec::new() }),
                    Box::new(Input(shared)),
                )
            }
            Builtin::Source => {
                let shared = Shared::default();
                (Box::new(Zeros { shared: shared.clone(), sent: 0 }), Box::new(Input(shared)))
            }
            #[cfg(test)]
            Builtin::Bug => panic!("a bug in a stream, which the test wants"),
        }
    }
}

/// The state that both sides of a connection share.
#[derive(Clone, Default)]
struct Shared(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    /// Bytes received from the user.
    received: u64,
    /// The first of them, which may be a number.
    opening: Vec<u8>,
    ended: bool,
    /// The reader that waits for a change.
    reader: Option<Waker>,
}

/// The length of the largest number with its line feed.
const LONGEST_NUMBER: usize = 21;

impl State {
    /// The number on the user's first line, once it is complete; 0 for any other line.
    fn wanted(&self) -> Option<u64> {
        match self.opening.iter().position(|byte| *byte == b'\n') {
            Some(end) => Some(number(&self.opening[..end]).unwrap_or(0)),
            None => (self.ended || self.opening.len() == LONGEST_NUMBER).then_some(0),
        }
    }
}

fn number(line: &[u8]) -> Option<u64> {
    std::str::from_utf8(line).ok()?.trim_end().parse().ok()
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn change(&self, change: impl FnOnce(&mut State)) {
        let mut state = self.lock();
        change(&mut state);
        if let Some(reader) = state.reader.take() {
            reader.wake();
        }
    }
}

/// The input of discard and source.
struct Input(Shared);

impl AsyncWrite for Input {
    fn poll_write(self: Pin<&mut Self>, _: &mut Context<'_>, bytes: &[u8]) -> Poll<Result<usize>> {
        self.0.change(|state| {
            let room = LONGEST_NUMBER.saturating_sub(state.opening.len());
            state.opening.extend_from_slice(&bytes[..bytes.len().min(room)]);
            state.received = state.received.saturating_add(bytes.len() as u64);
        });
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Result<()>> {
        self.0.change(|state| state.ended = true);
        Poll::Ready(Ok(()))
    }
}

/// The output of discard: the number of bytes received, whenever it has grown.
struct Counts {
    shared: Shared,
    reported: Option<u64>,
    /// The rest of a line.
    line: Vec<u8>,
}

impl AsyncRead for Counts {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<Result<()>> {
        if self.line.is_empty() {
            let mut state = self.shared.lock();
            let (received, ended) = (state.received, state.ended);
            if self.reported.unwrap_or(0) == received && !ended {
                state.reader = Some(cx.waker().clone());
                return Poll::Pending;
            }
            drop(state);
            if self.reported == Some(received) {
                return Poll::Ready(Ok(()));
            }
            self.reported = Some(received);
            self.line = format!("{received}\n").into_bytes();
        }
        let count = self.line.len().min(buf.remaining());
        buf.put_slice(&self.line[..count]);
        self.line.drain(..count);
        Poll::Ready(Ok(()))
    }
}

/// The output of source.
struct Zeros {
    shared: Shared,
    sent: u64,
}

impl AsyncRead for Zeros {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<Result<()>> {
        let mut state = self.shared.lock();
        let left = match state.wanted() {
            _ if state.ended => 0,
            Some(wanted) => wanted.saturating_sub(self.sent),
            None => {
                state.reader = Some(cx.waker().clone());
                return Poll::Pending;
            }
        };
        drop(state);
        let count = usize::try_from(left).map_or(buf.remaining(), |left| left.min(buf.remaining()));
        buf.initialize_unfilled_to(count).fill(0);
        buf.advance(count);
        self.sent += count as u64;
        Poll::Ready(Ok(()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    #[tokio::test]
    async fn echo_discard_and_source_do_what_they_are_named_for() {
        let (mut read, mut write) = Builtin::Echo.connect();
        write.write_all(b"and back").await.unwrap();
        write.shutdown().await.unwrap();
        let mut back = String::new();
        read.read_to_string(&mut back).await.unwrap();
        assert_eq!(back, "and back");

        let (mut read, mut write) = Builtin::Discard.connect();
        write.write_all(&[7; 100_000]).await.unwrap();
        write.shutdown().await.unwrap();
        let mut counted = String::new();
        read.read_to_string(&mut counted).await.unwrap();
        assert_eq!(counted, "100000\n");

        let (mut read, mut write) = Builtin::Source.connect();
        write.write_all(b"1000000000000\n").await.unwrap();
        let mut zeros = vec![1; 100_000];
        read.read_exact(&mut zeros).await.unwrap();
        assert!(zeros.iter().all(|byte| *byte == 0));
        write.write_all(b"not heard").await.unwrap();
        write.shutdown().await.unwrap();
        assert_eq!(read.read(&mut zeros).await.unwrap(), 0);
    }

    #[tokio::test]
    async fn discard_reports_its_count_before_the_end() {
        let (mut read, mut write) = Builtin::Discard.connect();
        let mut line = [0; 2];
        for expected in [b"3\n", b"8\n"] {
            let count = if expected[0] == b'3' { 3 } else { 5 };
            write.write_all(&[7; 5][..count]).await.unwrap();
            // A byte at a time: a line may arrive in pieces.
            for byte in &mut line {
                *byte = read.read_u8().await.unwrap();
            }
            assert_eq!(&line, expected);
        }
        write.shutdown().await.unwrap();
        assert_eq!(read.read(&mut line).await.unwrap(), 0);

        let (mut read, mut write) = Builtin::Discard.connect();
        write.shutdown().await.unwrap();
        let mut counted = String::new();
        read.read_to_string(&mut counted).await.unwrap();
        assert_eq!(counted, "0\n");
    }

    #[tokio::test]
    async fn source_sends_what_is_asked_for() {
        for (asked, sent) in [
            ("100000\n", 100_000),
            ("7\r\n12", 7),
            ("0\n", 0),
            ("\n", 0),
            ("a few\n", 0),
            ("99999999999999999999999", 0),
        ] {
            let (mut read, mut write) = Builtin::Source.connect();
            let mut zeros = Vec::new();
            let (all, ()) = tokio::join!(read.read_to_end(&mut zeros), async {
                // The number arrives in pieces.
                for byte in asked.bytes() {
                    tokio::task::yield_now().await;
                    write.write_all(&[byte]).await.unwrap();
                }
            });
            assert_eq!(all.unwrap(), sent, "{asked}");
        }
    }
}
