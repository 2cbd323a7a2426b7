//! The faults of the relay.

use std::time::{Duration, Instant};

use futures_util::{SinkExt, StreamExt};
use rustls::NamedGroup;
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::protocol::Message;

use super::Relay;
use super::control_channels::closed;
use crate::emulator::streams::{end, receive, send};
use crate::support::hub_client::soon;
use crate::support::relay_client::{WebSocket, accept_message};

/// Long enough that an answer would have come.
const QUIET: Duration = Duration::from_millis(500);

#[tokio::test]
async fn a_sender_fails_for_a_while() {
    for (inject, status, text) in
        [("relay-connect=404@2", 404, "No listener is connected"), ("relay-connect=503@2", 503, "")]
    {
        let relay = Relay::start(inject);
        let mut control = relay.listen("hyco", "x").await.unwrap();
        for _ in 0..2 {
            let refused = relay.connect("hyco", &[]).await.unwrap_err();
            assert_eq!(refused.status, status, "{inject}");
            assert!(refused.reason.starts_with(text), "{refused:?}");
        }
        relay.stream(&mut control, "hyco").await;
    }
    let relay = Relay::start("relay-connect=silent@1");
    let mut control = relay.listen("hyco", "x").await.unwrap();
    assert!(timeout(QUIET, relay.connect("hyco", &[])).await.is_err(), "it is answered");
    relay.stream(&mut control, "hyco").await;
    let relay = Relay::start("relay-listen=503@1");
    assert_eq!(relay.listen("hyco", "x").await.unwrap_err().status, 503);
    relay.listen("hyco", "x").await.unwrap();
}

#[tokio::test]
async fn a_sender_is_delayed() {
    for (inject, limit) in [("relay-delay=400ms@1", 400), ("latency=200ms", 400)] {
        let relay = Relay::start(inject);
        let mut control = relay.listen("hyco", "x").await.unwrap();
        let start = Instant::now();
        relay.stream(&mut control, "hyco").await;
        let elapsed = start.elapsed().as_millis();
        assert!(elapsed >= limit, "{inject} {elapsed}");
    }
}

#[tokio::test]
async fn control_channels_end_in_turn() {
    let relay = Relay::start("relay-control=1011:0/1001:0/1008:0/reset:0/silent:0@5,relay-timeout=1s");
    for (code, text) in [(1011, "NameRenewalFailed"), (1001, "deleted"), (1008, "expired")] {
        let mut control = relay.listen("hyco", "x").await.unwrap();
        let (found, reason) = closed(&mut control).await;
        assert_eq!(found, code);
        assert!(reason.contains(text) && reason.contains("TrackingId:x_G1"), "{reason}");
        assert!(soon(control.next()).await.is_none());
    }
    let mut control = relay.listen("hyco", "x").await.unwrap();
    assert!(!matches!(soon(control.next()).await, Some(Ok(_))), "it is not reset");
    let mut silent = relay.listen("hyco", "x").await.unwrap();
    silent.send(Message::Ping("p".into())).await.unwrap();
    assert!(timeout(QUIET, silent.next()).await.is_err(), "it is answered");
    // The service does not know that nobody is there.
    assert_eq!(relay.connect("hyco", &[]).await.unwrap_err().status, 504);
    drop(silent);
    soon(async { while relay.connect("hyco", &[]).await.unwrap_err().status != 404 {} }).await;
    let mut control = relay.listen("hyco", "x").await.unwrap();
    relay.stream(&mut control, "hyco").await;
}

#[tokio::test]
async fn a_gateway_that_answers_closes_loses_data() {
    for (inject, reason) in [("relay-close=echo", "iotstream up 4"), ("relay-close=normal", "")] {
        let relay = Relay::start(inject);
        let mut control = relay.listen("hyco", "x").await.unwrap();
        let (mut sender, mut listener) = relay.stream(&mut control, "hyco").await;
        send(&mut sender, b"last").await;
        sender.send(close(1000, "iotstream up 4")).await.unwrap();
        assert_eq!(end(&mut sender).await, Some((1000, reason.to_owned())), "{inject}");
        assert!(soon(sender.next()).await.is_none());
        assert_eq!(receive(&mut listener, 4).await, b"last");
        // The listener writes on and closes, and both go well.
        for _ in 0..100 {
            send(&mut listener, &[0; 60_000]).await;
        }
        assert_eq!(end(&mut listener).await, Some((1000, "iotstream up 4".to_owned())));
        assert!(soon(listener.next()).await.is_none());
    }
}

fn close(code: u16, reason: &str) -> Message {
    use tokio_tungstenite::tungstenite::protocol::CloseFrame;
    Message::Close(Some(CloseFrame { code: code.into(), reason: reason.into() }))
}

