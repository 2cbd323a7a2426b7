//! How a stream ends.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::ReadBuf;

use super::*;

#[tokio::test]
async fn local_eof_sends_a_close_and_still_delivers_the_answer() {
    for pipe in [1, 8, 65_536] {
        let Ends { local, mut gateway, bridge, .. } = ends(pipe, PATIENT, b"").await;
        let (mut read, mut write) = tokio::io::split(local);
        let size = if pipe == 1 { 20_000 } else { 300_000 };
        let up = async {
            write.write_all(&noise(size)).await.unwrap();
            write.shutdown().await.unwrap();
        };
        let far = async {
            use futures_util::StreamExt;
            let mut data = Vec::new();
            while let Some(Ok(message)) = gateway.next().await {
                match message {
                    Message::Binary(bytes) => data.extend_from_slice(&bytes),
                    Message::Close(_) => break,
                    _ => {}
                }
            }
            // The answer follows the Close as raw frames, because tungstenite sends no data after a Close.
            let wire = gateway.get_mut();
            wire.write_all(&[0x82, 126, 0x03, 0xe8]).await.unwrap();
            wire.write_all(&noise(1000)).await.unwrap();
            wire.write_all(&[0x88, 0]).await.unwrap();
            data
        };
        let down = async {
            let mut answer = Vec::new();
            read.read_to_end(&mut answer).await.unwrap();
            answer
        };
        let ((), sent, answer) = tokio::join!(up, far, down);
        assert!(sent == noise(size) && answer == noise(1000), "pipe {pipe}");
        let (end, sent, received) = bridge.await.unwrap();
        assert!(matches!(end, End::Local), "{end:?}");
        assert_eq!((sent, received), (size as u64, 1000));
    }
}

#[tokio::test]
async fn a_peers_close_delivers_all_bytes_and_lets_the_local_side_finish() {
    for pipe in [1, 8, 65_536] {
        let Ends { local, mut gateway, bridge, .. } = ends(pipe, PATIENT, b"").await;
        let (mut read, mut write) = tokio::io::split(local);
        let far = async {
            let payload = Bytes::from(noise(20_000));
            send(
                &mut gateway,
                [
                    Message::Ping(Bytes::from_static(b"are you there")),
                    Message::Binary(Bytes::new()),
                    Message::Binary(payload),
                    Message::text("text is bytes"),
                    Message::Close(Some(CloseFrame { code: CloseCode::Normal, reason: "".into() })),
                ],
            )
            .await;
            receive(&mut gateway).await
        };
        let near = async {
            let mut data = Vec::new();
            read.read_to_end(&mut data).await.unwrap();
            // Bytes written after the peer's end are still sent.
            write.write_all(b"last words").await.unwrap();
            write.shutdown().await.unwrap();
            data
        };
        let ((sent, close), data) = tokio::join!(far, near);
        assert_eq!(sent, b"last words", "pipe {pipe}");
        assert!(close.is_none_or(|close| close.code == CloseCode::Normal));
        assert_eq!(data, [&noise(20_000)[..], b"text is bytes"].concat());
        let (end, ..) = bridge.await.unwrap();
        assert!(matches!(&end, End::Peer(_)), "{end:?}");
    }
}

#[tokio::test]
async fn distinguishes_a_cut_from_an_orderly_end() {
    let cut = async |wire: &[u8]| {
        let Ends { local, gateway, bridge, .. } = ends(64, PATIENT, b"").await;
        let (_keep_open, mut write) = tokio::io::split(local);
        write.shutdown().await.unwrap();
        let mut gateway = gateway.into_inner();
        gateway.write_all(wire).await.unwrap();
        drop(gateway);
        bridge.await.unwrap().0
    };
    for (wire, problem) in [
        (&b""[..], "it was closed without a Close"),
        (b"\x82\x01x", "it was closed without a Close"),
        (b"\x82\x03x", "it was closed within a message without a Close"),
        (b"\x82\x7e\x03", "it was closed within a message without a Close"),
        (b"\x02\x01x", "it was closed within a message without a Close"),
        (b"\x02\x01x\x88\x00", "it was closed within a message"),
    ] {
        let end = cut(wire).await;
        assert!(matches!(&end, End::Cut(error) if error.to_string() == problem), "{wire:?} {end:?}");
    }
    for code in [1001u16, 1011, 4000] {
        let end = cut(&[&[0x88, 2][..], &code.to_be_bytes()].concat()).await;
        assert!(matches!(&end, End::PeerFailed(close) if close.code == Some(code)), "{end:?}");
    }
    for wire in [&b"\x88\x00"[..], b"\x88\x02\x03\xe8"] {
        let end = cut(wire).await;
        assert!(matches!(&end, End::Local | End::Peer(Close { code: None | Some(1000), .. })), "{end:?}");
    }
}

