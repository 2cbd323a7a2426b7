//! Registrations over MQTT, as Microsoft's clients speak it.

use futures_util::{SinkExt, StreamExt};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, DuplexStream, duplex};
use tokio_tungstenite::tungstenite::protocol::Message;

use super::super::mqtt_client::{Mqtt, connect, packet, publish, text};
use super::{Dps, SCOPE, token};
use crate::support::hub_client::soon;
use crate::support::sas::{self, unix_seconds};

const ANSWERS: &str = "$dps/registrations/res/#";
const REGISTER: &str = "$dps/registrations/PUT/iotdps-register/?$rid=";

fn poll(operation: &str, rid: &str) -> String {
    let operation = sas::percent_encoded(operation);
    format!("$dps/registrations/GET/iotdps-get-operationstatus/?$rid={rid}&operationId={operation}")
}

fn user_name(id: &str) -> String {
    format!("{SCOPE}/registrations/{id}/api-version=2019-03-31&ClientVersion=azure-iot-device%2F2.14.0")
}

fn publish_with(topic: &str, payload: &str) -> Vec<u8> {
    packet(0x30, &[&text(topic), payload.as_bytes()].concat())
}

/// At QoS 1.
fn publish_acknowledged(topic: &str, id: u8, payload: &str) -> Vec<u8> {
    packet(0x32, &[&text(topic)[..], &[0, id], payload.as_bytes()].concat())
}

/// The topic and the payload of a message of QoS 0.
fn message(packet: Option<(u8, Vec<u8>)>) -> (String, serde_json::Value) {
    let (head, body) = packet.expect("a message");
    assert_eq!(head, 0x30, "QoS 0");
    let length = usize::from(u16::from_be_bytes([body[0], body[1]])) + 2;
    let topic = String::from_utf8(body[2..length].to_vec()).unwrap();
    (topic, serde_json::from_slice(&body[length..]).unwrap_or_default())
}

/// The same of QoS 1, and its packet id.
fn acknowledged(packet: Option<(u8, Vec<u8>)>) -> (String, [u8; 2], serde_json::Value) {
    let (head, body) = packet.expect("a message");
    assert_eq!(head, 0x32, "QoS 1");
    let length = usize::from(u16::from_be_bytes([body[0], body[1]])) + 2;
    let topic = String::from_utf8(body[2..length].to_vec()).unwrap();
    (topic, [body[length], body[length + 1]], serde_json::from_slice(&body[length + 2..]).unwrap())
}

/// MQTT over a WebSocket to `path`.
async fn over_websocket(dps: &Dps, path: &str) -> Mqtt<DuplexStream> {
    let (websocket, headers) = dps.websocket(path, &[("sec-websocket-protocol", "mqtt")]).await.unwrap();
    assert_eq!(headers.get("sec-websocket-protocol").unwrap(), "mqtt");
    let (near, far) = duplex(64 << 10);
    let (mut sink, mut stream) = websocket.split();
    let (mut from_test, mut to_test) = tokio::io::split(far);
    tokio::spawn(async move {
        let mut block = vec![0; 4096];
        while let Ok(count @ 1..) = from_test.read(&mut block).await {
            sink.send(Message::binary(block[..count].to_vec())).await.unwrap();
        }
    });
    tokio::spawn(async move {
        while let Some(Ok(message)) = stream.next().await {
            if message.is_binary() {
                to_test.write_all(&message.into_data()).await.unwrap();
            }
        }
        let _ = to_test.shutdown().await;
    });
    Mqtt { io: near }
}

