//! MQTT: who may log in, what is granted, what ends a connection; over TLS and over a WebSocket.

use futures_util::{SinkExt, StreamExt};
use tokio_tungstenite::tungstenite::protocol::Message;

use super::mqtt_client::{FILTERS, Mqtt, Offer, connect, packet, publish, subscribe, text};
use super::{Emulator, SSH};
use crate::support::hub_client::soon;
use crate::support::sas::{in_an_hour, unix_seconds};

#[tokio::test]
async fn logins_are_checked() {
    let hub = Emulator::start("");
    let own = hub.device_token("dev-1", None, in_an_hour());
    let module = hub.device_token("dev-1", Some("mod"), in_an_hour());
    let expired = hub.device_token("dev-1", None, unix_seconds() - 1);
    let name = "localhost/dev-1/?api-version=2020-09-30";
    let sign = |policy: &str| hub.policy_token_for_device(policy, "dev-1");
    // As the C SDK writes it: raw slashes and lower-case hex.
    let raw = own.replace("%2F", "/");
    for (client_id, username, password, code) in [
        ("dev-1", name, own.as_str(), 0),
        ("dev-1", "LOCALHOST:8443/dev-1/api-version=x", &own, 0),
        ("dev-1", "127.0.0.1/dev-1/?api-version=x", &own, 0),
        ("dev-1/mod", "localhost/dev-1/mod/?api-version=x", &module, 0),
        ("dev-1", name, &sign("device"), 0),
        ("dev-1", name, &sign("iothubowner"), 0),
        ("dev-1", name, &hub.policy_token("device"), 0),
        ("dev-1", name, &sign("service"), 5),
        ("dev-1", name, &raw, 5),
        ("dev-1", name, &expired, 5),
        ("dev-1", name, &module, 5),
        ("dev-1/mod", "localhost/dev-1/mod/?api-version=x", &own, 5),
        ("dev-2", "localhost/dev-2/?api-version=x", &own, 5),
        ("dev-1", "localhost/dev-2/?api-version=x", &own, 5),
        ("dev-1", "elsewhere/dev-1/?api-version=x", &own, 5),
        ("dev-1", "localhost", &own, 4),
        ("dev-1", name, "hunter2", 4),
        ("dev 1", "localhost/dev 1/?api-version=x", &own, 2),
        ("", "localhost//?api-version=x", &own, 2),
    ] {
        let mut mqtt = Mqtt { io: hub.tls(hub.mqtts).await };
        assert_eq!(mqtt.connect(client_id, username, password).await, code, "{client_id} {username}");
        if code != 0 {
            assert_eq!(mqtt.next().await, None);
        }
    }
}

#[tokio::test]
async fn subscriptions_are_granted_or_refused() {
    let hub = Emulator::start("");
    let mut device = hub.device("dev-1", None).await;
    let granted = device
        .subscribe(&[
            (FILTERS[0], 1),
            ("$iothub/methods/POST/#", 0),
            ("devices/dev-1/messages/devicebound/#", 1),
            ("#", 0),
            ("other/topic", 1),
        ])
        .await;
    assert_eq!(granted, [0, 0, 1, 0x80, 0x80]);

    device.send(&packet(0xC0, &[])).await;
    assert_eq!(device.next().await, Some((0xD0, vec![])));
    // QoS 1 is acknowledged.
    let mut body = text("devices/dev-1/messages/events/");
    body.extend([0, 9]);
    device.send(&packet(0x32, &body)).await;
    assert_eq!(device.next().await, Some((0x40, vec![0, 9])));

    // Without a subscription the device counts as offline.
    device.send(&packet(0xA2, &[&[0, 8][..], &text(FILTERS[0])].concat())).await;
    assert_eq!(device.next().await, Some((0xB0, vec![0, 8])));
    assert_eq!(hub.initiate(SSH, &[]).await.code(), 404_103);

    // QoS 2 ends the connection.
    device.send(&packet(0x34, &body)).await;
    while let Some((head, _)) = device.next().await {
        assert_eq!(head, 0x50);
    }
}

#[tokio::test]
async fn each_identity_has_one_connection() {
    let hub = Emulator::start("");
    let mut first = hub.device("dev-1", None).await;
    let _module = hub.device("dev-1", Some("mod")).await;
    let mut second = hub.device("dev-1", None).await;
    assert_eq!(first.next().await, None);
    drop(first);
    let (answer, ()) = soon(async {
        tokio::join!(hub.initiate(SSH, &[]), async {
            let (_, offer) = second.offer().await;
            second.answer(400, &offer.request_id).await;
        })
    })
    .await;
    assert_eq!(answer.status, 200);
}