#[tokio::test]
async fn a_peer_that_goes_away_ends_the_stream_where_that_is_an_end() {
    const AWAY: &[u8] = b"\x82\x01x\x88\x05\x03\xe9bye";
    let settings = Settings { going_away_is_end: true, ..PATIENT };
    let Ends { mut local, mut gateway, bridge, .. } = ends(64, settings.clone(), b"").await;
    gateway.get_mut().write_all(AWAY).await.unwrap();
    let mut data = Vec::new();
    local.read_to_end(&mut data).await.unwrap();
    assert_eq!(data, b"x");
    local.write_all(b"last words").await.unwrap();
    local.shutdown().await.unwrap();
    assert_eq!(receive_raw(gateway).await, (b"last words".to_vec(), Some(Close::NORMAL)));
    let (end, ..) = bridge.await.unwrap();
    assert!(matches!(&end, End::Peer(close) if *close == Close::new(Close::GOING_AWAY, "bye")), "{end:?}");
    assert!(end.error().is_none());

    for (wire, settings) in [
        // Where it is not, other codes, and within a message.
        (AWAY, PATIENT),
        // A helper's hang-up.
        (b"\x88\x0c\x03\xe9the user's", PATIENT),
        (b"\x88\x1a\x03\xe9the user's side has gone", settings.clone()),
        (b"\x88\x02\x03\xf3", settings.clone()),
        (b"\x88\x02\x03\xf0", settings.clone()),
        (b"\x02\x01x\x88\x02\x03\xe9", settings),
    ] {
        let Ends { local: _local, mut gateway, bridge, .. } = ends(64, settings, b"").await;
        gateway.get_mut().write_all(wire).await.unwrap();
        let (end, ..) = bridge.await.unwrap();
        assert!(matches!(end, End::PeerFailed(_) | End::Cut(_)), "{wire:?}: {end:?}");
        assert!(end.error().is_some());
    }
}

#[tokio::test]
async fn a_violation_is_answered_with_a_protocol_error_close() {
    let Ends { local, mut gateway, bridge, .. } = ends(64, PATIENT, b"").await;
    gateway.get_mut().write_all(b"HTTP/1.1 400").await.unwrap();
    let (_, close) = receive_raw(gateway).await;
    assert_eq!(close, Some(Close::PROTOCOL));
    assert!(matches!(bridge.await.unwrap().0, End::Violation(_)));
    drop(local);
}

/// A local side that fails to read.
struct Failing;

impl AsyncRead for Failing {
    fn poll_read(self: Pin<&mut Self>, _: &mut Context<'_>, _: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Err(io::ErrorKind::ConnectionReset.into()))
    }
}

#[tokio::test]
async fn the_peer_learns_of_a_local_failure() {
    let (remote, wire) = duplex(65_536);
    let gateway = WebSocketStream::from_raw_socket(wire, Role::Server, None).await;
    let (meter, controls) = (Meter::default(), uncontrolled());
    let local = (Failing, tokio::io::sink());
    let (end, (_, close)) =
        tokio::join!(bridge(local, remote, b"", &PATIENT, &meter, controls), receive_raw(gateway));
    assert!(matches!(end, End::LocalFailed(_)), "{end:?}");
    assert_eq!(close, Some(Close::FAILURE));
}

#[tokio::test(start_paused = true)]
async fn a_failed_side_ends_the_stream_although_the_other_stays_open() {
    // The peer reports a failure, and neither its connection nor the local side ends.
    let Ends { local, mut gateway, bridge, .. } = ends(64, PATIENT, b"").await;
    let begin = Instant::now();
    gateway.get_mut().write_all(b"\x88\x02\x03\xf3").await.unwrap();
    assert!(matches!(bridge.await.unwrap().0, End::PeerFailed(close) if close.code == Some(1011)));
    assert!(begin.elapsed() <= Duration::from_secs(1), "{:?}", begin.elapsed());
    drop((local, gateway));

    // The local side fails, and the peer does not answer the Close.
    let (remote, _wire) = duplex(65_536);
    let (meter, controls) = (Meter::default(), uncontrolled());
    let begin = Instant::now();
    let end =
        crate::tunnel::bridge((Failing, tokio::io::sink()), remote, b"", &PATIENT, &meter, controls).await;
    assert!(matches!(end, End::LocalFailed(_)), "{end:?}");
    assert!(begin.elapsed() <= Duration::from_secs(1), "{:?}", begin.elapsed());
}