/// As Python's client: QoS 0 here, a body, a blank for the poll.
async fn registers<S: AsyncRead + AsyncWrite + Unpin>(dps: &Dps, mut mqtt: Mqtt<S>) {
    assert_eq!(mqtt.connect("gw-07", &user_name("gw-07"), &dps.token("gw-07")).await, 0);
    assert_eq!(mqtt.subscribe(&[(ANSWERS, 0)]).await, [0]);
    mqtt.send(&publish_with(&format!("{REGISTER}a1"), r#"{"registrationId":"gw-07"}"#)).await;
    let (topic, body) = message(mqtt.next().await);
    assert_eq!(topic, "$dps/registrations/res/202/?$rid=a1&retry-after=1");
    assert_eq!(body["status"], "assigning");
    mqtt.send(&publish_with(&poll(body["operationId"].as_str().unwrap(), "a2"), " ")).await;
    let (topic, body) = message(mqtt.next().await);
    assert_eq!(topic, "$dps/registrations/res/200/?$rid=a2");
    assert_eq!(body["registrationState"]["assignedHub"], dps.hub.name());
    assert_eq!(dps.log_in("gw-07").await, 0);
}

#[tokio::test]
async fn a_device_registers_over_tls_and_over_a_websocket() {
    let dps = Dps::start(&[]);
    registers(&dps, Mqtt { io: dps.tls(dps.mqtts).await }).await;
    for path in ["/", "/$iothub/websocket", "/$iothub/websocket?iothub-no-client-cert=true"] {
        registers(&dps, over_websocket(&dps, path).await).await;
    }
    // A device of the hub logs in beside it.
    let mut mqtt = over_websocket(&dps, "/$iothub/websocket").await;
    let token = dps.device_token("gw-07", None, sas::in_an_hour());
    assert_eq!(mqtt.connect("gw-07", "localhost/gw-07/?api-version=2020-09-30", &token).await, 0);
}

/// What the C# client does: a WebSocket at `/`, no keepalive, QoS 1 everywhere, an empty body.
#[tokio::test]
async fn the_c_sharp_client_is_served() {
    let dps = Dps::with_faults("dps-assigning=1");
    let mut mqtt = over_websocket(&dps, "/").await;
    mqtt.send(&connect("gw:07", &user_name("gw:07"), &dps.token("gw:07"), 0)).await;
    assert_eq!(mqtt.next().await, Some((0x20, vec![0, 0])));
    assert_eq!(mqtt.subscribe(&[(ANSWERS, 1)]).await, [1]);
    mqtt.send(&publish_acknowledged(&format!("{REGISTER}1"), 1, "")).await;
    // The PUBACK comes before the answer.
    assert_eq!(mqtt.next().await, Some((0x40, vec![0, 1])));
    let (topic, id, body) = acknowledged(mqtt.next().await);
    assert_eq!(topic, "$dps/registrations/res/202/?$rid=1&retry-after=1");
    mqtt.send(&packet(0x40, &id)).await;
    let operation = body["operationId"].as_str().unwrap();
    for (rid, status, topic) in [
        (2, "assigning", "$dps/registrations/res/202/?$rid=2&retry-after=1"),
        (3, "assigned", "$dps/registrations/res/200/?$rid=3"),
    ] {
        mqtt.send(&publish_acknowledged(&poll(operation, &rid.to_string()), rid, "")).await;
        assert_eq!(mqtt.next().await, Some((0x40, vec![0, rid])));
        let (found, id, body) = acknowledged(mqtt.next().await);
        assert_eq!((found.as_str(), &body["registrationState"]["status"]), (topic, &status.into()));
        mqtt.send(&packet(0x40, &id)).await;
    }
    mqtt.send(&packet(0xE0, &[])).await;
    assert_eq!(mqtt.next().await, None);
}

#[tokio::test]
async fn an_acknowledgement_without_a_packet_id_passes() {
    let dps = Dps::start(&[]);
    let mut mqtt = Mqtt { io: dps.tls(dps.mqtts).await };
    assert_eq!(mqtt.connect("gw-07", &user_name("gw-07"), &dps.token("gw-07")).await, 0);
    assert_eq!(mqtt.subscribe(&[(ANSWERS, 0), ("#", 0), ("$dps/x", 1)]).await, [0, 0x80, 0x80]);
    let puback = packet(0x40, &[0, 0]);
    // Whole, twice in a row, and byte by byte.
    mqtt.send(&puback.repeat(2)).await;
    for byte in &puback {
        mqtt.send(&[*byte]).await;
    }
    mqtt.send(&[&puback[..], &publish(&format!("{REGISTER}1"))[..]].concat()).await;
    assert_eq!(message(mqtt.next().await).0, "$dps/registrations/res/202/?$rid=1&retry-after=1");
    // The hub takes none.
    let mut device = Mqtt { io: dps.tls(dps.mqtts).await };
    dps.assigned("gw-07").await;
    let token = dps.device_token("gw-07", None, sas::in_an_hour());
    assert_eq!(device.connect("gw-07", "localhost/gw-07/?api-version=x", &token).await, 0);
    device.send(&puback).await;
    assert_eq!(device.next().await, None);
    // Nor is one taken that acknowledges what was not sent.
    mqtt.send(&packet(0x40, &[0, 7])).await;
    assert_eq!(mqtt.next().await, None);
}

#[tokio::test]
async fn logins_are_checked() {
    let dps = Dps::start(&["--dps-device", "own"]);
    let good = dps.token("gw-07");
    let expired = {
        let resource = format!("{SCOPE}/registrations/gw-07");
        sas::token(&resource, &dps.key("gw-07"), unix_seconds() - 1, Some("registration"))
    };
    let own = token("own", &dps.file("devices/own.key"));
    let name = user_name("gw-07");
    for (client_id, username, password, code) in [
        ("gw-07", name.as_str(), good.as_str(), 0),
        ("GW-07", &name.to_uppercase().replace("API-VERSION", "api-version"), &dps.token("GW-07"), 0),
        ("gw-07", &name.replace("/api", "/?api"), &good, 0),
        ("own", &user_name("own"), &own, 0),
        ("own", &user_name("own"), &dps.token("own"), 5),
        ("gw-07", &name, "", 5),
        ("gw-07", &name, "hunter2", 5),
        ("gw-07", &name, &expired, 5),
        ("gw-07", &name, &dps.token("gw-08"), 5),
        ("gw-08", &name, &good, 5),
        ("gw-07", &name.replace(SCOPE, "0ne00000002"), &good, 5),
        ("gw-07", &name.replace("/api-version=", "/x="), &good, 4),
        ("gw-07", &format!("{SCOPE}/registrations/gw-07"), &good, 4),
        ("gw 07", &user_name("gw 07"), &good, 2),
    ] {
        let mut mqtt = Mqtt { io: dps.tls(dps.mqtts).await };
        assert_eq!(mqtt.connect(client_id, username, password).await, code, "{client_id} {username}");
        if code != 0 {
            assert_eq!(mqtt.next().await, None);
        }
    }
    let log = dps.hub.process.stderr();
    assert!(log.contains("the login of 'gw-07' is refused: the token has expired"), "{log}");
    assert!(!log.contains("sig="), "{log}");
}

/// A device of the hub may be called as the user names of registrations are formed.
#[tokio::test]
async fn a_device_called_registrations_reaches_the_hub() {
    let dps = Dps::start(&["--device", "registrations/m"]);
    let mut mqtt = Mqtt { io: dps.tls(dps.mqtts).await };
    let token = dps.device_token("registrations", Some("m"), sas::in_an_hour());
    let username = "localhost/registrations/m/?api-version=2020-09-30";
    assert_eq!(mqtt.connect("registrations/m", username, &token).await, 0);
    let twin = dps.as_policy("service", "GET", "/twins/registrations/modules/m?api-version=x", "").await;
    assert_eq!(twin.json()["connectionState"], "Connected");
}

#[tokio::test]
async fn problems_are_answered_with_their_status() {
    let dps = Dps::with_faults("dps-token=late");
    let mut mqtt = Mqtt { io: dps.tls(dps.mqtts).await };
    assert_eq!(mqtt.connect("gw-07", &user_name("gw-07"), &dps.token("gw-08")).await, 0);
    // Not subscribed yet, an unknown topic, no request id: these have no answer.
    mqtt.send(&publish(&format!("{REGISTER}1"))).await;
    assert_eq!(mqtt.subscribe(&[(ANSWERS, 2)]).await, [1]);
    for topic in ["x", "$dps/registrations/PUT/iotdps-register/?x=1", "$dps/registrations/POST/x/?$rid=1"] {
        mqtt.send(&publish(topic)).await;
    }
    mqtt.send(&publish(&format!("{REGISTER}2"))).await;
    let (topic, _, body) = acknowledged(mqtt.next().await);
    assert_eq!((topic.as_str(), &body["errorCode"]), ("$dps/registrations/res/401/?$rid=2", &401_002.into()));

    let dps = Dps::with_faults("dps-status=429@1,dps-retry-after=9");
    let mut mqtt = Mqtt { io: dps.tls(dps.mqtts).await };
    assert_eq!(mqtt.connect("gw-07", &user_name("gw-07"), &dps.token("gw-07")).await, 0);
    assert_eq!(mqtt.subscribe(&[(ANSWERS, 0)]).await, [0]);
    for (topic, payload, answer) in [
        (format!("{REGISTER}1"), "", "429/?$rid=1&retry-after=9"),
        (format!("{REGISTER}2"), "[]", "400/?$rid=2"),
        (poll("x", "3"), " ", "404/?$rid=3"),
        (format!("{REGISTER}4"), " ", "202/?$rid=4&retry-after=9"),
    ] {
        mqtt.send(&publish_with(&topic, payload)).await;
        let (topic, body) = message(mqtt.next().await);
        assert_eq!(topic, format!("$dps/registrations/res/{answer}"));
        assert!(body.is_object(), "{topic}");
    }

    let dps = Dps::with_faults("dps=garbage@1");
    let mut mqtt = Mqtt { io: dps.tls(dps.mqtts).await };
    assert_eq!(mqtt.connect("gw-07", &user_name("gw-07"), &dps.token("gw-07")).await, 0);
    assert_eq!(mqtt.subscribe(&[(ANSWERS, 0)]).await, [0]);
    mqtt.send(&publish(&format!("{REGISTER}1"))).await;
    let (topic, body) = message(mqtt.next().await);
    assert_eq!((topic.as_str(), body), ("$dps/registrations/res/200/?$rid=1", serde_json::Value::Null));
    mqtt.send(&publish(&format!("{REGISTER}2"))).await;
    assert_eq!(message(mqtt.next().await).0, "$dps/registrations/res/202/?$rid=2&retry-after=1");

    for (faults, ends) in [("dps=drop@1", true), ("dps=silent@1", false)] {
        let dps = Dps::with_faults(faults);
        let mut mqtt = Mqtt { io: dps.tls(dps.mqtts).await };
        assert_eq!(mqtt.connect("gw-07", &user_name("gw-07"), &dps.token("gw-07")).await, 0);
        assert_eq!(mqtt.subscribe(&[(ANSWERS, 0)]).await, [0]);
        mqtt.send(&[publish(&format!("{REGISTER}1")), packet(0xC0, &[])].concat()).await;
        // The answer to the PINGREQ shows that there is none to the request.
        let answer = if ends { None } else { Some((0xD0, vec![])) };
        assert_eq!(soon(mqtt.next()).await, answer, "{faults}");
    }
}
