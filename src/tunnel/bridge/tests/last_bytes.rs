//! What happens to the last bytes of either side when the connection is dropped.

use super::tcp::over_tcp;
use super::*;

#[tokio::test(start_paused = true)]
async fn an_end_in_order_waits_until_its_bytes_arrived_if_the_peer_still_sends() {
    for still_sends in [true, false] {
        let (Ends { mut local, gateway, bridge, .. }, info, reset) = over_tcp(1 << 20, PATIENT).await;
        local.shutdown().await.unwrap();
        let mut wire = gateway.into_inner();
        wire.read_exact(&mut [0; 6 + 2 + "iotstream down 0".len()]).await.unwrap();
        info.lock().unwrap().queued = true;
        // More pongs behind the Close than the bridge reads at once. Closing a socket with unread bytes resets it, and the
        // peer loses what it has not received.
        let pongs = if still_sends { 300_000 } else { 0 };
        wire.write_all(&[&[0x88, 0], &[0x8a, 0].repeat(pongs)[..]].concat()).await.unwrap();
        sleep(Duration::from_secs(2)).await;
        assert_eq!(bridge.is_finished(), !still_sends);
        info.lock().unwrap().queued = false;
        let arrived = Instant::now();
        let (end, ..) = bridge.await.unwrap();
        assert!(matches!(end, End::Local), "{end:?}");
        assert!(arrived.elapsed() < Duration::from_millis(100), "{:?}", arrived.elapsed());
        assert!(!*reset.lock().unwrap());
    }
}

#[tokio::test(start_paused = true)]
async fn a_hung_up_stream_is_reset_while_its_last_bytes_wait() {
    for (queued, may_reset, is_reset) in [(true, true, true), (false, true, false), (true, false, false)] {
        let settings = Settings { reset: may_reset, ..PATIENT };
        let (Ends { hangup, bridge, local: _local, gateway: _gateway, .. }, info, reset) =
            over_tcp(1000, settings).await;
        info.lock().unwrap().queued = queued;
        hangup.send(()).unwrap();
        let (end, ..) = bridge.await.unwrap();
        assert!(matches!(end, End::HungUp { whole: false }), "{end:?}");
        assert_eq!(*reset.lock().unwrap(), is_reset, "{queued} {may_reset}");
    }
}

#[tokio::test(start_paused = true)]
async fn what_a_peer_sends_is_read_to_its_end_after_a_hang_up() {
    // The local side takes nothing.
    let (Ends { hangup, bridge, local: _local, gateway, .. }, ..) = over_tcp(1000, PATIENT).await;
    hangup.send(()).unwrap();
    let mut wire = gateway.into_inner();
    let far = async {
        let frame = [&[0x82, 126, 0x4e, 0x20][..], &noise(20_000)].concat();
        wire.write_all(&frame).await?;
        wire.shutdown().await
    };
    let (sent, end) = tokio::join!(far, bridge);
    sent.unwrap();
    assert!(matches!(end.unwrap().0, End::HungUp { whole: false }));
}
