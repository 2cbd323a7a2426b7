//! Data in both directions.

use super::super::super::incoming::INCOMING;
use super::*;

#[tokio::test]
async fn answers_pings_within_data_and_accepts_large_messages() {
    // tungstenite answers our Close with a copy.
    let settings = Settings { direction: None, ..PATIENT };
    let Ends { local, mut gateway, bridge, .. } = ends(65_536, settings, b"").await;
    let (mut read, mut write) = tokio::io::split(local);
    const LARGE: usize = 16 * 1024 * 1024;
    let down = async {
        let mut data = vec![0; LARGE];
        read.read_exact(&mut data).await.unwrap();
        data
    };
    let far = async {
        use futures_util::{SinkExt, StreamExt};
        let (mut sink, mut stream) = (&mut gateway).split();
        let out = async {
            sink.send(Message::Ping(Bytes::from_static(b"1"))).await.unwrap();
            sink.send(Message::Binary(noise(LARGE).into())).await.unwrap();
            sink.send(Message::Ping(Bytes::from_static(b"2"))).await.unwrap();
        };
        let back = async {
            let (mut data, mut pongs) = (0, Vec::new());
            while data < 1_000_000 || pongs.last().is_none_or(|last| last != "2") {
                match stream.next().await.unwrap().unwrap() {
                    Message::Binary(bytes) => data += bytes.len(),
                    Message::Pong(payload) => pongs.push(String::from_utf8(payload.to_vec()).unwrap()),
                    other => panic!("{other:?}"),
                }
            }
        };
        tokio::join!(out, back);
    };
    let up = async { write.write_all(&noise(1_000_000)).await.unwrap() };
    let (data, (), ()) = tokio::join!(down, far, up);
    assert!(data == noise(LARGE));
    drop((read, write));
    receive(&mut gateway).await;
    let (end, ..) = bridge.await.unwrap();
    assert!(matches!(end, End::Local), "{end:?}");
}

#[tokio::test]
async fn early_bytes_come_first() {
    let Ends { mut local, mut gateway, .. } = ends(8, PATIENT, b"\x82\x05early\x82\x04 b").await;
    gateway.get_mut().write_all(b"ird").await.unwrap();
    let mut data = [0; 9];
    local.read_exact(&mut data).await.unwrap();
    assert_eq!(&data, b"early bir");
}

#[tokio::test]
async fn a_flood_of_tiny_frames_does_not_starve_the_other_direction() {
    let settings = Settings { keepalive: None, ..PATIENT };
    for tiny in [&b"\x82\x01d"[..], b"\x89\x00"] {
        let Ends { local, gateway, bridge, hangup, .. } = ends(1 << 20, settings.clone(), b"").await;
        let (mut from_peer, mut to_peer) = tokio::io::split(local);
        let (mut from_bridge, mut to_bridge) = tokio::io::split(gateway.into_inner());
        // Faster than the bridge decodes.
        let flood =
            tokio::spawn(async move { while to_bridge.write_all(&tiny.repeat(50_000)).await.is_ok() {} });
        let taking =
            tokio::spawn(async move { while from_peer.read(&mut [0; 65_536]).await.is_ok_and(|n| n > 0) {} });
        to_peer.write_all(b"still heard").await.unwrap();
        let mut seen = Vec::new();
        while !seen.ends_with(b"\x8b") || seen.len() < 11 + 6 {
            // The payload is masked, so the header identifies the frame.
            seen.push(from_bridge.read_u8().await.unwrap());
            if seen.windows(2).any(|header| header == [0x82, 0x80 | 11]) {
                break;
            }
        }
        hangup.send(()).unwrap();
        let draining =
            async { while from_bridge.read(&mut [0; 65_536]).await.is_ok_and(|count| count > 0) {} };
        let (end, ()) = tokio::join!(bridge, draining);
        assert!(matches!(end.unwrap().0, End::HungUp { .. }));
        flood.abort();
        taking.abort();
    }
}

#[tokio::test]
async fn a_stalled_reader_stops_the_sender() {
    let Ends { local, gateway, .. } = ends(64, PATIENT, b"").await;
    let mut wire = gateway.into_inner();
    let header = [0x82, 127, 0, 0, 0, 0, 1, 0, 0, 0];
    wire.write_all(&header).await.unwrap();
    let mut taken = 0usize;
    // Nobody reads the local side, so only buffers accept bytes.
    while let Ok(written) = timeout(Duration::from_millis(200), wire.write(&[7; 1024])).await {
        taken += written.unwrap();
        assert!(taken < 2 * INCOMING, "{taken} bytes taken for a reader that does not read");
    }
    assert!(taken > 0);
    drop(local);
}