#[tokio::test]
async fn a_window_is_what_a_peer_that_does_not_read_gets() {
    let mut taken = Vec::new();
    for inject in ["relay-window=1", "relay-window=16777216"] {
        let relay = Relay::start(inject);
        let mut control = relay.listen("hyco", "x").await.unwrap();
        let (mut sender, _listener) = relay.stream(&mut control, "hyco").await;
        let block = vec![0; 65_536];
        let mut sent: usize = 0;
        while timeout(Duration::from_secs(1), send(&mut sender, &block)).await.is_ok() {
            sent += block.len();
            assert!(sent < 256 << 20, "nothing stops the sender");
        }
        taken.push(sent);
    }
    assert!(taken[1] >= taken[0] + (12 << 20), "{taken:?}");
}

#[tokio::test]
async fn what_is_not_known_of_streams_can_be_chosen() {
    let relay = Relay::start("relay-lost=1011");
    let mut control = relay.listen("hyco", "x").await.unwrap();
    let (mut sender, listener) = relay.stream(&mut control, "hyco").await;
    drop(listener);
    assert_eq!(end(&mut sender).await.map(|(code, _)| code), Some(1011));

    let relay = Relay::start("relay-ping=ignored,relay-idle=1s");
    let mut control = relay.listen("hyco", "x").await.unwrap();
    let (mut sender, mut listener) = relay.stream(&mut control, "hyco").await;
    sender.send(Message::Ping("p".into())).await.unwrap();
    let start = Instant::now();
    // No Pong, and then the cut.
    assert!(!matches!(soon(sender.next()).await, Some(Ok(_))), "the stream goes on");
    assert!(!matches!(soon(listener.next()).await, Some(Ok(_))), "the stream goes on");
    assert!(start.elapsed() > Duration::from_millis(900), "{:?}", start.elapsed());

    let relay = Relay::start("relay-ping=peer");
    let mut control = relay.listen("hyco", "x").await.unwrap();
    let (mut sender, mut listener) = relay.stream(&mut control, "hyco").await;
    sender.send(Message::Ping("p".into())).await.unwrap();
    assert!(timeout(QUIET, sender.next()).await.is_err(), "the gateway answers");
    assert_eq!(soon(listener.next()).await.unwrap().unwrap(), Message::Ping("p".into()));
    listener.flush().await.unwrap();
    assert_eq!(soon(sender.next()).await.unwrap().unwrap(), Message::Pong("p".into()));

    let relay = Relay::start("cut=100000");
    let mut control = relay.listen("hyco", "x").await.unwrap();
    let (mut sender, mut listener) = relay.stream(&mut control, "hyco").await;
    send(&mut sender, &[1; 60_000]).await;
    assert_eq!(receive(&mut listener, 60_000).await.len(), 60_000);
    send(&mut listener, &[2; 60_000]).await;
    assert_eq!(receive(&mut sender, 40_000).await.len(), 40_000);
    assert_eq!((end(&mut sender).await, end(&mut listener).await), (None, None));
}

#[tokio::test]
async fn a_stream_may_end_with_the_senders_token() {
    let relay = Relay::start("relay-session=expires,relay-skew=0");
    let mut control = relay.listen("hyco", "x").await.unwrap();
    let expiry = crate::support::sas::unix_seconds() + 2;
    let token = relay.token("send.conn", "http://localhost/", expiry);
    let header = format!("ServiceBusAuthorization: {token}");
    let headers = [header.as_str()];
    let accepting = async {
        let accept = accept_message(&mut control).await;
        relay.dial(accept["address"].as_str().unwrap(), "", &[]).await.unwrap().websocket
    };
    let (sender, mut listener) = tokio::join!(relay.open(relay.https, "/$hc/hyco", &headers), accepting);
    assert_eq!(end(&mut sender.unwrap().websocket).await.map(|(code, _)| code), Some(1008));
    assert_eq!(end(&mut listener).await.map(|(code, _)| code), Some(1008));
}

/// The accept message of a sender with these headers.
async fn announced(
    relay: &Relay,
    control: &mut WebSocket,
    path: &str,
    headers: &[&str],
) -> serde_json::Value {
    tokio::select! {
        _ = relay.open(relay.https, path, headers) => panic!("nobody accepted"),
        accept = accept_message(control) => accept,
    }
}

#[tokio::test]
async fn what_is_not_known_of_accept_messages_can_be_chosen() {
    let relay = Relay::start("relay-token=kept,relay-path=encoded,relay-headers=last");
    let mut control = relay.listen("a/b", "x").await.unwrap();
    let token = relay.send_token();
    let header = format!("ServiceBusAuthorization: {token}");
    let path = "/$hc/a/b?sb-hc-token=in%20query";
    let accept = announced(&relay, &mut control, path, &[&header, "X: 1", "x: 2"]).await;
    let address = accept["address"].as_str().unwrap();
    assert!(address.contains("/$hc/a%2Fb?") && address.contains("sb-hc-token=in%20query&"), "{address}");
    assert_eq!(accept["connectHeaders"]["ServiceBusAuthorization"], token);
    assert_eq!(accept["connectHeaders"]["X"], "2");
}

