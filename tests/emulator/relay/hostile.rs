//! What a hostile namespace sends a listener.

use futures_util::{SinkExt, StreamExt};
use serde_json::Value;
use tokio_tungstenite::tungstenite::protocol::Message;
use tokio_tungstenite::tungstenite::{Error, error::CapacityError};

use super::Relay;
use crate::support::hub_client::soon;
use crate::support::relay_client::{WebSocket, accept_message};

async fn text(control: &mut WebSocket) -> String {
    match soon(control.next()).await {
        Some(Ok(Message::Text(text))) => text.to_string(),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn listeners_are_sent_what_no_service_sends() {
    for (kind, first, second) in [
        ("garbage", "{\"accept\":", None),
        ("unknown", "{\"unknown\":{\"address\":1}}", None),
        ("binary", "{\"accept\":{}}", None),
        ("request", "\"requestTarget\":\"/\"", None),
        ("body", "\"body\":true", Some(64 << 10)),
        ("address", "sb-hc-action=request", None),
    ] {
        let relay = Relay::start(&format!("relay-message={kind}@1"));
        let mut control = relay.listen("hyco", "x").await.unwrap();
        let message = soon(control.next()).await.unwrap().unwrap();
        assert_eq!(message.is_binary(), kind == "binary");
        let said = String::from_utf8(message.into_data().to_vec()).unwrap();
        assert!(said.contains(first), "{kind} {said}");
        if let Some(size) = second {
            assert_eq!(soon(control.next()).await.unwrap().unwrap().into_data().len(), size);
        }
        // The channel works all the same, and the next is not sent it.
        let mut next = relay.listen("a/b", "x").await.unwrap();
        relay.stream(&mut next, "a/b").await;
    }
}

#[tokio::test]
async fn messages_may_be_giant_or_endless() {
    let relay = Relay::start("relay-message=giant@1");
    let mut control = relay.listen("hyco", "x").await.unwrap();
    let giant = text(&mut control).await;
    assert!(giant.len() > 1 << 20);
    assert!(serde_json::from_str::<Value>(&giant).unwrap()["giant"].is_string());

    let relay = Relay::start("relay-message=endless@1");
    let mut control = relay.listen("hyco", "x").await.unwrap();
    let error = soon(control.next()).await.unwrap().unwrap_err();
    assert!(matches!(error, Error::Capacity(CapacityError::MessageTooLong { .. })), "{error}");
}

#[tokio::test]
async fn an_address_may_be_wrong() {
    for (kind, start) in [("host", "wss://gateway.invalid:"), ("ws", "ws://127.0.0.1:")] {
        let relay = Relay::start(&format!("relay-address={kind}@1"));
        let mut control = relay.listen("hyco", "x").await.unwrap();
        let accept = tokio::select! {
            _ = relay.connect("hyco", &[]) => panic!("nobody accepted"),
            accept = accept_message(&mut control) => accept,
        };
        assert!(accept["address"].as_str().unwrap().starts_with(start), "{accept}");
        relay.stream(&mut control, "hyco").await;
    }
    let relay = Relay::start("relay-address=reused@1");
    let mut control = relay.listen("hyco", "x").await.unwrap();
    let accepting = async {
        let first = accept_message(&mut control).await;
        let second = accept_message(&mut control).await;
        assert_eq!(first, second);
        let address = first["address"].as_str().unwrap();
        let listener = relay.dial(address, "", &[]).await.unwrap();
        assert_eq!(relay.dial(address, "", &[]).await.unwrap_err().status, 403);
        listener
    };
    let (sender, _listener) = tokio::join!(relay.connect("hyco", &[]), accepting);
    sender.unwrap().websocket.send(Message::text("x")).await.unwrap();
}

#[tokio::test]
async fn headers_may_have_odd_names() {
    for (kind, expected) in
        [("numeric", "\"connectHeaders\":{\"0\":\"x\",\"1\":\"x\","), ("repeated", "\"X\":\"1\",\"x\":\"2\"")]
    {
        let relay = Relay::start(&format!("relay-headers={kind}"));
        let mut control = relay.listen("hyco", "x").await.unwrap();
        let said = tokio::select! {
            _ = relay.connect("hyco", &["X: 1", "x: 2"]) => panic!("nobody accepted"),
            said = text(&mut control) => said,
        };
        assert!(said.contains(expected), "{said}");
    }
}
