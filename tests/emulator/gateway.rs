//! The streaming gateway: who may join, what is carried, and how a stream ends.

use std::time::{Duration, Instant};

use futures_util::{SinkExt, StreamExt};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio_tungstenite::tungstenite::protocol::Message;
use tokio_tungstenite::tungstenite::protocol::frame::Frame;
use tokio_tungstenite::tungstenite::protocol::frame::coding::{Data, OpCode};

use super::streams::{end, receive, send};
use super::{Emulator, SSH};
use crate::support::hub_client::soon;

const LOST: Option<(u16, &str)> = Some((1011, "WS disconnected"));

fn ended(end: Option<&(u16, String)>) -> Option<(u16, &str)> {
    end.map(|(code, reason)| (*code, reason.as_str()))
}

#[tokio::test]
async fn either_side_may_join_first_and_its_bytes_are_kept() {
    let hub = Emulator::start("");
    let mut mqtt = hub.device("dev-1", None).await;
    let (answer, (offer, mut device)) = soon(async {
        tokio::join!(hub.initiate(SSH, &[]), async {
            let (_, offer) = mqtt.offer().await;
            // It joins before it accepts, as the C sample does.
            let mut device = hub.join(&offer.url, &offer.token).await.unwrap();
            send(&mut device, b"SSH-2.0-early\r\n").await;
            device.send(Message::Ping("x".into())).await.unwrap();
            assert!(matches!(device.next().await, Some(Ok(Message::Pong(_)))));
            mqtt.answer(200, &offer.request_id).await;
            (offer, device)
        })
    })
    .await;
    let (url, token) = answer.service_side();

    // A token is for one use, one side and one stream.
    assert_eq!(hub.join(&offer.url, &offer.token).await.unwrap_err(), 409);
    assert_eq!(hub.join(url, &offer.token).await.unwrap_err(), 403);
    assert_eq!(hub.join(url, "eyJ.e.x").await.unwrap_err(), 401);
    assert_eq!(hub.websocket(url.split_at(url.find("/bridges").unwrap()).1, &[]).await.unwrap_err(), 401);
    assert_eq!(hub.join("wss://h/bridges/x", token).await.unwrap_err(), 404);
    let other = url.replace("/r/service", "/r/other");
    assert_eq!(hub.join(&other, token).await.unwrap_err(), 404);

    let mut service = hub.join(url, token).await.unwrap();
    assert_eq!(receive(&mut service, 15).await, b"SSH-2.0-early\r\n");
    send(&mut service, b"hello").await;
    assert_eq!(receive(&mut device, 5).await, b"hello");

    drop((service, device));
    soon(async {
        while hub.join(url, token).await.unwrap_err() != 401 {
            tokio::task::yield_now().await;
        }
    })
    .await;
}

#[tokio::test]
async fn subprotocols_and_extensions_are_not_negotiated() {
    let hub = Emulator::start("");
    let mut mqtt = hub.device("dev-1", None).await;
    let handshake = async {
        let (_, offer) = mqtt.offer().await;
        let path = offer.url.split_at(offer.url.find("/bridges").unwrap()).1;
        let mut io = hub.tls(hub.https).await;
        // What the C sample sends [M], with Node's extension.
        let request = format!(
            "GET {path} HTTP/1.1\r\nHost: 127.0.0.1:443\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
             Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Protocol: MQTT\r\n\
             Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits\r\n\
             Sec-WebSocket-Version: 13\r\nAuthorization: Bearer {}\r\n\r\n",
            &offer.token
        );
        io.write_all(request.as_bytes()).await.unwrap();
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(soon(io.read_u8()).await.unwrap());
        }
        String::from_utf8(head).unwrap().to_ascii_lowercase()
    };
    let head = tokio::select! {
        _ = hub.initiate(SSH, &[]) => panic!("nobody answered"),
        head = handshake => head,
    };
    assert!(head.starts_with("http/1.1 101 "), "{head}");
    assert!(head.contains("sec-websocket-accept: s3pplmbitxaq9kygzzhzrbk+xoo="), "{head}");
    assert!(!head.contains("sec-websocket-protocol") && !head.contains("extensions"), "{head}");
}

#[tokio::test]
async fn every_kind_of_data_frame_carries_bytes() {
    let hub = Emulator::start("");
    let mut mqtt = hub.device("dev-1", None).await;
    let (mut service, mut device) = hub.stream(&mut mqtt).await;
    service.send(Message::text("text ")).await.unwrap();
    service.send(Message::binary(Vec::new())).await.unwrap();
    for (part, opcode, last) in
        [("in ", Data::Binary, false), ("three ", Data::Continue, false), ("parts", Data::Continue, true)]
    {
        let frame = Frame::message(part, OpCode::Data(opcode), last);
        service.send(Message::Frame(frame)).await.unwrap();
    }
    assert_eq!(receive(&mut device, 19).await, b"text in three parts");
    let largest = vec![7; 65_536];
    send(&mut device, &largest).await;
    assert_eq!(receive(&mut service, 65_536).await, largest);
}

#[tokio::test]
async fn a_frame_that_is_too_large_ends_the_stream() {
    let hub = Emulator::start("");
    let mut mqtt = hub.device("dev-1", None).await;
    let (mut service, mut device) = hub.stream(&mut mqtt).await;
    send(&mut service, b"before").await;
    send(&mut service, &vec![0; 65_537]).await;
    assert_eq!(ended(end(&mut service).await.as_ref()), Some((1009, "")));
    assert_eq!(receive(&mut device, 6).await, b"before");
    assert_eq!(ended(end(&mut device).await.as_ref()), LOST);

    let hub = Emulator::start("frames=70000");
    let mut mqtt = hub.device("dev-1", None).await;
    let (mut service, mut device) = hub.stream(&mut mqtt).await;
    send(&mut service, &vec![1; 65_537]).await;
    assert_eq!(receive(&mut device, 65_537).await, vec![1; 65_537]);
}

