//! How streams end over real connections: what the gateway passes on, and how it treats a side that is gone.

use std::time::{Duration, Instant};

use futures_util::{SinkExt, StreamExt};
use tokio::io::{AsyncWriteExt, Interest};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::protocol::{CloseFrame, Message};

use super::Emulator;
use super::mqtt_client::Mqtt;
use super::streams::{end, receive, send};
use crate::support::hub_client::{Tls, soon};

async fn stream(hub: &Emulator) -> (Mqtt<Tls>, WebSocketStream<Tls>, WebSocketStream<Tls>) {
    let mut mqtt = hub.device("dev-1", None).await;
    let (service, device) = hub.stream(&mut mqtt).await;
    (mqtt, service, device)
}

/// Sends until the connection is full. Returns how much was sent.
async fn fill(side: &mut WebSocketStream<Tls>) -> usize {
    let block = vec![0; 65_536];
    let mut sent = 0;
    while tokio::time::timeout(Duration::from_millis(500), send(side, &block)).await.is_ok() {
        sent += block.len();
        assert!(sent < 256 << 20, "nothing stops the sender");
    }
    sent
}

/// Waits for the reset of a connection that nobody reads.
async fn is_reset(side: &WebSocketStream<Tls>) {
    let tcp = side.get_ref().get_ref().0;
    let ready = soon(tcp.ready(Interest::ERROR)).await.unwrap();
    assert!(ready.is_error(), "{ready:?}");
}

#[tokio::test]
async fn a_side_that_does_not_read_learns_that_the_other_was_killed() {
    let hub = Emulator::start("");
    // With more than the gateway takes, and with an amount that the kernel's buffers for the device hold.
    for more in [true, false] {
        let (_mqtt, mut service, device) = stream(&hub).await;
        if more {
            fill(&mut service).await;
        } else {
            for _ in 0..60 {
                send(&mut service, &[0; 65_536]).await;
            }
            service.flush().await.unwrap();
        }
        // The kernel closes the connection of a killed program in the same manner.
        let start = Instant::now();
        drop(service);
        is_reset(&device).await;
        assert!(start.elapsed() < Duration::from_secs(12), "{:?}", start.elapsed());
    }
}

#[tokio::test]
async fn a_side_that_stalls_and_resumes_gets_everything_and_may_answer_late() {
    let hub = Emulator::start("");
    let (_mqtt, mut service, mut device) = stream(&hub).await;
    let serving = tokio::spawn(async move {
        for _ in 0..200 {
            send(&mut service, &[3; 65_536]).await;
        }
        service.get_mut().write_all(&[0x88, 0x80, 0, 0, 0, 0]).await.unwrap();
        (receive(&mut service, 6).await, end(&mut service).await)
    });
    // Longer than the gateway waits for a side that is gone.
    tokio::time::sleep(Duration::from_secs(5)).await;
    assert_eq!(receive(&mut device, 200 * 65_536).await.len(), 200 * 65_536);
    device.get_mut().write_all(b"\x82\x86\0\0\0\0answer\x88\x80\0\0\0\0").await.unwrap();
    let (answer, closed) = soon(serving).await.unwrap();
    assert_eq!((answer, closed), (b"answer".to_vec(), Some((1000, String::new()))));
}

#[tokio::test]
async fn a_user_may_read_late_after_both_sides_have_closed() {
    let hub = Emulator::start("");
    let (_mqtt, mut service, mut device) = stream(&hub).await;
    service.get_mut().write_all(&[0x88, 0x80, 0, 0, 0, 0]).await.unwrap();
    let answering = tokio::spawn(async move {
        assert!(matches!(device.next().await, Some(Ok(Message::Close(_)))));
        let block = [&[0x82, 0xfe, 0xff, 0xff, 0, 0, 0, 0][..], &[9; 65_535]].concat();
        for _ in 0..100 {
            device.get_mut().write_all(&block).await.unwrap();
        }
        device.get_mut().write_all(&[0x88, 0x80, 0, 0, 0, 0]).await.unwrap();
        device.get_mut().shutdown().await.unwrap();
    });
    // Longer than the gateway waits for a device whose user is gone.
    tokio::time::sleep(Duration::from_secs(5)).await;
    assert_eq!(receive(&mut service, 100 * 65_535).await.len(), 100 * 65_535);
    assert_eq!(end(&mut service).await, Some((1000, String::new())));
    soon(answering).await.unwrap();
}

#[tokio::test]
async fn a_failure_close_is_forwarded_after_the_data() {
    let hub = Emulator::start("");
    let (_mqtt, mut service, mut device) = stream(&hub).await;
    send(&mut device, b"half an answer").await;
    let reason = "target: connection reset";
    device.send(Message::Close(Some(CloseFrame { code: 1011.into(), reason: reason.into() }))).await.unwrap();
    assert_eq!(receive(&mut service, 14).await, b"half an answer");
    assert_eq!(end(&mut service).await, Some((1011, reason.to_owned())));
}

#[tokio::test]
async fn empty_messages_are_forwarded_and_a_flood_of_them_blocks_nothing() {
    let hub = Emulator::start("");
    let (_mqtt, mut service, mut device) = stream(&hub).await;
    let (_other_mqtt, mut other_service, mut other_device) = {
        let mut mqtt = hub.device("dev-1", Some("mod")).await;
        let path = "/twins/dev-1/modules/mod/streams/ssh?api-version=x";
        let (answer, offer) = soon(async {
            tokio::join!(hub.initiate(path, &[]), async {
                let (_, offer) = mqtt.offer().await;
                mqtt.answer(200, &offer.request_id).await;
                offer
            })
        })
        .await;
        let device = hub.join(&offer.url, &offer.token).await.unwrap();
        let (url, token) = answer.service_side();
        (mqtt, hub.join(url, token).await.unwrap(), device)
    };
    let flood = tokio::spawn(async move {
        let empty = [0x82, 0x80, 0, 0, 0, 0].repeat(1000);
        while service.get_mut().write_all(&empty).await.is_ok() {}
    });
    let run = async {
        for _ in 0..100 {
            let message = device.next().await.unwrap().unwrap();
            assert!(matches!(&message, Message::Binary(data) if data.is_empty()), "{message:?}");
        }
    };
    soon(run).await;
    for _ in 0..20 {
        let start = Instant::now();
        send(&mut other_service, b"x").await;
        assert_eq!(receive(&mut other_device, 1).await, b"x");
        assert!(start.elapsed() < Duration::from_secs(1), "{:?}", start.elapsed());
    }
    flood.abort();
}
