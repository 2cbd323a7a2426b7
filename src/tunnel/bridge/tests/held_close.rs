//! A Close that is held back until the peer's end.

use super::*;

pub(super) const HOLDING: Settings = Settings {
    keepalive: None,
    drain: Some(Duration::from_secs(3)),
    rest: None,
    one_connection: false,
    hold_close: true,
    direction: Some(Direction::Up),
    ..PATIENT
};

const HOURS: Duration = Duration::from_secs(10_000);

/// Our Close, unmasked.
fn our_close(masked: &[u8]) -> String {
    let (header, key) = (&masked[..2], &masked[2..6]);
    assert_eq!((header[0], usize::from(header[1] & 0x7f)), (0x88, masked.len() - 6));
    let payload: Vec<u8> = masked[6..].iter().zip(key.iter().cycle()).map(|(byte, key)| byte ^ key).collect();
    assert_eq!(payload[..2], 1000u16.to_be_bytes());
    String::from_utf8(payload[2..].to_vec()).unwrap()
}

/// A bridge whose local side has sent `four` and ended, and whose peer has read that.
async fn held(settings: Settings) -> Ends {
    let mut ends = ends(65_536, settings, b"").await;
    ends.local.write_all(b"four").await.unwrap();
    ends.local.shutdown().await.unwrap();
    ends.gateway.get_mut().read_exact(&mut [0; 6 + 4]).await.unwrap();
    ends
}

#[tokio::test(start_paused = true)]
async fn a_close_waits_for_the_peers() {
    let Ends { mut local, gateway, bridge, .. } = held(HOLDING).await;
    let mut wire = gateway.into_inner();
    assert!(timeout(HOURS, wire.read_u8()).await.is_err());
    wire.write_all(b"\x82\x06answer\x88\x02\x03\xe8").await.unwrap();
    let (mut answer, mut rest) = (Vec::new(), Vec::new());
    let begin = Instant::now();
    wire.read_to_end(&mut rest).await.unwrap();
    assert_eq!(our_close(&rest), "iotstream up 4");
    assert!(matches!(bridge.await.unwrap().0, End::Local));
    assert!(begin.elapsed() < Duration::from_secs(1), "{:?}", begin.elapsed());
    local.read_to_end(&mut answer).await.unwrap();
    assert_eq!(answer, b"answer");
}

#[tokio::test]
async fn a_peer_that_cannot_send_after_a_close_still_answers() {
    use futures_util::StreamExt;
    let Ends { mut local, mut gateway, bridge, .. } = held(HOLDING).await;
    let far = async {
        send(&mut gateway, [Message::Binary(noise(300_000).into()), Message::Close(None)]).await;
        let mut close = None;
        while let Some(Ok(message)) = gateway.next().await {
            close = Some(message);
        }
        close
    };
    let near = async {
        let mut answer = Vec::new();
        local.read_to_end(&mut answer).await.unwrap();
        answer
    };
    let (close, answer) = tokio::join!(far, near);
    assert!(answer == noise(300_000));
    assert!(matches!(close, Some(Message::Close(Some(close))) if close.reason.as_str() == "iotstream up 4"));
    assert!(matches!(bridge.await.unwrap().0, End::Local));
}

#[tokio::test]
async fn a_disconnection_between_messages_is_an_end_once_the_local_side_has_ended() {
    for (wire, problem) in [
        (&b""[..], None),
        (b"\x82\x03abc", None),
        (b"\x82\x04abc", Some("it was closed within a message without a Close")),
        (b"\x02\x03abc", Some("it was closed within a message without a Close")),
        (b"\x82", Some("it was closed within a message without a Close")),
    ] {
        let Ends { local, mut gateway, bridge, .. } = held(HOLDING).await;
        gateway.get_mut().write_all(wire).await.unwrap();
        drop(gateway);
        match (bridge.await.unwrap().0, problem) {
            (End::Local, None) => {}
            (End::Cut(error), Some(problem)) => assert_eq!(error.to_string(), problem),
            (end, _) => panic!("{wire:?}: {end:?}"),
        }
        drop(local);
    }
    // Before the local side's end.
    let Ends { local, gateway, bridge, .. } = ends(64, HOLDING, b"").await;
    drop(gateway);
    assert!(matches!(bridge.await.unwrap().0, End::Cut(_)));
    drop(local);
}