#[tokio::test]
async fn expiry_silence_and_violations_end_a_connection() {
    let hub = Emulator::start("");
    // The token expires.
    let mut mqtt = Mqtt { io: hub.tls(hub.mqtts).await };
    let token = hub.device_token("dev-1", None, unix_seconds() + 2);
    assert_eq!(mqtt.connect("dev-1", "localhost/dev-1/?api-version=x", &token).await, 0);
    assert_eq!(mqtt.next().await, None);
    // The device is silent for one and a half times the keepalive.
    let mut mqtt = Mqtt { io: hub.tls(hub.mqtts).await };
    let token = hub.device_token("dev-1", None, in_an_hour());
    mqtt.send(&connect("dev-1", "localhost/dev-1/?api-version=x", &token, 1)).await;
    assert_eq!(mqtt.next().await, Some((0x20, vec![0, 0])));
    let start = std::time::Instant::now();
    assert_eq!(mqtt.next().await, None);
    assert!(start.elapsed().as_millis() >= 1400, "{:?}", start.elapsed());
    // A second CONNECT, a packet before CONNECT, one that is too large, and bytes that are not MQTT.
    let twice = connect("dev-1", "localhost/dev-1/?api-version=x", &token, 60).repeat(2);
    let large = [0x30, 0xff, 0xff, 0xff, 0x7f];
    for bytes in
        [&twice[..], &publish("x"), &subscribe(&[("#", 0)]), &large, &b"GET / HTTP/1.1\r\n".repeat(9)]
    {
        let mut mqtt = Mqtt { io: hub.tls(hub.mqtts).await };
        mqtt.send(bytes).await;
        while let Some((head, _)) = mqtt.next().await {
            assert_eq!(head, 0x20);
        }
    }
}

#[tokio::test]
async fn mqtt_works_over_a_websocket() {
    let hub = Emulator::start("");
    for offered in [Some("MQTT"), Some("mqtt"), Some("AMQPWSB10, mqtt"), None] {
        let header = offered.map(|name| ("sec-websocket-protocol", name));
        let (mut websocket, headers) =
            hub.websocket("/$iothub/websocket?iothub-no-client-cert=true", header.as_slice()).await.unwrap();
        let answered = headers.get("sec-websocket-protocol").map(|value| value.to_str().unwrap());
        assert_eq!(answered, offered.map(|name| name.rsplit(' ').next().unwrap()));

        // Three packets, one byte a frame.
        let token = hub.device_token("dev-1", None, in_an_hour());
        let mut bytes = connect("dev-1", "hub.example/dev-1/?api-version=x", &token, 60);
        bytes.extend(subscribe(&[(FILTERS[0], 0), (FILTERS[1], 0)]));
        bytes.extend(packet(0xC0, &[]));
        for byte in bytes {
            websocket.send(Message::binary(vec![byte])).await.unwrap();
        }
        let mut received = Vec::new();
        while received.len() < 12 {
            received.extend_from_slice(&soon(websocket.next()).await.unwrap().unwrap().into_data());
        }
        assert_eq!(received, [0x20, 2, 0, 0, 0x90, 4, 0, 7, 0, 0, 0xD0, 0]);

        let request = hub.initiate(SSH, &[]);
        let (answer, ()) = soon(async {
            tokio::join!(request, async {
                let message = websocket.next().await.unwrap().unwrap().into_data();
                let start = message.windows(8).position(|window| window == b"$iothub/").unwrap();
                let topic = std::str::from_utf8(&message[start..]).unwrap();
                let offer = Offer::parse(topic);
                // The gateway is where the device reached the hub.
                assert!(offer.url.starts_with(&format!("wss://{}/", hub.https)), "{}", offer.url);
                let answer = publish(&format!("$iothub/streams/res/400/?$rid={}", offer.request_id));
                websocket.send(Message::binary(answer)).await.unwrap();
            })
        })
        .await;
        assert_eq!(answer.status, 200);
    }
    let amqp = hub.websocket("/$iothub/websocket", &[("sec-websocket-protocol", "AMQPWSB10")]).await;
    assert_eq!(amqp.unwrap_err(), 400);
}

#[tokio::test]
async fn a_refused_login_is_reported_over_a_websocket() {
    let hub = Emulator::start("");
    let (mut websocket, _) = hub.websocket("/$iothub/websocket", &[]).await.unwrap();
    websocket
        .send(Message::binary(connect("dev-9", "localhost/dev-9/?api-version=x", "x", 60)))
        .await
        .unwrap();
    let answer = soon(websocket.next()).await.unwrap().unwrap();
    assert_eq!(answer.into_data()[..], [0x20, 2, 0, 5]);
    assert!(soon(websocket.next()).await.unwrap().unwrap().is_close());
}

#[tokio::test]
async fn amqp_is_refused_by_name() {
    let hub = Emulator::start("");
    let headers = [
        ("connection", "Upgrade"),
        ("upgrade", "websocket"),
        ("sec-websocket-version", "13"),
        ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ=="),
        ("sec-websocket-protocol", "AMQPWSB10"),
    ];
    let answer = hub.request("GET", "/$iothub/websocket", &headers, "").await;
    let body = String::from_utf8(answer.body.to_vec()).unwrap();
    assert_eq!(answer.status, 400);
    assert!(body.contains("AMQP over WebSocket"), "{body}");
}
