//! The byte counts in Closes.

use super::*;

/// The settings of a helper's bridge.
pub(super) const HELPER: Settings = Settings {
    linger: None,
    drain: Some(Duration::from_secs(3)),
    rest: None,
    one_connection: false,
    direction: Some(Direction::Up),
    failed: |_| Close { code: Some(Close::GOING_AWAY), reason: String::new() },
    ..PATIENT
};

/// A server's Close frame.
fn close(code: u16, reason: &str) -> Vec<u8> {
    let length = u8::try_from(2 + reason.len()).unwrap();
    [&[0x88, length][..], &code.to_be_bytes(), reason.as_bytes()].concat()
}

/// The end of a bridge whose peer sends `wire` and then reads, and the Close that the peer receives. The local side ends
/// before that, or when the bridge lets it.
async fn ended(settings: Settings, wire: &[u8], local_ends_first: bool) -> (End, Option<CloseFrame>) {
    let Ends { mut local, mut gateway, bridge, .. } = ends(65_536, settings, b"").await;
    if local_ends_first {
        local.write_all(b"four").await.unwrap();
        local.shutdown().await.unwrap();
        // The frame and its Close.
        let mut heard = Vec::new();
        while !heard.windows(2).any(|header| header[0] == 0x88) {
            heard.push(gateway.get_mut().read_u8().await.unwrap());
        }
    }
    let raw = gateway.get_mut();
    raw.write_all(wire).await.unwrap();
    let reading = async {
        let mut data = Vec::new();
        local.read_to_end(&mut data).await.unwrap();
        local.shutdown().await.unwrap();
    };
    let far = async {
        let mut gateway = WebSocketStream::from_raw_socket(gateway.into_inner(), Role::Server, None).await;
        receive(&mut gateway).await.1
    };
    let (end, close, ()) = tokio::join!(bridge, far, reading);
    (end.unwrap().0, close)
}

#[tokio::test]
async fn our_close_counts_what_was_sent() {
    for (direction, name) in [(Direction::Up, "up"), (Direction::Down, "down")] {
        for size in [0, 4, 300_000] {
            let settings = Settings { direction: Some(direction), ..PATIENT };
            let Ends { mut local, mut gateway, .. } = ends(65_536, settings, b"").await;
            let near = async {
                local.write_all(&noise(size)).await.unwrap();
                local.shutdown().await.unwrap();
            };
            let ((data, close), ()) = tokio::join!(receive(&mut gateway), near);
            let close = close.unwrap();
            assert_eq!((data.len(), close.code), (size, CloseCode::Normal));
            assert_eq!(close.reason.as_str(), format!("iotstream {name} {size}"));
        }
    }
}

#[tokio::test]
async fn a_close_with_the_right_count_is_an_end() {
    for local_ends_first in [false, true] {
        for (wire, settings) in [
            ([b"\x82\x03abc", &close(1000, "iotstream down 3")[..]].concat(), HELPER),
            ([b"\x82\x03abc", &close(1000, "iotstream up 3")[..]].concat(), PATIENT),
            (close(1000, "iotstream up 0"), PATIENT),
            // Without a count.
            ([b"\x82\x03abc", &close(1000, "Shutdown")[..]].concat(), PATIENT),
        ] {
            let (end, close) = ended(settings, &wire, local_ends_first).await;
            match (end, local_ends_first) {
                (End::Local, true) => {}
                (End::Peer(Close { code: Some(1000), reason }), false) => {
                    assert!(!reason.contains("iotstream"), "{reason}");
                    assert_eq!(close.unwrap().code, CloseCode::Normal);
                }
                (end, _) => panic!("{end:?}"),
            }
        }
    }
}

#[tokio::test]
async fn a_close_with_another_count_is_a_cut_and_the_peer_learns_of_it() {
    for (count, problem) in [(4, "3 of 4 bytes arrived"), (0, "3 of 0 bytes arrived")] {
        for (settings, direction) in [(HELPER, "down"), (PATIENT, "up")] {
            for local_ends_first in [false, true] {
                let wire =
                    [b"\x82\x03abc", &close(1000, &format!("iotstream {direction} {count}"))[..]].concat();
                let (end, close) = ended(settings.clone(), &wire, local_ends_first).await;
                assert!(matches!(&end, End::Incomplete(text) if text == problem), "{end:?}");
                assert_eq!(end.error().unwrap().to_string(), format!("the stream was cut: {problem}"));
                if !local_ends_first {
                    let close = close.unwrap();
                    assert_eq!((close.code, close.reason.as_str()), (CloseCode::Error, problem));
                }
            }
        }
    }
}

#[tokio::test]
async fn our_own_close_thrown_back_is_a_cut() {
    for local_ends_first in [false, true] {
        let wire = [b"\x82\x03abc", &close(1000, "iotstream down 4")[..], b"\x82\x01d"].concat();
        let (end, _) = ended(PATIENT, &wire, local_ends_first).await;
        assert!(matches!(&end, End::ThrownBack), "{end:?}");
        let error = end.error().unwrap();
        assert!(error.to_string().contains("our own Close came back"), "{error}");
        assert!(error.hint().unwrap().contains("half-close = false"));
    }
}

#[tokio::test]
async fn bytes_that_the_local_side_did_not_take_have_not_arrived() {
    let Ends { local, mut gateway, bridge, .. } = ends(64, HELPER, b"").await;
    drop(local);
    let wire = [b"\x82\x03abc", &close(1000, "iotstream down 3")[..]].concat();
    gateway.get_mut().write_all(&wire).await.unwrap();
    let (end, _, received) = bridge.await.unwrap();
    assert!(matches!(end, End::LocalFailed(_)), "{end:?}");
    assert_eq!(received, 0);
}

#[tokio::test]
async fn no_user_sees_a_count() {
    let (end, _) = ended(PATIENT, &close(1011, "iotstream up 0"), false).await;
    assert!(matches!(&end, End::PeerFailed(close) if close.reason.is_empty()), "{end:?}");
    assert_eq!(end.error().unwrap().to_string(), "the stream was cut: it was closed with 1011");
}
