//! The end of a connection whose client may not read: closed the ordinary way, its end would wait behind what is not
//! read, and the client would never learn of it.

use std::time::Duration;

use tokio::net::TcpStream;
use tokio::time::sleep;

use crate::platform::tcp::unacknowledged;

/// How often is looked whether everything has arrived.
const LOOK: Duration = Duration::from_secs(2);

/// Waits until what `tcp` was sent has arrived: the kernel would give up on a connection that is closed before.
pub(super) async fn wait(tcp: &TcpStream) {
    while unacknowledged(tcp).is_some_and(|left| left > 0) {
        sleep(LOOK).await;
    }
}

/// The same, for as long as the client takes some of it every `stall`; then its end will be a reset.
pub(super) async fn wait_or_reset(tcp: &TcpStream, stall: Duration) {
    let mut before = u64::MAX;
    while let Some(left @ 1..) = unacknowledged(tcp) {
        if left >= before {
            reset(tcp);
            return;
        }
        before = left;
        sleep(stall).await;
    }
}

/// Makes the end of `tcp` a reset, which a client notices that does not read.
pub(super) fn reset(tcp: &TcpStream) {
    let _ = tcp.set_zero_linger();
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    use super::*;

    const STALL: Duration = Duration::from_millis(200);

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
    async fn who_reads_slowly_gets_all_of_it() {
        let (mut near, mut far) = pair().await;
        near.writable().await.unwrap();
        let sent = fill(&near);
        near.shutdown().await.unwrap();
        let reading = async {
            let mut got = 0;
            let mut block = vec![0; 1 << 20];
            loop {
                // Slower than a stall, and some of it each time.
                sleep(STALL / 2).await;
                match far.read(&mut block).await.unwrap() {
                    0 => return got,
                    count => got += count as u64,
                }
            }
        };
        let ending = async {
            wait_or_reset(&near, STALL).await;
            drop(near);
        };
        assert_eq!(tokio::join!(reading, ending).0, sent);
    }

    #[tokio::test]
    async fn who_reads_nothing_is_reset() {
        let (mut near, far) = pair().await;
        near.writable().await.unwrap();
        fill(&near);
        near.shutdown().await.unwrap();
        wait_or_reset(&near, STALL).await;
        drop(near);
        let error =
            tokio::time::timeout(Duration::from_secs(20), far.ready(tokio::io::Interest::ERROR)).await;
        assert!(error.expect("no reset comes").unwrap().is_error());
    }

    #[tokio::test]
    async fn nothing_is_waited_for_where_all_has_arrived() {
        let (near, far) = pair().await;
        wait_or_reset(&near, Duration::from_secs(3600)).await;
        wait(&near).await;
        drop((near, far));
    }
}
