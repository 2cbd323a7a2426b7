//! The bridge against a reference WebSocket, over pipes of any size.

use super::*;
use std::future::pending;

use tokio::io::{AsyncReadExt, DuplexStream, duplex};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::protocol::{CloseFrame, Role};
use tokio_tungstenite::tungstenite::{Bytes, Message};

const PATIENT: Settings = Settings {
    keepalive: Duration::from_secs(30),
    linger: Duration::from_secs(10),
    drain: Duration::from_secs(5),
    half_close: true,
};

/// What a test holds: the far end of the local side, and a reference WebSocket on the gateway's side.
struct Ends {
    local: DuplexStream,
    gateway: WebSocketStream<DuplexStream>,
    bridge: tokio::task::JoinHandle<(End, u64, u64)>,
    hangup: tokio::sync::oneshot::Sender<()>,
}

async fn ends(pipe: usize, settings: Settings, early: &'static [u8]) -> Ends {
    let (local, inner) = duplex(pipe);
    let (remote, wire) = duplex(pipe);
    let gateway = WebSocketStream::from_raw_socket(wire, Role::Server, None).await;
    let (hangup, hung_up) = tokio::sync::oneshot::channel::<()>();
    let bridge = tokio::spawn(async move {
        let meter = Meter::default();
        let asked = async {
            if hung_up.await.is_err() {
                pending::<()>().await;
            }
        };
        let end = bridge(tokio::io::split(inner), remote, early, &settings, &meter, asked).await;
        (end, meter.sent(), meter.received())
    });
    Ends { local, gateway, bridge, hangup }
}

fn noise(length: usize) -> Vec<u8> {
    (0u32..).map(|i| (i.wrapping_mul(2_654_435_761) >> 13).to_le_bytes()[0]).take(length).collect()
}

/// Reads messages to the end, checks what a gateway would cut, and answers pings and close as tungstenite does.
async fn receive(gateway: &mut WebSocketStream<DuplexStream>) -> (Vec<u8>, Option<CloseFrame>) {
    use futures_util::StreamExt;
    let (mut data, mut close) = (Vec::new(), None);
    while let Some(Ok(message)) = gateway.next().await {
        match message {
            Message::Binary(bytes) => {
                assert!(bytes.len() <= super::super::MAX_PAYLOAD, "{} bytes in a frame", bytes.len());
                data.extend_from_slice(&bytes);
            }
            Message::Close(frame) => close = frame,
            Message::Text(_) => panic!("a text frame"),
            _ => {}
        }
    }
    (data, close)
}

async fn send(gateway: &mut WebSocketStream<DuplexStream>, messages: impl IntoIterator<Item = Message>) {
    use futures_util::SinkExt;
    for message in messages {
        gateway.send(message).await.unwrap();
    }
}

#[tokio::test]
async fn local_eof_closes_and_still_delivers_what_comes() {
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
            // The Close has been seen, and only now comes the answer: raw frames, for tungstenite sends no more.
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
async fn peers_close_ends_after_the_last_byte_and_the_local_side_may_finish() {
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
            // The stream's end has been seen; what is written now still goes out.
            write.write_all(b"last words").await.unwrap();
            write.shutdown().await.unwrap();
            data
        };
        let ((sent, close), data) = tokio::join!(far, near);
        assert_eq!(sent, b"last words", "pipe {pipe}");
        assert!(close.is_none_or(|close| close.code == CloseCode::Normal));
        assert_eq!(data, [&noise(20_000)[..], b"text is bytes"].concat());
        let (end, ..) = bridge.await.unwrap();
        assert!(matches!(&end, End::Peer(close) if close.is_normal()), "{end:?}");
    }
}