#[tokio::test]
async fn a_gone_reader_ends_the_stream_with_a_close() {
    // tungstenite answers our Close with a copy.
    let settings = Settings { direction: None, ..PATIENT };
    let Ends { local, mut gateway, bridge, .. } = ends(64, settings, b"").await;
    drop(local);
    let (_, close) = receive(&mut gateway).await;
    assert!(close.is_some_and(|close| close.code == CloseCode::Normal));
    assert!(matches!(bridge.await.unwrap().0, End::Local));
}

#[tokio::test(start_paused = true)]
async fn a_run_of_empty_messages_is_the_peers_end() {
    const EMPTY: [u8; 2] = [0x82, 0];
    // Ninety-nine at once, and then one a second, are not an end.
    let Ends { local, gateway, bridge, .. } = ends(65_536, PATIENT, b"").await;
    let (mut read, mut write) = tokio::io::split(local);
    let mut wire = gateway.into_inner();
    wire.write_all(&EMPTY.repeat(99)).await.unwrap();
    for _ in 0..120 {
        sleep(Duration::from_secs(1)).await;
        wire.write_all(&EMPTY).await.unwrap();
    }
    wire.write_all(b"\x82\x04data").await.unwrap();
    let mut data = [0; 4];
    read.read_exact(&mut data).await.unwrap();
    assert_eq!(&data, b"data");
    // A hundred are the peer's end; the other direction stays open.
    wire.write_all(&EMPTY.repeat(5000)).await.unwrap();
    assert_eq!(read.read(&mut data).await.unwrap(), 0);
    write.write_all(b"the answer").await.unwrap();
    write.shutdown().await.unwrap();
    let begin = Instant::now();
    let (end, sent, _) = bridge.await.unwrap();
    assert!(matches!(end, End::PeerEmptied), "{end:?}");
    assert!(sent == 10 && begin.elapsed() < Duration::from_secs(1));

    // With a helper's settings the stream ends.
    let settings = Settings { half_close: false, drain: Some(Duration::ZERO), rest: None, ..PATIENT };
    let Ends { local, gateway, bridge, .. } = ends(65_536, settings, b"").await;
    let mut wire = gateway.into_inner();
    wire.write_all(&EMPTY.repeat(100)).await.unwrap();
    assert!(matches!(bridge.await.unwrap().0, End::PeerEmptied));
    drop((local, wire));

    // Data after it breaks the protocol.
    let Ends { local, gateway, bridge, .. } = ends(65_536, PATIENT, b"").await;
    let mut wire = gateway.into_inner();
    wire.write_all(&[&EMPTY.repeat(300)[..], b"\x82\x01x"].concat()).await.unwrap();
    assert!(matches!(bridge.await.unwrap().0, End::Violation(_)));
    drop((local, wire));
}

#[tokio::test(start_paused = true)]
async fn waits_for_an_answer_while_the_peer_is_alive() {
    const HOURS: Duration = Duration::from_secs(10_000);
    // After the local side's end.
    let Ends { local, gateway, bridge, .. } = ends(64, PATIENT, b"").await;
    let (mut read, mut write) = tokio::io::split(local);
    write.shutdown().await.unwrap();
    let mut wire = gateway.into_inner();
    sleep(HOURS).await;
    wire.write_all(b"\x82\x04late").await.unwrap();
    let mut late = [0; 4];
    read.read_exact(&mut late).await.unwrap();
    sleep(HOURS).await;
    wire.write_all(b"\x88\x00").await.unwrap();
    assert!(matches!(bridge.await.unwrap().0, End::Local));

    // After the peer's end, until its connection ends.
    let Ends { mut local, mut gateway, bridge, .. } = ends(64, PATIENT, b"").await;
    send(&mut gateway, [Message::Close(None)]).await;
    let mut wire = gateway.into_inner();
    assert_eq!(local.read(&mut [0; 1]).await.unwrap(), 0);
    sleep(HOURS).await;
    local.write_all(b"late").await.unwrap();
    let mut frame = [0; 10];
    wire.read_exact(&mut frame).await.unwrap();
    assert_eq!((frame[0], frame[1]), (0x82, 0x84));
    assert!(!bridge.is_finished());
    drop(wire);
    let begin = Instant::now();
    assert!(matches!(bridge.await.unwrap().0, End::Abandoned));
    assert!(begin.elapsed() <= Duration::from_secs(5), "{:?}", begin.elapsed());
}

