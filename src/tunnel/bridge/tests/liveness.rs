//! Detecting a lost peer.

use std::sync::{Arc, Mutex};

use super::tcp::{HEALTHY, over_tcp};
use super::*;

#[tokio::test(start_paused = true)]
async fn a_silent_peer_is_pinged_and_then_given_up() {
    let settings = Settings { keepalive: Keepalive::every(Duration::from_secs(4)), ..PATIENT };
    let Ends { local, gateway, bridge, .. } = ends(64, settings, b"").await;
    let mut wire = gateway.into_inner();
    let begin = Instant::now();
    let mut ping = [0; 6];
    wire.read_exact(&mut ping).await.unwrap();
    assert_eq!((ping[0], ping[1]), (0x89, 0x80));
    assert_eq!(begin.elapsed().as_secs(), 4);
    // Any byte is a sign of life.
    wire.write_all(&[0x8a, 0]).await.unwrap();
    wire.read_exact(&mut ping).await.unwrap();
    assert_eq!(begin.elapsed().as_secs(), 8);
    let (end, ..) = bridge.await.unwrap();
    assert!(matches!(end, End::Silent(after) if after.as_secs() == 8), "{end:?}");
    assert!(begin.elapsed() < Duration::from_secs(13));
    drop(local);
}

/// An agent's bridge whose peer neither reads nor sends, and the TCP state of its connection.
async fn with_mute_peer(pipe: usize) -> (Ends, Arc<Mutex<TcpInfo>>) {
    let (ends, tcp_info, _) = over_tcp(pipe, PATIENT).await;
    (ends, tcp_info)
}

#[tokio::test(start_paused = true)]
async fn a_peer_that_does_not_read_is_alive_while_its_system_acknowledges() {
    let (Ends { mut local, bridge, gateway: _gateway, .. }, tcp_info) = with_mute_peer(1000).await;
    // The data exceeds what the peer accepts, so pings are queued behind it.
    local.write_all(&noise(1500)).await.unwrap();
    *tcp_info.lock().unwrap() = TcpInfo { queued: true, ..HEALTHY };
    sleep(Duration::from_secs(3600)).await;
    assert!(!bridge.is_finished());
    // A late answer to a probe, then none.
    *tcp_info.lock().unwrap() =
        TcpInfo { unacknowledged: true, last_ack: Duration::from_secs(200), queued: true, ..HEALTHY };
    sleep(Duration::from_secs(100)).await;
    *tcp_info.lock().unwrap() = TcpInfo { queued: true, ..HEALTHY };
    sleep(Duration::from_secs(100)).await;
    assert!(!bridge.is_finished());
    *tcp_info.lock().unwrap() =
        TcpInfo { unacknowledged: true, last_ack: Duration::from_secs(300), queued: true, ..HEALTHY };
    let begin = Instant::now();
    let (end, ..) = bridge.await.unwrap();
    assert!(matches!(end, End::Silent(_)), "{end:?}");
    assert!((100..=120).contains(&begin.elapsed().as_secs()), "{:?}", begin.elapsed());
}

#[tokio::test(start_paused = true)]
async fn a_peer_that_hears_nothing_is_lost_though_its_own_segments_arrive() {
    let (Ends { bridge, local: _local, gateway: _gateway, .. }, tcp_info) = with_mute_peer(65_536).await;
    // For an hour, every ping is acknowledged.
    *tcp_info.lock().unwrap() = TcpInfo { unacknowledged: true, queued: true, ..HEALTHY };
    sleep(Duration::from_secs(3600)).await;
    // An outage of a minute is no loss of the peer, nor is a segment that is lost again and again.
    let repeating = TcpInfo { repeats: true, unacknowledged: true, queued: true, ..HEALTHY };
    for behind_gap in [0, 1, 2] {
        *tcp_info.lock().unwrap() = TcpInfo { behind_gap, ..repeating };
        sleep(Duration::from_secs(100)).await;
    }
    *tcp_info.lock().unwrap() = TcpInfo { repeats: false, ..repeating };
    sleep(Duration::from_secs(100)).await;
    assert!(!bridge.is_finished());
    *tcp_info.lock().unwrap() = repeating;
    let begin = Instant::now();
    let (end, ..) = bridge.await.unwrap();
    assert!(matches!(end, End::Silent(_)), "{end:?}");
    assert!((100..=120).contains(&begin.elapsed().as_secs()), "{:?}", begin.elapsed());
}

#[tokio::test(start_paused = true)]
async fn a_missing_pong_behind_unread_data_is_not_an_error() {
    let (Ends { mut local, bridge, gateway: _gateway, .. }, _tcp_info) = with_mute_peer(65_536).await;
    local.write_all(b"not read yet").await.unwrap();
    sleep(Duration::from_secs(3600)).await;
    assert!(!bridge.is_finished());

    // Without data in front of it, the missing pong counts.
    let (Ends { bridge, local: _local, gateway: _gateway, .. }, _tcp_info) = with_mute_peer(65_536).await;
    let begin = Instant::now();
    assert!(matches!(bridge.await.unwrap().0, End::Silent(_)));
    assert!((110..=120).contains(&begin.elapsed().as_secs()), "{:?}", begin.elapsed());
}

#[tokio::test(start_paused = true)]
async fn a_blocked_local_side_is_abandoned_after_the_peer_disconnects() {
    let (Ends { local, mut gateway, bridge, .. }, tcp_info) = with_mute_peer(1000).await;
    gateway.get_mut().write_all(&[&[0x82, 126, 0x10, 0][..], &noise(900)].concat()).await.unwrap();
    let writing = tokio::spawn(async move {
        let _ = gateway.get_mut().write_all(&noise(4096 - 900)).await;
        gateway
    });
    sleep(Duration::from_secs(3600)).await;
    assert!(!bridge.is_finished(), "its connection is there");
    tcp_info.lock().unwrap().closed = true;
    let begin = Instant::now();
    let (end, ..) = bridge.await.unwrap();
    assert!(matches!(end, End::Abandoned), "{end:?}");
    assert!((4..=5).contains(&begin.elapsed().as_secs()), "{:?}", begin.elapsed());
    drop((local, writing));
}

#[tokio::test(start_paused = true)]
async fn a_peer_that_is_silent_after_the_local_side_was_blocked_is_given_up() {
    let (Ends { mut local, mut gateway, bridge, .. }, _tcp_info) = with_mute_peer(1000).await;
    gateway.get_mut().write_all(&[&[0x82, 126, 0x05, 0xdc][..], &noise(1500)].concat()).await.unwrap();
    sleep(Duration::from_secs(3600)).await;
    assert!(!bridge.is_finished());
    local.read_exact(&mut [0; 1500]).await.unwrap();
    let begin = Instant::now();
    assert!(matches!(bridge.await.unwrap().0, End::Silent(_)));
    assert!((110..=120).contains(&begin.elapsed().as_secs()), "{:?}", begin.elapsed());
}
