//! What a stream carries, and how it ends.

use futures_util::{SinkExt, StreamExt};
use tokio_tungstenite::tungstenite::protocol::frame::Frame;
use tokio_tungstenite::tungstenite::protocol::frame::coding::{CloseCode, Data, OpCode};
use tokio_tungstenite::tungstenite::protocol::{CloseFrame, Message};

use super::Relay;
use crate::emulator::streams::{end, receive, send};
use crate::support::hub_client::soon;
use crate::support::relay_client::WebSocket;

async fn next(websocket: &mut WebSocket) -> Option<Message> {
    soon(websocket.next()).await.map(|message| message.expect("a message"))
}

fn close(code: u16, reason: &str) -> Message {
    Message::Close(Some(CloseFrame { code: CloseCode::from(code), reason: reason.into() }))
}

#[tokio::test]
async fn messages_keep_their_type_and_borders() {
    let relay = Relay::start("");
    let mut control = relay.listen("hyco", "id").await.unwrap();
    let (mut sender, mut listener) = relay.stream(&mut control, "hyco").await;
    for (from, to) in [(0, 1), (1, 0)] {
        let ends = &mut [&mut sender, &mut listener];
        let messages = [
            Message::text("{\"envelope\":1}"),
            Message::binary(vec![1]),
            Message::binary(Vec::new()),
            Message::binary(vec![2; 100]),
            Message::binary(vec![3; 65_536]),
            // Fragments are put together by the reader; the emulator keeps no message back.
            Message::binary(vec![4; 1 << 20]),
        ];
        for message in &messages {
            ends[from].feed(message.clone()).await.unwrap();
        }
        for (text, opcode, is_final) in [("in ", Data::Text, false), ("parts", Data::Continue, true)] {
            let frame = Frame::message(text, OpCode::Data(opcode), is_final);
            ends[from].feed(Message::Frame(frame)).await.unwrap();
        }
        let [a, b] = ends;
        let (writer, reader) = if to == 1 { (a, b) } else { (b, a) };
        let (flushed, ()) = tokio::join!(writer.flush(), async {
            for message in messages {
                assert!(next(reader).await == Some(message), "a message has changed");
            }
            assert_eq!(next(reader).await, Some(Message::text("in parts")));
        });
        flushed.unwrap();
    }
    // Each hop answers its own Pings.
    sender.send(Message::Ping("p".into())).await.unwrap();
    assert_eq!(next(&mut sender).await, Some(Message::Pong("p".into())));
    send(&mut listener, b"x").await;
    assert_eq!(next(&mut sender).await, Some(Message::binary(b"x".to_vec())));
}

#[tokio::test]
async fn a_close_is_passed_on_and_the_other_direction_goes_on() {
    let relay = Relay::start("");
    let mut control = relay.listen("hyco", "id").await.unwrap();
    for (code, reason) in [(1000, "Shutdown"), (1001, ""), (1011, "x"), (4000, "iotstream up 60000")] {
        for sender_is_first in [true, false] {
            let (sender, listener) = relay.stream(&mut control, "hyco").await;
            let (mut first, mut second) =
                if sender_is_first { (sender, listener) } else { (listener, sender) };
            send(&mut first, &vec![5; 60_000]).await;
            first.send(close(code, reason)).await.unwrap();
            assert_eq!(receive(&mut second, 60_000).await.len(), 60_000);
            // It has not read the Close yet: what it sends still arrives.
            for _ in 0..3 {
                send(&mut second, &vec![6; 60_000]).await;
            }
            assert_eq!(receive(&mut first, 180_000).await.len(), 180_000);
            assert_eq!(end(&mut second).await, Some((code, reason.to_owned())));
            assert!(soon(second.next()).await.is_none());
            // Tungstenite answers with the same.
            assert_eq!(end(&mut first).await.map(|(code, _)| code), Some(code));
            assert!(soon(first.next()).await.is_none());
        }
    }
    let (mut sender, mut listener) = relay.stream(&mut control, "hyco").await;
    sender.send(Message::Close(None)).await.unwrap();
    assert_eq!(next(&mut listener).await, Some(Message::Close(None)));
}

#[tokio::test]
async fn an_end_without_a_close_is_passed_on_as_one() {
    let relay = Relay::start("");
    let mut control = relay.listen("hyco", "id").await.unwrap();
    for sender_is_lost in [true, false] {
        for is_reset in [true, false] {
            let (sender, listener) = relay.stream(&mut control, "hyco").await;
            let (mut lost, mut left) = if sender_is_lost { (sender, listener) } else { (listener, sender) };
            send(&mut lost, b"last words").await;
            assert_eq!(receive(&mut left, 10).await, b"last words");
            if is_reset {
                lost.get_ref().get_ref().0.set_zero_linger().unwrap();
            }
            drop(lost);
            assert!(!matches!(soon(left.next()).await, Some(Ok(_))), "a cut looks like an end");
        }
    }
}

#[tokio::test]
async fn a_stream_outlives_its_control_channel() {
    let relay = Relay::start("");
    let mut control = relay.listen("hyco", "id").await.unwrap();
    let (mut sender, mut listener) = relay.stream(&mut control, "hyco").await;
    drop(control);
    send(&mut sender, b"still").await;
    assert_eq!(receive(&mut listener, 5).await, b"still");
    send(&mut listener, b"here").await;
    assert_eq!(receive(&mut sender, 4).await, b"here");
}

#[tokio::test]
async fn much_data_arrives_unchanged() {
    let relay = Relay::start("");
    let mut control = relay.listen("hyco", "id").await.unwrap();
    let (mut sender, mut listener) = relay.stream(&mut control, "hyco").await;
    let block = crate::support::random(1 << 16);
    let count = 512;
    let sending = async {
        for _ in 0..count {
            sender.feed(Message::binary(block.clone())).await.unwrap();
        }
        sender.send(close(1000, "Shutdown")).await.unwrap();
        sender
    };
    let receiving = async {
        let mut received = 0;
        while let Some(Message::Binary(data)) = next(&mut listener).await {
            assert!(data == block, "message {received} has changed");
            received += 1;
        }
        received
    };
    let (_sender, received) = tokio::join!(sending, receiving);
    assert_eq!(received, count);
}
