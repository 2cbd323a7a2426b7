//! A helper's stream that the peer ends first.

use super::counts::HELPER;
use super::*;

const CLOSE: &[u8] = b"\x88\x02\x03\xe8";

/// A bridge whose peer has closed, and whose local side has seen the end.
async fn closed() -> Ends {
    let mut ends = ends(65_536, HELPER, b"").await;
    ends.gateway.get_mut().write_all(CLOSE).await.unwrap();
    assert_eq!(ends.local.read(&mut [0; 1]).await.unwrap(), 0);
    ends
}

#[tokio::test(start_paused = true)]
async fn late_bytes_are_sent_until_the_local_side_ends_or_is_silent() {
    for ends_itself in [true, false] {
        let Ends { mut local, mut gateway, bridge, .. } = closed().await;
        let near = async {
            for _ in 0..5 {
                sleep(Duration::from_secs(2)).await;
                local.write_all(&noise(50_000)).await.unwrap();
            }
            if ends_itself {
                local.shutdown().await.unwrap();
            }
            Instant::now()
        };
        let (since, (data, close)) = tokio::join!(near, receive(&mut gateway));
        assert!(data == noise(50_000).repeat(5), "{} bytes", data.len());
        assert_eq!(close.unwrap().reason.as_str(), "iotstream up 250000");
        assert!(matches!(bridge.await.unwrap().0, End::Peer(_)));
        assert_eq!(since.elapsed().as_secs(), if ends_itself { 0 } else { 3 });
        drop(local);
    }
}

#[tokio::test(start_paused = true)]
async fn the_end_of_the_connection_is_a_cut_if_bytes_were_sent_since_the_close() {
    // The bytes arrive before the connection ends, after that, or never.
    for (before, after) in [(&b"late"[..], &b""[..]), (b"", b"late"), (b"", b"")] {
        let Ends { mut local, gateway, bridge, .. } = closed().await;
        let mut wire = gateway.into_inner();
        if !before.is_empty() {
            local.write_all(before).await.unwrap();
            wire.read_exact(&mut [0; 6 + 4]).await.unwrap();
        }
        local.write_all(after).await.unwrap();
        let begin = Instant::now();
        drop(wire);
        let (end, ..) = bridge.await.unwrap();
        if before.is_empty() && after.is_empty() {
            assert!(matches!(end, End::Peer(_)), "{end:?}");
        } else {
            assert!(matches!(end, End::Abandoned), "{end:?}");
        }
        assert!(begin.elapsed() < Duration::from_secs(1), "{:?}", begin.elapsed());
    }
}

#[tokio::test(start_paused = true)]
async fn a_local_side_that_ends_with_the_peer_sends_what_it_has_and_sees_no_end() {
    let (remote, wire) = duplex(65_536);
    let Ends { mut local, gateway, bridge, .. } = ends_with(64, remote, wire, HELPER, b"", || true).await;
    let mut wire = gateway.into_inner();
    let begin = Instant::now();
    local.write_all(b"ready").await.unwrap();
    wire.write_all(CLOSE).await.unwrap();
    let mut rest = Vec::new();
    wire.read_to_end(&mut rest).await.unwrap();
    assert_eq!(rest.len(), (6 + 5) + (6 + 2 + "iotstream up 5".len()));
    assert!(matches!(bridge.await.unwrap(), (End::Peer(_), 5, 0)));
    assert!(begin.elapsed() < Duration::from_secs(1), "{:?}", begin.elapsed());
}
