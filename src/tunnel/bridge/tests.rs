//! The bridge against a reference WebSocket, over pipes of any size.

use super::super::incoming::INCOMING;
use super::*;
use crate::platform::TcpInfo;
use std::sync::{Arc, Mutex};
use std::task::Context;

use tokio::io::{DuplexStream, ReadBuf, duplex};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::protocol::{CloseFrame, Role};
use tokio_tungstenite::tungstenite::{Bytes, Message};

/// As an agent's.
const PATIENT: Settings = Settings {
    keepalive: Some(Keepalive::DEFAULT),
    linger: None,
    drain: None,
    rest: Some(Duration::from_secs(4)),
    half_close: true,
    failed: |error| Close { code: Some(Close::FAILURE), reason: error.to_string() },
    reset: true,
};

impl Remote for DuplexStream {
    fn tcp_info(&self) -> Option<TcpInfo> {
        None
    }
    fn probe(&self, _: Keepalive) {}
    fn reset_on_drop(&self, _: bool) {}
}

/// Everything of the bridge, with a line that says what a test wants.
struct Told {
    io: DuplexStream,
    tcp_info: Arc<Mutex<TcpInfo>>,
}

impl AsyncRead for Told {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_read(cx, buf)
    }
}

impl AsyncWrite for Told {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write(cx, bytes)
    }
    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }
    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}

impl Remote for Told {
    fn tcp_info(&self) -> Option<TcpInfo> {
        Some(*self.tcp_info.lock().unwrap())
    }
    fn probe(&self, _: Keepalive) {}
    fn reset_on_drop(&self, _: bool) {}
}

const WELL: TcpInfo =
    TcpInfo { closed: false, unacknowledged: false, queued: false, last_ack: Duration::ZERO };

/// What a test holds: the far end of the local side, and a reference WebSocket on the gateway's side.
struct Ends {
    local: DuplexStream,
    gateway: WebSocketStream<DuplexStream>,
    bridge: tokio::task::JoinHandle<(End, u64, u64)>,
    hangup: oneshot::Sender<()>,
    gone: oneshot::Sender<()>,
}

async fn ends(pipe: usize, settings: Settings, early: &'static [u8]) -> Ends {
    let (remote, wire) = duplex(pipe);
    ends_over(pipe, remote, wire, settings, early).await
}

async fn ends_over<S>(
    pipe: usize,
    remote: S,
    wire: DuplexStream,
    settings: Settings,
    early: &'static [u8],
) -> Ends
where
    S: Remote + Send + 'static,
{
    let (local, inner) = duplex(pipe);
    let gateway = WebSocketStream::from_raw_socket(wire, Role::Server, None).await;
    let (hangup, hung_up) = oneshot::channel::<()>();
    let (gone, has_gone) = oneshot::channel::<()>();
    let bridge = tokio::spawn(async move {
        let meter = Meter::default();
        let asked = async |asked: oneshot::Receiver<()>| {
            if asked.await.is_err() {
                pending::<()>().await;
            }
        };
        let hangup = async {
            asked(hung_up).await;
            Close::new(Close::GOING_AWAY, "told to end")
        };
        let controls = Controls { hangup, gone: asked(has_gone) };
        let end = bridge(tokio::io::split(inner), remote, early, &settings, &meter, controls).await;
        (end, meter.sent(), meter.received())
    });
    Ends { local, gateway, bridge, hangup, gone }
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
async fn an_end_in_no_good_order_is_told_from_an_ordinary_one() {
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
        assert!(
            matches!(&end, End::Peer(close) if close.code == Some(code) && !close.is_normal()),
            "{end:?}"
        );
    }
    for wire in [&b"\x88\x00"[..], b"\x88\x02\x03\xe8"] {
        let end = cut(wire).await;
        assert!(matches!(&end, End::Local | End::Peer(Close { code: None | Some(1000), .. })), "{end:?}");
    }
}

#[tokio::test]
async fn a_violation_is_answered_with_a_close_that_says_so() {
    let Ends { local, mut gateway, bridge, .. } = ends(64, PATIENT, b"").await;
    gateway.get_mut().write_all(b"HTTP/1.1 400").await.unwrap();
    let (_, close) = receive_raw(gateway).await;
    assert_eq!(close, Some(Close::PROTOCOL));
    assert!(matches!(bridge.await.unwrap().0, End::Violation(_)));
    drop(local);
}

/// Reads to the end: all payload, and the code of the Close.
async fn receive_raw(gateway: WebSocketStream<DuplexStream>) -> (Vec<u8>, Option<u16>) {
    let mut gateway = WebSocketStream::from_raw_socket(gateway.into_inner(), Role::Server, None).await;
    let (data, close) = receive(&mut gateway).await;
    (data, close.map(|close| close.code.into()))
}

/// A target that resets its connection.
struct Failing;

impl AsyncRead for Failing {
    fn poll_read(self: Pin<&mut Self>, _: &mut Context<'_>, _: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Err(io::ErrorKind::ConnectionReset.into()))
    }
}

