//! What happens to the last bytes of either side when the connection is dropped.

use std::sync::{Arc, Mutex};

use super::tcp::{HEALTHY, Tcp};
use super::*;

/// An agent's bridge with its TCP state, and whether its connection is reset at its end.
async fn over_tcp(settings: Settings) -> (Ends, Arc<Mutex<TcpInfo>>, Arc<Mutex<bool>>) {
    let (info, reset) = (Arc::new(Mutex::new(HEALTHY)), Arc::default());
    let (io, wire) = duplex(1000);
    let remote = Tcp { io, info: Arc::clone(&info), reset: Arc::clone(&reset) };
    (ends_over(1000, remote, wire, settings, b"").await, info, reset)
}

#[tokio::test(start_paused = true)]
async fn a_hung_up_stream_is_reset_while_its_last_bytes_wait() {
    for (queued, may_reset, is_reset) in [(true, true, true), (false, true, false), (true, false, false)] {
        let settings = Settings { reset: may_reset, ..PATIENT };
        let (Ends { hangup, bridge, local: _local, gateway: _gateway, .. }, info, reset) =
            over_tcp(settings).await;
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
    let (Ends { hangup, bridge, local: _local, gateway, .. }, ..) = over_tcp(PATIENT).await;
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