#[tokio::test]
async fn what_is_not_known_of_refusals_can_be_chosen() {
    let relay = Relay::start("relay-phrase=same,relay-right=401,relay-full=429,relay-allowed=refused");
    let refused = relay.connect("hyco", &[]).await.unwrap_err();
    assert!(refused.status == 404 && refused.reason.starts_with("Endpoint does not exist"), "{refused:?}");
    let header = format!("ServiceBusAuthorization: {}", relay.listen_token("hyco"));
    assert_eq!(relay.open(relay.https, "/$hc/hyco", &[&header]).await.unwrap_err().status, 401);
    let mut all = Vec::new();
    for _ in 0..25 {
        all.push(relay.listen("hyco", "x").await.unwrap());
    }
    assert_eq!(relay.listen("hyco", "x").await.unwrap_err().status, 429);
    let refused = relay.connect("hyco", &["Microsoft-Relay-AllowedListeners: x"]).await.unwrap_err();
    assert!(refused.status == 404 && refused.reason.starts_with("None of the connected"), "{refused:?}");

    let relay = Relay::start("relay-phrase=none,relay-timeout=1s,relay-late=408,relay-allowed=ignored");
    let refused = relay.connect("hyco", &[]).await.unwrap_err();
    assert_eq!((refused.status, refused.reason.as_str()), (404, "Not Found"));
    let _control = relay.listen("hyco", "x").await.unwrap();
    let refused = relay.connect("hyco", &["Microsoft-Relay-AllowedListeners: y"]).await.unwrap_err();
    assert_eq!((refused.status, refused.reason.as_str()), (408, "Request Timeout"));
}

#[tokio::test]
async fn which_tokens_renew_can_be_chosen() {
    use crate::support::relay_client::renew;
    for (inject, same, other_rule, other_entity) in [
        ("relay-renewal=any", true, true, true),
        ("relay-renewal=strict", true, false, false),
        ("relay-renewal=refused", false, false, false),
    ] {
        let relay = Relay::start(inject);
        let tokens = [
            (relay.listen_token("hyco"), same),
            (relay.token("root.conn", "http://localhost/", crate::support::sas::in_an_hour()), other_rule),
            (relay.listen_token("a/b"), other_entity),
        ];
        for (token, is_taken) in tokens {
            let mut control = relay.listen("hyco", "x").await.unwrap();
            renew(&mut control, &token).await;
            if is_taken {
                // The Pong comes after the renewal.
                control.send(Message::Ping("p".into())).await.unwrap();
                assert_eq!(soon(control.next()).await.unwrap().unwrap(), Message::Pong("p".into()));
            } else {
                assert_eq!(closed(&mut control).await.0, 1008, "{inject}");
            }
        }
    }
}

#[tokio::test]
async fn http_requests_reach_the_listener() {
    use crate::support::relay_client::{control_message, request};
    let relay = Relay::start("relay-http=forwarded");
    let token = relay.send_token();
    let get = format!(
        "GET /hyco/x?y=1 HTTP/1.1\r\nHost: h\r\nServiceBusAuthorization: {token}\r\nX-One: 1\r\n\r\n"
    );
    let mut io = relay.client.hub.tls(relay.https).await;
    assert_eq!(request(&mut io, &get).await.status, 502);
    let mut control = relay.listen("hyco", "x").await.unwrap();
    let answering = async {
        let message = control_message(&mut control).await;
        let asked = &message["request"];
        assert_eq!((&asked["method"], &asked["requestTarget"]), (&"GET".into(), &"/hyco/x?y=1".into()));
        assert_eq!(asked["requestHeaders"]["X-One"], "1");
        assert!(!message.to_string().contains("sig="), "{message}");
        let answer = serde_json::json!({ "response": {
            "requestId": asked["id"], "statusCode": 501, "statusDescription": "not here", "responseHeaders": {}, "body": false
        } });
        control.send(Message::text(answer.to_string())).await.unwrap();
    };
    let (answer, ()) = tokio::join!(request(&mut io, &get), answering);
    assert_eq!((answer.status, answer.reason.as_str()), (501, "not here"));
}

#[tokio::test]
async fn tls_may_take_one_group_alone() {
    let relay = Relay::start("relay-tls=p384");
    let io = relay.client.hub.tls(relay.https).await;
    let group = io.get_ref().1.negotiated_key_exchange_group().map(rustls::crypto::SupportedKxGroup::name);
    assert_eq!(group, Some(NamedGroup::secp384r1));
    let mut control = relay.listen("hyco", "x").await.unwrap();
    relay.stream(&mut control, "hyco").await;
}