#[tokio::test(start_paused = true)]
async fn linger_and_drain_limits_apply() {
    let bounded =
        Settings { linger: Some(Duration::from_secs(10)), drain: Some(Duration::from_secs(5)), ..PATIENT };
    // The peer never answers our Close.
    let Ends { local, gateway, bridge, .. } = ends(64, bounded.clone(), b"").await;
    let begin = Instant::now();
    let (_read, mut write) = tokio::io::split(local);
    write.shutdown().await.unwrap();
    assert!(matches!(bridge.await.unwrap().0, End::Local));
    assert_eq!(begin.elapsed().as_secs(), 10);
    drop(gateway);

    // The local side never ends after the peer's Close.
    let Ends { local, mut gateway, bridge, .. } = ends(64, bounded, b"").await;
    let begin = Instant::now();
    send(&mut gateway, [Message::Close(None)]).await;
    let (_, close) = receive(&mut gateway).await;
    assert!(close.is_some_and(|close| close.code == CloseCode::Normal));
    assert!(matches!(bridge.await.unwrap().0, End::Peer(_)));
    assert_eq!(begin.elapsed().as_secs(), 5);
    drop(local);
}

#[tokio::test(start_paused = true)]
async fn a_hangup_sends_pending_data_and_ends_within_a_second() {
    let Ends { mut local, gateway, bridge, hangup, .. } = ends(65_536, PATIENT, b"").await;
    let begin = Instant::now();
    local.write_all(b"goodbye").await.unwrap();
    hangup.send(()).unwrap();
    let mut wire = gateway.into_inner();
    let far = async {
        let mut bytes = Vec::new();
        wire.read_to_end(&mut bytes).await.unwrap();
        bytes
    };
    let (bytes, end) = tokio::join!(far, bridge);
    assert!(matches!(end.unwrap(), (End::HungUp { whole: false }, 7, 0)));
    assert!(begin.elapsed() < Duration::from_secs(1), "{:?}", begin.elapsed());
    // One frame of seven bytes, and the Close with its reason.
    assert_eq!(bytes.len(), (6 + 7) + (6 + 2 + "told to end".len()));
    assert_eq!((bytes[0], bytes[13]), (0x82, 0x88));
}

#[tokio::test(start_paused = true)]
async fn a_caller_that_has_gone_ends_the_stream_within_a_second() {
    // The peer accepts everything, or only a little.
    for (pipe, is_taken) in [(65_536, true), (1000, false)] {
        let Ends { mut local, gateway: _gateway, bridge, gone, .. } = ends(pipe, PATIENT, b"").await;
        let given = if is_taken { 500 } else { 1900 };
        local.write_all(&noise(given)).await.unwrap();
        local.shutdown().await.unwrap();
        sleep(Duration::from_secs(60)).await;
        assert!(!bridge.is_finished());
        let begin = Instant::now();
        gone.send(()).unwrap();
        let (end, sent, _) = bridge.await.unwrap();
        assert!(matches!(end, End::HungUp { whole: false }), "{end:?}");
        assert_eq!(sent == given as u64, is_taken);
        assert!(begin.elapsed() <= Duration::from_secs(1), "{:?}", begin.elapsed());
    }
}

#[tokio::test]
async fn data_left_by_a_caller_that_has_gone_is_not_a_normal_end() {
    let (remote, wire) = duplex(65_536);
    let mut gateway = WebSocketStream::from_raw_socket(wire, Role::Server, None).await;
    let meter = Meter::default();
    let gone = std::future::ready(Close::new(Close::GOING_AWAY, "gone"));
    let controls = Controls { hangup: pending(), gone, ends_with_peer: || false };
    let local = (tokio::io::repeat(b'x'), tokio::io::sink());
    let bridge = bridge(local, remote, b"", &PATIENT, &meter, controls);
    let (end, (data, close)) = tokio::join!(bridge, receive(&mut gateway));
    assert!(matches!(end, End::HungUp { whole: false }), "{end:?}");
    assert_eq!(data.len() as u64, meter.sent());
    assert!(close.is_some_and(|close| close.code == CloseCode::Away));
}
