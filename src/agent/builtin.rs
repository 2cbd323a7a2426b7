//! Services of the agent's own, for measuring: what is sent comes back, is dropped, or comes without end.

use std::io::Result;
use std::pin::Pin;
use std::task::{Context, Poll};

use serde::Deserialize;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf, ReadHalf, SimplexStream, WriteHalf, simplex};

/// What echo holds between its two sides.
const ECHO_BUFFER: usize = 64 * 1024;

/// A service without a server.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub enum Builtin {
    /// Gives back what it gets (RFC 862).
    Echo,
    /// Takes all and says nothing (RFC 863).
    Discard,
    /// Sends zeros until the user closes.
    Source,
    /// A bug, for a test of what it costs.
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

    /// The two sides of a new connection.
    pub(super) fn connect(self) -> (Box<dyn AsyncRead + Send + Unpin>, Box<dyn AsyncWrite + Send + Unpin>) {
        match self {
            Builtin::Echo => {
                let (read, write) = simplex(ECHO_BUFFER);
                (Box::new(read), Box::new(write))
            }
            // The pipe carries nothing but the end.
            Builtin::Discard => {
                let (read, write) = simplex(1);
                (Box::new(read), Box::new(Discard(write)))
            }
            #[cfg(test)]
            Builtin::Bug => panic!("a bug in a stream, which the test wants"),
            Builtin::Source => {
                let (read, write) = simplex(1);
                (Box::new(Source(read)), Box::new(Discard(write)))
            }
        }
    }
}

/// Drops what is written and passes the end on.
struct Discard(WriteHalf<SimplexStream>);

impl AsyncWrite for Discard {
    fn poll_write(self: Pin<&mut Self>, _: &mut Context<'_>, bytes: &[u8]) -> Poll<Result<usize>> {
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(cx)
    }
}

/// Zeros, until the pipe has ended.
struct Source(ReadHalf<SimplexStream>);

impl AsyncRead for Source {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<Result<()>> {
        let mut end = [0; 1];
        match Pin::new(&mut self.0).poll_read(cx, &mut ReadBuf::new(&mut end)) {
            Poll::Pending => {
                let room = buf.initialize_unfilled();
                room.fill(0);
                let count = room.len();
                buf.advance(count);
                Poll::Ready(Ok(()))
            }
            ended => ended,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    #[tokio::test]
    async fn each_does_what_it_is_named_for() {
        let (mut read, mut write) = Builtin::Echo.connect();
        write.write_all(b"and back").await.unwrap();
        write.shutdown().await.unwrap();
        let mut back = String::new();
        read.read_to_string(&mut back).await.unwrap();
        assert_eq!(back, "and back");

        let (mut read, mut write) = Builtin::Discard.connect();
        write.write_all(&[7; 100_000]).await.unwrap();
        write.shutdown().await.unwrap();
        assert_eq!(read.read(&mut [0; 8]).await.unwrap(), 0);

        let (mut read, mut write) = Builtin::Source.connect();
        let mut zeros = vec![1; 100_000];
        read.read_exact(&mut zeros).await.unwrap();
        assert!(zeros.iter().all(|byte| *byte == 0));
        write.write_all(b"not heard").await.unwrap();
        write.shutdown().await.unwrap();
        assert_eq!(read.read(&mut zeros).await.unwrap(), 0);
    }
}
