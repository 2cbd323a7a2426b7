//! A listener's control channel.

use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use tokio_tungstenite::tungstenite::protocol::Message;
use tokio_tungstenite::tungstenite::protocol::frame::CloseFrame;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;

use super::Relay;
use crate::support::hub_client::soon;
use crate::support::relay_client::{WebSocket, renew};
use crate::support::sas::{in_an_hour, unix_seconds};

/// The Close that ends a control channel.
pub async fn closed(control: &mut WebSocket) -> (u16, String) {
    loop {
        match soon(control.next()).await {
            Some(Ok(Message::Close(Some(CloseFrame { code, reason })))) => {
                return (code.into(), reason.to_string());
            }
            Some(Ok(Message::Ping(_) | Message::Pong(_))) => {}
            other => panic!("{other:?}"),
        }
    }
}

impl Relay {
    /// A listener of hyco whose token expires in so many seconds.
    async fn listen_for(&self, seconds: u64) -> WebSocket {
        let token = self.token("hyco.listen.conn", "http://localhost/hyco/", unix_seconds() + seconds);
        let header = format!("ServiceBusAuthorization: {token}");
        self.open(self.https, "/$hc/hyco?sb-hc-action=listen", &[&header]).await.unwrap().websocket
    }
}

#[tokio::test]
async fn the_26th_listener_is_refused() {
    let relay = Relay::start("");
    let mut all = Vec::new();
    for id in 0..25 {
        all.push(relay.listen("hyco", &id.to_string()).await.unwrap());
    }
    let refused = relay.listen("hyco", "x").await.unwrap_err();
    assert_eq!(refused.status, 403);
    assert!(refused.reason.contains("maximum number of listeners"), "{refused:?}");
    let _other = relay.listen("a/b", "x").await.unwrap();
    let mut one = all.pop().unwrap();
    one.close(None).await.unwrap();
    while soon(one.next()).await.is_some() {}
    soon(async { while relay.listen("hyco", "x").await.is_err() {} }).await;
}

#[tokio::test]
async fn pings_and_closes_are_answered() {
    let relay = Relay::start("relay-pong=50ms");
    let mut control = relay.listen("hyco", "x").await.unwrap();
    control.send(Message::Ping("p".into())).await.unwrap();
    let mut pongs = [false; 2];
    while pongs != [true; 2] {
        match soon(control.next()).await.unwrap().unwrap() {
            // The one to the Ping, and the ones that answer nothing.
            Message::Pong(payload) => pongs[usize::from(payload.is_empty())] = true,
            other => panic!("{other:?}"),
        }
    }
    let close = CloseFrame { code: CloseCode::Away, reason: "bye".into() };
    control.send(Message::Close(Some(close))).await.unwrap();
    assert_eq!(closed(&mut control).await.0, 1001);
    assert!(soon(control.next()).await.is_none());
}

#[tokio::test]
async fn a_channel_is_closed_when_its_token_has_expired() {
    let relay = Relay::start("relay-skew=1s");
    let mut control = relay.listen_for(1).await;
    let (code, reason) = closed(&mut control).await;
    assert_eq!(code, 1008);
    assert!(reason.contains("The token has expired") && reason.contains("TrackingId:"), "{reason}");
    assert!(reason.len() <= 123, "{reason}");
}

#[tokio::test]
async fn a_channel_lives_on_with_a_new_token() {
    let relay = Relay::start("relay-skew=0");
    let mut control = relay.listen_for(2).await;
    renew(&mut control, &relay.listen_token("hyco")).await;
    // Another rule's token is as good, and messages that nobody knows do no harm.
    renew(&mut control, &relay.token("root.conn", "sb://localhost", in_an_hour())).await;
    for text in ["{}", "nonsense", "{\"response\":{\"requestId\":\"x\",\"statusCode\":501}}", ""] {
        control.send(Message::text(text)).await.unwrap();
    }
    control.send(Message::binary(b"body".to_vec())).await.unwrap();
    assert!(tokio::time::timeout(Duration::from_secs(3), control.next()).await.is_err(), "it is closed");
    relay.stream(&mut control, "hyco").await;
}

#[tokio::test]
async fn an_invalid_new_token_ends_the_channel() {
    let relay = Relay::start("");
    let other = relay.token("a%2Fb.listen.conn", "http://localhost/a/b/", in_an_hour());
    for token in ["nonsense", &other, &relay.send_token()] {
        let mut control = relay.listen("hyco", "x").await.unwrap();
        renew(&mut control, token).await;
        let (code, reason) = closed(&mut control).await;
        assert_eq!(code, 1008, "{token}");
        assert!(!reason.contains("sig="), "{reason}");
    }
}

#[tokio::test]
async fn a_large_message_ends_the_channel() {
    let relay = Relay::start("");
    let mut control = relay.listen("hyco", "x").await.unwrap();
    control.send(Message::text("x".repeat(300_000))).await.unwrap();
    assert_eq!(closed(&mut control).await.0, 1009);
}
