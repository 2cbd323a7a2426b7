//! Where a listener meets a sender.

use std::time::Duration;

use futures_util::StreamExt;

use super::Relay;
use crate::support::hub_client::soon;
use crate::support::relay_client::accept_message;

#[tokio::test]
async fn a_listener_is_told_everything_of_a_sender() {
    let relay = Relay::start("");
    let mut control = relay.listen("a/b", "id").await.unwrap();
    let token = relay.send_token();
    let header = format!("SERVICEBUSauthorization: {token}");
    let path = "/$hc/A%2Fb/ssh?x=1&sb-hc-action=connect&sb-hc-id=0f-1_G7&sb-hc-token=t&y=a+b";
    let headers = [header.as_str(), "X-MixedCase: 1", "x-mixedcase: 2", "Sec-WebSocket-Protocol: one, two"];
    let accepting = async {
        let accept = accept_message(&mut control).await;
        let address = accept["address"].as_str().unwrap();
        // A host and a port that are not the control endpoint's, which serves no rendezvous.
        assert!(address.starts_with("wss://127.0.0.1:"), "{address}");
        let (host, rest) = address["wss://".len()..].split_once('/').unwrap();
        assert_ne!(host, relay.https.to_string());
        assert!(
            rest.starts_with("$hc/A%2Fb/ssh?x=1&y=a+b&sb-hc-action=accept&sb-hc-id=0f-1_G0_G1"),
            "{rest}"
        );
        let at_control = relay.open(relay.https, &format!("/{rest}"), &[]).await.unwrap_err();
        assert_eq!(at_control.status, 403);
        assert_eq!(accept["id"], "0f-1_G0_G1");
        assert_eq!(accept["remoteEndpoint"]["address"], "127.0.0.1");
        assert!(accept["remoteEndpoint"]["port"].is_u64());
        let headers = &accept["connectHeaders"];
        assert_eq!(headers["X-MixedCase"], "1, 2");
        assert_eq!(headers["Host"], "localhost:443");
        for name in ["Sec-WebSocket-Key", "Sec-WebSocket-Version", "Connection", "Upgrade"] {
            assert!(headers[name].is_string(), "{headers}");
        }
        assert!(!accept.to_string().contains("sig="), "{accept}");
        relay.dial(address, "", &["Sec-WebSocket-Protocol: two"]).await.unwrap()
    };
    let (sender, listener) = tokio::join!(relay.open(relay.https, path, &headers), accepting);
    assert_eq!(sender.unwrap().header("sec-websocket-protocol"), Some("two"));
    assert_eq!(listener.header("sec-websocket-protocol"), Some("two"));
}

#[tokio::test]
async fn no_subprotocol_or_extension_is_made_up() {
    let relay = Relay::start("");
    let mut control = relay.listen("hyco", "id").await.unwrap();
    let extensions = "Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits";
    for (offered, accepted) in
        [(None, None), (Some("one"), None), (None, Some("one")), (Some("one"), Some("other"))]
    {
        let header = |name: Option<&str>| name.map(|name| format!("Sec-WebSocket-Protocol: {name}"));
        let (offered, accepted) = (header(offered), header(accepted));
        let lines = |one: &Option<String>| {
            [Some(extensions.to_owned()), one.clone()].into_iter().flatten().collect::<Vec<_>>()
        };
        let (offered, accepted) = (lines(&offered), lines(&accepted));
        let accepting = async {
            let accept = accept_message(&mut control).await;
            let lines: Vec<&str> = accepted.iter().map(String::as_str).collect();
            relay.dial(accept["address"].as_str().unwrap(), "", &lines).await.unwrap()
        };
        let lines: Vec<&str> = offered.iter().map(String::as_str).collect();
        let (sender, listener) = tokio::join!(relay.connect("hyco", &lines), accepting);
        let sender = sender.unwrap();
        assert_eq!(sender.header("sec-websocket-protocol"), None, "{offered:?} {accepted:?}");
        for head in [&sender.head, &listener.head] {
            assert!(!head.to_ascii_lowercase().contains("extensions"), "{head}");
        }
    }
}

#[tokio::test]
async fn an_address_is_good_for_one_use() {
    let relay = Relay::start("");
    let mut control = relay.listen("hyco", "id").await.unwrap();
    let (mut sender, mut address) = (None, String::new());
    let accepting = async {
        address = accept_message(&mut control).await["address"].as_str().unwrap().to_owned();
        relay.dial(&address, "", &[]).await.unwrap()
    };
    let (connected, _listener) = tokio::join!(relay.connect("hyco", &[]), accepting);
    sender.replace(connected.unwrap());
    assert_eq!(relay.dial(&address, "", &[]).await.unwrap_err().status, 403);
    let other = address.replace("sb-hc-key=", "sb-hc-key=0");
    assert_eq!(relay.dial(&other, "", &[]).await.unwrap_err().status, 403);

    // A sender that has left cannot be met, and no stream opens.
    let left = tokio::select! {
        _ = relay.connect("hyco", &[]) => panic!("nobody accepted"),
        accept = accept_message(&mut control) => accept["address"].as_str().unwrap().to_owned(),
    };
    soon(async { while relay.dial(&left, "&sb-hc-statusCode=1", &[]).await.unwrap_err().status != 403 {} })
        .await;
}

#[tokio::test]
async fn a_rejection_is_the_senders_status_line() {
    let relay = Relay::start("");
    let mut control = relay.listen("hyco", "id").await.unwrap();
    let long = "x".repeat(600);
    for (more, status, reason) in [
        (
            "&sb-hc-statusCode=403&sb-hc-statusDescription=iotstream%3A+no%20target+named%20x",
            403,
            "iotstream: no target named x",
        ),
        ("&sb-hc-statusCode=401&sb-hc-statusDescription=a%0D%0Ab%C3%A4c%2B", 401, "abc+"),
        ("&sb-hc-statusCode=502", 502, ""),
        ("&sb-hc-statusDescription=Rejected", 400, "Rejected"),
        ("&sb-hc-statusCode=x&sb-hc-statusDescription=y", 400, "y"),
        (&*format!("&sb-hc-statusCode=400&sb-hc-statusDescription={long}"), 400, &long[..512]),
    ] {
        let rejecting = async {
            let accept = accept_message(&mut control).await;
            relay.dial(accept["address"].as_str().unwrap(), more, &[]).await.unwrap_err()
        };
        let (sender, rejected) = tokio::join!(relay.connect("hyco", &[]), rejecting);
        assert_eq!(rejected.status, 410, "{more}");
        let sender = sender.map(|_| ()).unwrap_err();
        assert_eq!((sender.status, sender.reason.as_str()), (status, reason), "{more}");
    }
}

#[tokio::test]
async fn a_sender_gets_an_answer_when_the_listener_does_not_dial() {
    let relay = Relay::start("relay-timeout=1s");
    let mut control = relay.listen("hyco", "id").await.unwrap();
    let (sender, accept) = tokio::join!(relay.connect("hyco", &[]), accept_message(&mut control));
    let refused = sender.map(|_| ()).unwrap_err();
    assert_eq!(refused.status, 504);
    assert!(refused.reason.contains("did not respond"), "{refused:?}");
    assert_eq!(relay.dial(accept["address"].as_str().unwrap(), "", &[]).await.unwrap_err().status, 403);
    // The control channel is as it was.
    assert!(tokio::time::timeout(Duration::from_millis(10), control.next()).await.is_err());
    relay.stream(&mut control, "hyco").await;
}