#[tokio::test]
async fn a_local_side_that_fails_is_told_to_the_peer() {
    let (remote, wire) = duplex(65_536);
    let gateway = WebSocketStream::from_raw_socket(wire, Role::Server, None).await;
    let (meter, controls) = (Meter::default(), Controls { hangup: pending(), gone: pending() });
    let local = (Failing, tokio::io::sink());
    let (end, (_, close)) =
        tokio::join!(bridge(local, remote, b"", &PATIENT, &meter, controls), receive_raw(gateway));
    assert!(matches!(end, End::LocalFailed(_)), "{end:?}");
    assert_eq!(close, Some(Close::FAILURE));
}

#[tokio::test(start_paused = true)]
async fn what_has_failed_is_not_held_by_the_other_side() {
    // The peer's side failed, and neither its connection nor the local side ends.
    let Ends { local, mut gateway, bridge, .. } = ends(64, PATIENT, b"").await;
    let begin = Instant::now();
    gateway.get_mut().write_all(b"\x88\x02\x03\xf3").await.unwrap();
    assert!(matches!(bridge.await.unwrap().0, End::Peer(close) if close.code == Some(1011)));
    assert!(begin.elapsed() <= Duration::from_secs(1), "{:?}", begin.elapsed());
    drop((local, gateway));

    // The local side failed, and the peer says nothing to its being told.
    let (remote, _wire) = duplex(65_536);
    let (meter, controls) = (Meter::default(), Controls { hangup: pending(), gone: pending() });
    let begin = Instant::now();
    let end = super::bridge((Failing, tokio::io::sink()), remote, b"", &PATIENT, &meter, controls).await;
    assert!(matches!(end, End::LocalFailed(_)), "{end:?}");
    assert!(begin.elapsed() <= Duration::from_secs(1), "{:?}", begin.elapsed());
}

#[tokio::test]
async fn a_gone_reader_ends_the_stream_with_a_close() {
    let Ends { local, mut gateway, bridge, .. } = ends(64, PATIENT, b"").await;
    drop(local);
    let (_, close) = receive(&mut gateway).await;
    assert!(close.is_some_and(|close| close.code == CloseCode::Normal));
    assert!(matches!(bridge.await.unwrap().0, End::Local));
}