#[tokio::test]
async fn nothing_is_held_back_after_the_peers_close() {
    let Ends { mut local, gateway, bridge, .. } = ends(64, HOLDING, b"").await;
    let mut wire = gateway.into_inner();
    wire.write_all(b"\x88\x02\x03\xe8").await.unwrap();
    assert_eq!(local.read(&mut [0; 1]).await.unwrap(), 0);
    local.shutdown().await.unwrap();
    let mut rest = Vec::new();
    wire.read_to_end(&mut rest).await.unwrap();
    assert_eq!(our_close(&rest), "iotstream up 0");
    assert!(matches!(bridge.await.unwrap().0, End::Peer(_)));
}

#[tokio::test]
async fn a_peers_failure_and_a_wrong_count_end_the_stream() {
    let Ends { local: _local, mut gateway, bridge, .. } = held(HOLDING).await;
    gateway.get_mut().write_all(b"\x88\x02\x03\xf3").await.unwrap();
    assert!(matches!(bridge.await.unwrap().0, End::PeerFailed(close) if close.code == Some(1011)));

    let Ends { local: _local, mut gateway, bridge, .. } = held(HOLDING).await;
    gateway.get_mut().write_all(b"\x88\x12\x03\xe8iotstream down 1").await.unwrap();
    let (_, close) = receive_raw(gateway).await;
    assert_eq!(close, Some(Close::FAILURE));
    assert!(matches!(bridge.await.unwrap().0, End::Incomplete(text) if text == "0 of 1 bytes arrived"));
}

#[tokio::test(start_paused = true)]
async fn pings_go_both_ways_while_a_close_is_held_back() {
    let settings = Settings { keepalive: Keepalive::every(Duration::from_secs(4)), ..HOLDING };
    let Ends { local: _local, gateway, bridge, .. } = held(settings).await;
    let mut wire = gateway.into_inner();
    wire.write_all(b"\x89\x02hi").await.unwrap();
    let mut frame = [0; 8];
    wire.read_exact(&mut frame).await.unwrap();
    assert_eq!((frame[0], frame[1]), (0x8a, 0x82));
    wire.read_exact(&mut frame[..6]).await.unwrap();
    assert_eq!((frame[0], frame[1]), (0x89, 0x80));
    assert!(matches!(bridge.await.unwrap().0, End::Silent(_)));
}

#[tokio::test(start_paused = true)]
async fn the_limits_apply_while_a_close_is_held_back() {
    // The peer neither sends nor closes.
    let settings = Settings { linger: Some(Duration::from_secs(10)), ..HOLDING };
    let Ends { local: _local, gateway, bridge, .. } = held(settings).await;
    let (begin, mut rest) = (Instant::now(), Vec::new());
    gateway.into_inner().read_to_end(&mut rest).await.unwrap();
    // A copy of it is not a cut.
    assert_eq!((our_close(&rest).as_str(), begin.elapsed().as_secs()), ("", 10));
    assert!(matches!(bridge.await.unwrap().0, End::Local));

    // The caller ends the stream, or has gone.
    for by_hangup in [true, false] {
        let Ends { local: _local, gateway, bridge, hangup, gone, .. } = held(HOLDING).await;
        let (begin, mut rest) = (Instant::now(), Vec::new());
        let _unused = if by_hangup {
            hangup.send(()).unwrap();
            gone
        } else {
            gone.send(()).unwrap();
            hangup
        };
        gateway.into_inner().read_to_end(&mut rest).await.unwrap();
        assert_eq!(our_close(&rest), "");
        assert!(matches!(bridge.await.unwrap().0, End::HungUp { whole: false }));
        assert!(begin.elapsed() < Duration::from_secs(1), "{:?}", begin.elapsed());
    }
}