#[tokio::test]
async fn a_close_follows_the_data_and_does_not_stop_the_other_direction() {
    let hub = Emulator::start("");
    let mut mqtt = hub.device("dev-1", None).await;
    let (mut service, mut device) = hub.stream(&mut mqtt).await;
    for _ in 0..3 {
        send(&mut service, &vec![5; 60_000]).await;
    }
    service.send(Message::Close(None)).await.unwrap();
    assert_eq!(receive(&mut device, 180_000).await.len(), 180_000);
    // The device has not read the Close yet: what it sends now still arrives.
    for _ in 0..3 {
        send(&mut device, &vec![6; 60_000]).await;
    }
    device.flush().await.unwrap();
    assert_eq!(receive(&mut service, 180_000).await.len(), 180_000);
    assert_eq!(ended(end(&mut device).await.as_ref()), Some((1000, "")));
    assert_eq!(soon(device.next()).await.map(|message| message.is_err()), None);
    assert_eq!(ended(end(&mut service).await.as_ref()), Some((1000, "")));
    assert_eq!(soon(service.next()).await.map(|message| message.is_err()), None);
}

#[tokio::test]
async fn the_remaining_side_learns_that_the_other_is_gone() {
    let hub = Emulator::start("");
    let mut mqtt = hub.device("dev-1", None).await;
    let (mut service, device) = hub.stream(&mut mqtt).await;
    drop(device);
    assert_eq!(ended(end(&mut service).await.as_ref()), LOST);
    let (mut service, mut device) = hub.stream(&mut mqtt).await;
    send(&mut service, b"last words").await;
    service.flush().await.unwrap();
    drop(service);
    assert_eq!(receive(&mut device, 10).await, b"last words");
    assert_eq!(ended(end(&mut device).await.as_ref()), LOST);
}

#[tokio::test]
async fn a_stalled_reader_stops_the_sender() {
    let hub = Emulator::start("");
    let mut mqtt = hub.device("dev-1", None).await;
    let (mut service, mut device) = hub.stream(&mut mqtt).await;
    let block = vec![0; 65_536];
    // Kernel buffers of two loopback connections take some megabytes; this takes many more.
    let mut sent = 0;
    while tokio::time::timeout(Duration::from_secs(1), send(&mut service, &block)).await.is_ok() {
        sent += block.len();
        assert!(sent < 256 << 20, "nothing stops the sender");
    }
    // The stream goes on, and nothing is lost.
    let reading = async {
        while let Some(Ok(message)) = device.next().await {
            if message.is_close() {
                break;
            }
        }
        let _ = device.next().await;
    };
    let closing = async {
        service.close(None).await.unwrap();
        while let Some(Ok(_)) = service.next().await {}
    };
    soon(async { tokio::join!(reading, closing) }).await;
}

#[tokio::test]
async fn injected_faults_cut_and_refuse_streams() {
    let hub = Emulator::start("cut=100000");
    let mut mqtt = hub.device("dev-1", None).await;
    let (mut service, mut device) = hub.stream(&mut mqtt).await;
    send(&mut service, &vec![1; 60_000]).await;
    assert_eq!(receive(&mut device, 60_000).await.len(), 60_000);
    send(&mut device, &vec![2; 60_000]).await;
    assert_eq!(receive(&mut service, 40_000).await.len(), 40_000);
    assert_eq!((end(&mut service).await, end(&mut device).await), (None, None));

    for (inject, status) in [("gateway=401@1", 401), ("gateway=500@1", 500), ("gateway=noupgrade@1", 200)] {
        let hub = Emulator::start(inject);
        assert_eq!(hub.join("wss://h/bridges/x", "t").await.unwrap_err(), status, "{inject}");
        let mut mqtt = hub.device("dev-1", None).await;
        hub.stream(&mut mqtt).await;
    }

    let hub = Emulator::start("url=ws");
    let mut mqtt = hub.device("dev-1", None).await;
    let offer = tokio::select! {
        _ = hub.initiate(SSH, &[]) => panic!("nobody answered"),
        (_, offer) = mqtt.offer() => offer,
    };
    assert!(offer.url.starts_with("ws://localhost:"), "{}", offer.url);
}

#[tokio::test]
async fn latency_does_not_limit_throughput() {
    let hub = Emulator::start("latency=100ms");
    let mut mqtt = hub.device("dev-1", None).await;
    let (mut service, mut device) = hub.stream(&mut mqtt).await;
    let start = Instant::now();
    send(&mut service, b"x").await;
    assert_eq!(receive(&mut device, 1).await, b"x");
    let once = start.elapsed();
    assert!((100..1000).contains(&once.as_millis()), "{once:?}");
    // Thirty-two blocks need one delay, not thirty-two.
    let start = Instant::now();
    let ((), data) = tokio::join!(
        async {
            for _ in 0..32 {
                send(&mut service, &[3; 16_384]).await;
            }
        },
        receive(&mut device, 32 * 16_384)
    );
    assert_eq!(data.len(), 32 * 16_384);
    assert!(start.elapsed() < Duration::from_millis(1600), "{:?}", start.elapsed());
}