#[tokio::test]
async fn pings_amid_data_are_answered_and_messages_may_be_large() {
    let Ends { local, mut gateway, bridge, .. } = ends(65_536, PATIENT, b"").await;
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
async fn bytes_that_came_with_the_upgrade_are_first() {
    let Ends { mut local, mut gateway, .. } = ends(8, PATIENT, b"\x82\x05early\x82\x04 b").await;
    gateway.get_mut().write_all(b"ird").await.unwrap();
    let mut data = [0; 9];
    local.read_exact(&mut data).await.unwrap();
    assert_eq!(&data, b"early bir");
}

#[tokio::test]
async fn an_end_without_close_is_told_from_a_violation() {
    let Ends { local, gateway, bridge, .. } = ends(64, PATIENT, b"").await;
    let (_keep_open, mut write) = tokio::io::split(local);
    drop(gateway);
    write.shutdown().await.unwrap();
    let (end, ..) = bridge.await.unwrap();
    assert!(matches!(&end, End::Peer(close) if close.code.is_none()), "{end:?}");

    let Ends { local, mut gateway, bridge, .. } = ends(64, PATIENT, b"").await;
    gateway.get_mut().write_all(b"HTTP/1.1 400").await.unwrap();
    assert!(matches!(bridge.await.unwrap().0, End::Violation(_)));
    drop(local);
}

#[tokio::test]
async fn a_gone_reader_ends_the_stream_with_a_close() {
    let Ends { local, mut gateway, bridge, .. } = ends(64, PATIENT, b"").await;
    drop(local);
    let (_, close) = receive(&mut gateway).await;
    assert!(close.is_some_and(|close| close.code == CloseCode::Normal));
    assert!(matches!(bridge.await.unwrap().0, End::Local));
}

#[tokio::test]
async fn a_stalled_reader_stops_the_sender() {
    let Ends { local, gateway, .. } = ends(64, PATIENT, b"").await;
    let mut wire = gateway.into_inner();
    let header = [0x82, 127, 0, 0, 0, 0, 1, 0, 0, 0];
    wire.write_all(&header).await.unwrap();
    let mut taken = 0usize;
    // Nobody reads the local side: what the wire takes is bounded by the buffers on the way.
    while let Ok(written) = timeout(Duration::from_millis(200), wire.write(&[7; 1024])).await {
        taken += written.unwrap();
        assert!(taken < 2 * INCOMING, "{taken} bytes taken for a reader that does not read");
    }
    assert!(taken > 0);
    drop(local);
}

#[tokio::test(start_paused = true)]
async fn silence_is_pinged_and_then_is_death() {
    let settings = Settings { keepalive: Duration::from_secs(4), ..PATIENT };
    let Ends { local, gateway, bridge, .. } = ends(64, settings, b"").await;
    let mut wire = gateway.into_inner();
    let begin = Instant::now();
    let mut ping = [0; 6];
    wire.read_exact(&mut ping).await.unwrap();
    assert_eq!((ping[0], ping[1]), (0x89, 0x80));
    assert_eq!(begin.elapsed().as_secs(), 4);
    // Any byte is life, a pong's as well.
    wire.write_all(&[0x8a, 0]).await.unwrap();
    wire.read_exact(&mut ping).await.unwrap();
    assert_eq!(begin.elapsed().as_secs(), 8);
    let (end, ..) = bridge.await.unwrap();
    assert!(matches!(end, End::Silent(after) if after < Duration::from_secs(8)), "{end:?}");
    assert!(begin.elapsed() < Duration::from_secs(12));
    drop(local);
}

#[tokio::test(start_paused = true)]
async fn lingering_and_draining_are_bounded() {
    // The peer never answers our close.
    let Ends { local, gateway, bridge, .. } = ends(64, PATIENT, b"").await;
    let begin = Instant::now();
    let (_read, mut write) = tokio::io::split(local);
    write.shutdown().await.unwrap();
    assert!(matches!(bridge.await.unwrap().0, End::Local));
    assert_eq!(begin.elapsed().as_secs(), 10);
    drop(gateway);

    // The local side never ends after the peer's close.
    let Ends { local, mut gateway, bridge, .. } = ends(64, PATIENT, b"").await;
    let begin = Instant::now();
    send(&mut gateway, [Message::Close(None)]).await;
    let (_, close) = receive(&mut gateway).await;
    assert!(close.is_some_and(|close| close.code == CloseCode::Normal));
    assert!(matches!(bridge.await.unwrap().0, End::Peer(_)));
    assert_eq!(begin.elapsed().as_secs(), 5);
    drop(local);
}

#[tokio::test(start_paused = true)]
async fn a_hang_up_sends_what_is_there_and_ends_within_a_second() {
    let Ends { mut local, gateway, bridge, hangup } = ends(65_536, PATIENT, b"").await;
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
    assert!(matches!(end.unwrap(), (End::HungUp, 7, 0)));
    assert!(begin.elapsed() < Duration::from_secs(1), "{:?}", begin.elapsed());
    // One frame of seven bytes, and the close.
    assert_eq!(bytes.len(), (6 + 7) + (6 + 2));
    assert_eq!((bytes[0], bytes[13]), (0x82, 0x88));
}

/// What [`take_apart`] finds in `wire`, which is read in pieces of the given sizes: payloads, the last ping, and what
/// ended it.
fn taken(wire: &[u8], mut sizes: impl Iterator<Item = usize>) -> (Vec<u8>, Option<Vec<u8>>, Option<String>) {
    let link = Link::default();
    let (mut decoder, mut all, mut rest, mut start) = (Decoder::default(), Vec::new(), Vec::new(), 0);
    while start < wire.len() {
        let end = (start + sizes.next().unwrap()).min(wire.len());
        let mut bytes = [&rest[..], &wire[start..end]].concat();
        start = end;
        let Taken { data, unfinished, last } = take_apart(&mut decoder, &mut bytes, &link);
        all.extend_from_slice(&bytes[data]);
        rest = bytes[unfinished..].to_vec();
        match last {
            Some(Down::Closed(close)) => return (all, link.lock().pong.take(), Some(format!("{close:?}"))),
            Some(Down::Violation(what)) => return (all, link.lock().pong.take(), Some(what.into())),
            _ => assert!(rest.len() < 131, "more than a header and a control frame is left: {}", rest.len()),
        }
    }
    (all, link.lock().pong.take(), None)
}

proptest::proptest! {
    #[test]
    fn payloads_come_together_wherever_reads_end(
        messages in proptest::collection::vec((proptest::collection::vec(proptest::num::u8::ANY, 0..400), 0u8..4), 0..20),
        sizes in proptest::collection::vec(1usize..500, 1..20),
    ) {
        use tokio_tungstenite::tungstenite::protocol::frame::{Frame, coding::{CloseCode, Data, OpCode}};
        let (mut wire, mut expected, mut pinged) = (Vec::new(), Vec::new(), None);
        for (payload, kind) in messages {
            let short = payload[..payload.len().min(125)].to_vec();
            let frame = match kind {
                0 => Frame::ping(short.clone()),
                1 => Frame::pong(short),
                _ => Frame::message(payload.clone(), OpCode::Data(Data::Binary), true),
            };
            match kind {
                0 => pinged = Some(payload[..payload.len().min(125)].to_vec()),
                1 => {}
                _ => expected.extend_from_slice(&payload),
            }
            frame.format(&mut wire).unwrap();
        }
        let close = CloseFrame { code: CloseCode::Away, reason: "bye".into() };
        Frame::close(Some(close)).format(&mut wire).unwrap();
        wire.extend_from_slice(b"nobody reads this");
        let (data, pong, last) = taken(&wire, sizes.into_iter().cycle());
        proptest::prop_assert_eq!(data, expected);
        proptest::prop_assert_eq!(pong, pinged);
        proptest::prop_assert_eq!(last.unwrap(), r#"Close { code: Some(1001), reason: "bye" }"#);
    }

    #[test]
    fn what_foreign_bytes_mean_does_not_hang_on_where_reads_end(
        wire in proptest::collection::vec(proptest::num::u8::ANY, 0..700),
        sizes in proptest::collection::vec(1usize..60, 1..10),
    ) {
        proptest::prop_assert_eq!(taken(&wire, std::iter::repeat(1000)), taken(&wire, sizes.into_iter().cycle()));
    }
}
