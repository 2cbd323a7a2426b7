//! The end of a connection whose client may not read. Closed in the ordinary way, the end would wait behind the data
//! that the client has not read, and the client would never learn of it.

use std::time::Duration;

use tokio::net::TcpStream;
use tokio::time::sleep;

use crate::platform::tcp::unacknowledged;

/// How often the unsent bytes are counted.
const LOOK: Duration = Duration::from_secs(2);

/// How long a connection lingers before it is closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::emulator) enum Linger {
    /// Until the client's system has taken every byte; the kernel would give up on a connection that is closed before.
    UntilTaken,
    /// The same, as long as the client takes some bytes in each period of this length; then it is reset.
    WhileTaking(Duration),
    /// Not at all: it is reset, and the client loses what it has not taken.
    Reset,
}

/// Waits as `how` says; the connection is ready to be dropped then.
pub(super) async fn linger(tcp: &TcpStream, how: Linger) {
    match how {
        Linger::UntilTaken => {
            while unacknowledged(tcp).is_some_and(|left| left > 0) {
                sleep(LOOK).await;
            }
        }
        Linger::WhileTaking(period) => {
            let mut before = u64::MAX;
            while let Some(left @ 1..) = unacknowledged(tcp) {
                if left >= before {
                    reset(tcp);
                    return;
                }
                before = left;
                sleep(period).await;
            }
        }
        Linger::Reset => reset(tcp),
    }
}

/// Makes the end of `tcp` a reset, which a client notices that does not read.
fn reset(tcp: &TcpStream) {
    let _ = tcp.set_zero_linger();
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    use super::*;

    const PERIOD: Duration = Duration::from_millis(200);

    async fn pair() -> (TcpStream, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let near = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        (near, listener.accept().await.unwrap().0)
    }

    fn fill(tcp: &TcpStream) -> u64 {
        let block = [7; 65_536];
        let mut sent = 0;
        while let Ok(count) = tcp.try_write(&block) {
            sent += count as u64;
        }
        assert!(unacknowledged(tcp).is_some_and(|left| left > 0));
        sent
    }

    #[tokio::test]
    async fn a_slow_reader_gets_every_byte() {
        let (mut near, mut far) = pair().await;
        near.writable().await.unwrap();
        let sent = fill(&near);
        near.shutdown().await.unwrap();
        let reading = async {
            let mut got = 0;
            let mut block = vec![0; 1 << 20];
            loop {
                // Slowly, but some bytes in each period.
                sleep(PERIOD / 2).await;
                match far.read(&mut block).await.unwrap() {
                    0 => return got,
                    count => got += count as u64,
                }
            }
        };
        let ending = async {
            linger(&near, Linger::WhileTaking(PERIOD)).await;
            drop(near);
        };
        assert_eq!(tokio::join!(reading, ending).0, sent);
    }

    #[tokio::test]
    async fn a_client_that_reads_nothing_is_reset() {
        let (mut near, far) = pair().await;
        near.writable().await.unwrap();
        fill(&near);
        near.shutdown().await.unwrap();
        linger(&near, Linger::WhileTaking(PERIOD)).await;
        drop(near);
        let error =
            tokio::time::timeout(Duration::from_secs(20), far.ready(tokio::io::Interest::ERROR)).await;
        assert!(error.expect("no reset arrives").unwrap().is_error());
    }

    #[tokio::test]
    async fn no_wait_once_every_byte_has_arrived() {
        let (near, far) = pair().await;
        linger(&near, Linger::WhileTaking(Duration::from_secs(3600))).await;
        linger(&near, Linger::UntilTaken).await;
        drop((near, far));
    }
}