#[tokio::test(start_paused = true)]
async fn a_run_of_empty_messages_is_the_peers_end() {
    const EMPTY: [u8; 2] = [0x82, 0];
    // Ninety-nine at once, and one a second for a while, are nothing.
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
    // A hundred are the end of what comes, and what goes is still taken.
    wire.write_all(&EMPTY.repeat(5000)).await.unwrap();
    assert_eq!(read.read(&mut data).await.unwrap(), 0);
    write.write_all(b"the answer").await.unwrap();
    write.shutdown().await.unwrap();
    let begin = Instant::now();
    let (end, sent, _) = bridge.await.unwrap();
    assert!(matches!(end, End::PeerEmptied), "{end:?}");
    assert!(sent == 10 && begin.elapsed() < Duration::from_secs(1));

    // As a helper has it, that is a stream's end as any other.
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

#[tokio::test]
async fn a_flood_of_tiny_frames_leaves_the_rest_its_turn() {
    let settings = Settings { keepalive: None, ..PATIENT };
    for tiny in [&b"\x82\x01d"[..], b"\x89\x00"] {
        let Ends { local, gateway, bridge, hangup, .. } = ends(1 << 20, settings.clone(), b"").await;
        let (mut from_peer, mut to_peer) = tokio::io::split(local);
        let (mut from_bridge, mut to_bridge) = tokio::io::split(gateway.into_inner());
        // Faster than its frames are taken apart.
        let flood =
            tokio::spawn(async move { while to_bridge.write_all(&tiny.repeat(50_000)).await.is_ok() {} });
        let taking =
            tokio::spawn(async move { while from_peer.read(&mut [0; 65_536]).await.is_ok_and(|n| n > 0) {} });
        to_peer.write_all(b"still heard").await.unwrap();
        let mut seen = Vec::new();
        while !seen.ends_with(b"\x8b") || seen.len() < 11 + 6 {
            // Masked with a key of its own: its header is enough.
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
    let settings = Settings { keepalive: Keepalive::every(Duration::from_secs(4)), ..PATIENT };
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
    assert!(matches!(end, End::Silent(after) if after.as_secs() == 8), "{end:?}");
    assert!(begin.elapsed() < Duration::from_secs(13));
    drop(local);
}

/// A bridge as an agent's over a line that says `line`, whose peer reads nothing and says nothing.
async fn beside_a_mute_peer(pipe: usize) -> (Ends, Arc<Mutex<TcpInfo>>) {
    let tcp_info = Arc::new(Mutex::new(WELL));
    let (io, wire) = duplex(pipe);
    let told = Told { io, tcp_info: tcp_info.clone() };
    (ends_over(pipe, told, wire, PATIENT, b"").await, tcp_info)
}

#[tokio::test(start_paused = true)]
async fn a_peer_that_does_not_read_is_alive_as_long_as_its_system_answers() {
    let (Ends { mut local, bridge, gateway: _gateway, .. }, tcp_info) = beside_a_mute_peer(1000).await;
    // More than the peer takes: the rest waits, and so do pings.
    local.write_all(&noise(1500)).await.unwrap();
    *tcp_info.lock().unwrap() = TcpInfo { queued: true, ..WELL };
    sleep(Duration::from_secs(3600)).await;
    assert!(!bridge.is_finished());
    // A probe that is answered late, and one that is not.
    *tcp_info.lock().unwrap() =
        TcpInfo { unacknowledged: true, last_ack: Duration::from_secs(200), queued: true, closed: false };
    sleep(Duration::from_secs(100)).await;
    *tcp_info.lock().unwrap() = TcpInfo { queued: true, ..WELL };
    sleep(Duration::from_secs(100)).await;
    assert!(!bridge.is_finished());
    *tcp_info.lock().unwrap() =
        TcpInfo { unacknowledged: true, last_ack: Duration::from_secs(300), queued: true, closed: false };
    let begin = Instant::now();
    let (end, ..) = bridge.await.unwrap();
    assert!(matches!(end, End::Silent(_)), "{end:?}");
    assert!((100..=120).contains(&begin.elapsed().as_secs()), "{:?}", begin.elapsed());
}

#[tokio::test(start_paused = true)]
async fn a_pong_that_lies_behind_unread_data_is_not_missed() {
    let (Ends { mut local, bridge, gateway: _gateway, .. }, _tcp_info) = beside_a_mute_peer(65_536).await;
    local.write_all(b"not read yet").await.unwrap();
    sleep(Duration::from_secs(3600)).await;
    assert!(!bridge.is_finished());

    // With nothing before it, it is.
    let (Ends { bridge, local: _local, gateway: _gateway, .. }, _tcp_info) = beside_a_mute_peer(65_536).await;
    let begin = Instant::now();
    assert!(matches!(bridge.await.unwrap().0, End::Silent(_)));
    assert!((110..=120).contains(&begin.elapsed().as_secs()), "{:?}", begin.elapsed());
}

#[tokio::test(start_paused = true)]
async fn a_local_side_that_takes_nothing_is_left_once_the_peer_has_gone() {
    let (Ends { local, mut gateway, bridge, .. }, tcp_info) = beside_a_mute_peer(1000).await;
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
    assert!(begin.elapsed() <= Duration::from_secs(5), "{:?}", begin.elapsed());
    drop((local, writing));
}

#[tokio::test(start_paused = true)]
async fn an_answer_is_waited_for_as_long_as_the_peer_lives() {
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

    // After the peer's, until its connection ends as well.
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
async fn lingering_and_draining_are_bounded_where_they_are_asked_to_be() {
    let bounded =
        Settings { linger: Some(Duration::from_secs(10)), drain: Some(Duration::from_secs(5)), ..PATIENT };
    // The peer never answers our close.
    let Ends { local, gateway, bridge, .. } = ends(64, bounded.clone(), b"").await;
    let begin = Instant::now();
    let (_read, mut write) = tokio::io::split(local);
    write.shutdown().await.unwrap();
    assert!(matches!(bridge.await.unwrap().0, End::Local));
    assert_eq!(begin.elapsed().as_secs(), 10);
    drop(gateway);

    // The local side never ends after the peer's close.
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
async fn a_hang_up_sends_what_is_there_and_ends_within_a_second() {
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
    // One frame of seven bytes, and the close with its reason.
    assert_eq!(bytes.len(), (6 + 7) + (6 + 2 + "told to end".len()));
    assert_eq!((bytes[0], bytes[13]), (0x82, 0x88));
}

#[tokio::test(start_paused = true)]
async fn a_caller_that_has_gone_ends_the_stream_whatever_the_peer_does() {
    // The peer takes everything, or nothing more than a little.
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

/// What [`Incoming::take_apart`] finds in `wire`, which is read in pieces of the given sizes: payloads, the last ping, and what
/// ended it.
fn taken(wire: &[u8], mut sizes: impl Iterator<Item = usize>) -> (Vec<u8>, Option<Vec<u8>>, Option<String>) {
    let link = Link::new();
    let pong = || link.lock().orders.pong.take();
    let (mut incoming, mut all, mut start) = (Incoming::new(tokio::io::empty()), Vec::new(), 0);
    while start < wire.len() {
        let end = (start + sizes.next().unwrap()).min(wire.len());
        let mut bytes = [&incoming.rest[..], &wire[start..end]].concat();
        start = end;
        let Taken { data, last } = incoming.take_apart(&mut bytes, &link);
        all.extend_from_slice(&bytes[data]);
        let left = incoming.rest.len();
        match last {
            Some(Down::Closed(close)) => return (all, pong(), Some(format!("{close:?}"))),
            Some(Down::Violation(what)) => return (all, pong(), Some(what.into())),
            Some(Down::RemoteFailed(error)) => return (all, pong(), Some(error.to_string())),
            _ => assert!(left < 131, "more than a header and a control frame is left: {left}"),
        }
    }
    (all, pong(), None)
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
