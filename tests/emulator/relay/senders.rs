//! Which listener a sender gets, and what it is told where it gets none.

use futures_util::StreamExt;

use super::Relay;
use crate::support::hub_client::soon;
use crate::support::relay_client::{WebSocket, accept_message};

const A: &str = "0a0a0a0a-0000-4000-8000-00000000000a";
const B: &str = "0b0b0b0b-0000-4000-8000-00000000000b";

/// Rejects whatever comes first on one of two control channels, and tells which it was.
async fn reject_next(relay: &Relay, first: &mut WebSocket, second: &mut WebSocket) -> usize {
    let (accept, which) = tokio::select! {
        accept = accept_message(first) => (accept, 0),
        accept = accept_message(second) => (accept, 1),
    };
    let rejected = relay.dial(accept["address"].as_str().unwrap(), "&sb-hc-statusCode=409", &[]).await;
    assert_eq!(rejected.unwrap_err().status, 410);
    which
}

#[tokio::test]
async fn a_sender_may_choose_its_listener() {
    let relay = Relay::start("");
    let mut first = relay.listen("hyco", A).await.unwrap();
    let mut second = relay.listen("hyco", &format!("{B}_G3")).await.unwrap();
    let upper = A.to_uppercase();
    for (header, expected) in [
        (format!("Microsoft-Relay-AllowedListeners: {upper}"), 0),
        (format!("Microsoft-Relay-AllowedListeners: {B}_G1"), 1),
        (format!("Microsoft-Relay-AllowedListeners: {B},00000000-0000-4000-8000-000000000000"), 1),
        (format!("Microsoft-Relay-DisallowedListeners: {A}"), 1),
        (format!("microsoft-relay-disallowedlisteners: {B}"), 0),
    ] {
        for _ in 0..5 {
            let lines = [header.as_str()];
            let (sender, which) =
                tokio::join!(relay.connect("hyco", &lines), reject_next(&relay, &mut first, &mut second));
            assert_eq!((sender.unwrap_err().status, which), (409, expected), "{header}");
        }
    }
    for header in [
        "Microsoft-Relay-AllowedListeners: 00000000-0000-4000-8000-000000000000".to_owned(),
        format!("Microsoft-Relay-DisallowedListeners: {A}, {B}"),
    ] {
        let refused = relay.connect("hyco", &[&header]).await.unwrap_err();
        assert_eq!(refused.status, 404);
        let text = "None of the connected listeners meet the AllowedListeners/DisallowedListeners criteria";
        assert!(refused.reason.starts_with(text), "{refused:?}");
    }
    // Without a choice, each gets some.
    let mut seen = [false; 2];
    for _ in 0..100 {
        let (_, which) =
            tokio::join!(relay.connect("hyco", &[]), reject_next(&relay, &mut first, &mut second));
        seen[which] = true;
        if seen == [true; 2] {
            return;
        }
    }
    panic!("one listener gets every sender");
}

#[tokio::test]
async fn a_sender_without_a_listener_is_told_at_once() {
    let relay = Relay::start("");
    for _ in 0..2 {
        let refused = relay.connect("hyco/ssh", &[]).await.unwrap_err();
        assert_eq!(refused.status, 404);
        assert!(refused.reason.starts_with("No listener is connected. TrackingId:"), "{refused:?}");
        assert!(refused.reason.contains("SystemTracker:sb://localhost/hyco/ssh,"), "{refused:?}");
        let control = relay.listen("hyco", A).await.unwrap();
        drop(control);
        // The listener's end takes a moment to arrive.
        soon(async { while relay.connect("hyco", &[]).await.unwrap_err().status != 404 {} }).await;
    }
}

#[tokio::test]
async fn a_reconnected_listener_is_there_beside_its_old_channel() {
    let relay = Relay::start("");
    let mut old = relay.listen("hyco", A).await.unwrap();
    let mut new = relay.listen("hyco", A).await.unwrap();
    old.close(None).await.unwrap();
    while soon(old.next()).await.is_some() {}
    for _ in 0..10 {
        relay.stream(&mut new, "hyco").await;
    }
}

#[tokio::test]
async fn headers_that_no_listener_could_be_told_of_are_refused() {
    let relay = Relay::start("");
    let _control = relay.listen("hyco", A).await.unwrap();
    let large = format!("X-Large: {}", "x".repeat(66_000));
    assert_eq!(relay.connect("hyco", &[&large]).await.unwrap_err().status, 431);
}

#[tokio::test]
async fn a_request_that_is_no_handshake_is_explained() {
    let relay = Relay::start("");
    let token = relay.send_token();
    for path in ["/$hc/hyco", "/$hc/hyco/x?sb-hc-action=connect", "/hyco", "/a%2Fb/x?y=1"] {
        let mut io = relay.hub.tls(relay.https).await;
        let answer = crate::support::relay_client::request(
            &mut io,
            &format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nServiceBusAuthorization: {token}\r\n\r\n"),
        )
        .await;
        assert_eq!(answer.status, 400, "{path}");
        assert!(answer.reason.starts_with("This endpoint is only for web-socket requests"), "{answer:?}");
    }
    // The hub's paths are the hub's.
    assert_eq!(relay.hub.request("GET", "/devices/hyco?api-version=2020-09-30", &[], "").await.status, 401);
}
