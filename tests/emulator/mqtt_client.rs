//! A device's MQTT 3.1.1, written by hand.

use percent_encoding::percent_decode_str;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

use crate::support::hub_client::soon;

pub const FILTERS: [&str; 2] = ["$iothub/streams/POST/#", "$iothub/streams/res/#"];

/// A request for a stream, as its topic has it.
pub struct Offer {
    pub request_id: String,
    pub stream: String,
    pub url: String,
    pub token: String,
}

impl Offer {
    /// Reads `$iothub/streams/POST/{name}/?$rid={id}&$url={url}&$auth={token}`.
    pub fn parse(topic: &str) -> Self {
        let rest = topic.strip_prefix("$iothub/streams/POST/").unwrap();
        let (stream, properties) = rest.split_once("/?").unwrap();
        let property = |name: &str| {
            let mut values = properties.split('&').filter_map(|pair| pair.strip_prefix(name));
            values.next().unwrap_or_else(|| panic!("no {name} in {topic}")).to_owned()
        };
        Self {
            request_id: property("$rid="),
            stream: stream.to_owned(),
            url: percent_decode_str(&property("$url=")).decode_utf8().unwrap().into_owned(),
            token: property("$auth="),
        }
    }
}

pub struct Mqtt<S> {
    pub io: S,
}

pub fn text(text: &str) -> Vec<u8> {
    let length = u16::try_from(text.len()).unwrap().to_be_bytes();
    [&length[..], text.as_bytes()].concat()
}

pub fn packet(head: u8, body: &[u8]) -> Vec<u8> {
    let mut out = vec![head];
    let mut length = body.len();
    loop {
        let byte = u8::try_from(length % 128).unwrap();
        length /= 128;
        out.push(if length > 0 { byte | 0x80 } else { byte });
        if length == 0 {
            break;
        }
    }
    out.extend_from_slice(body);
    out
}

pub fn connect(client_id: &str, username: &str, password: &str, keepalive: u16) -> Vec<u8> {
    let mut body = text("MQTT");
    // Level 4; user name, password, no clean session: what the C SDK sends.
    body.extend([4, 0xC0]);
    body.extend(keepalive.to_be_bytes());
    body.extend(text(client_id));
    body.extend(text(username));
    body.extend(text(password));
    packet(0x10, &body)
}

pub fn subscribe(filters: &[(&str, u8)]) -> Vec<u8> {
    let mut body = vec![0, 7];
    for (filter, qos) in filters {
        body.extend(text(filter));
        body.push(*qos);
    }
    packet(0x82, &body)
}

pub fn publish(topic: &str) -> Vec<u8> {
    packet(0x30, &text(topic))
}

impl<S: AsyncRead + AsyncWrite + Unpin> Mqtt<S> {
    pub async fn send(&mut self, bytes: &[u8]) {
        self.io.write_all(bytes).await.unwrap();
        self.io.flush().await.unwrap();
    }

    /// The next packet's first byte and body; `None` at the end of the connection.
    pub async fn next(&mut self) -> Option<(u8, Vec<u8>)> {
        soon(async {
            let head = self.io.read_u8().await.ok()?;
            let (mut length, mut shift) = (0, 0);
            loop {
                let byte = self.io.read_u8().await.ok()?;
                length |= usize::from(byte & 0x7f) << shift;
                shift += 7;
                if byte & 0x80 == 0 {
                    break;
                }
            }
            let mut body = vec![0; length];
            self.io.read_exact(&mut body).await.ok()?;
            Some((head, body))
        })
        .await
    }

    /// Connects; the code of the CONNACK.
    pub async fn connect(&mut self, client_id: &str, username: &str, password: &str) -> u8 {
        self.send(&connect(client_id, username, password, 60)).await;
        let (head, body) = self.next().await.unwrap();
        assert_eq!((head, body[0]), (0x20, 0));
        body[1]
    }

    pub async fn subscribe(&mut self, filters: &[(&str, u8)]) -> Vec<u8> {
        self.send(&subscribe(filters)).await;
        let (head, body) = self.next().await.unwrap();
        assert_eq!((head, &body[..2]), (0x90, &[0, 7][..]));
        body[2..].to_vec()
    }

    /// The offer in the next packet, as a device reads it.
    pub async fn offer(&mut self) -> (String, Offer) {
        let (head, body) = self.next().await.expect("an offer");
        assert_eq!(head, 0x30, "QoS 0, not retained");
        let length = usize::from(u16::from_be_bytes([body[0], body[1]]));
        assert_eq!(body.len(), length + 2, "the payload is empty");
        let topic = String::from_utf8(body[2..].to_vec()).unwrap();
        let offer = Offer::parse(&topic);
        (topic, offer)
    }

    pub async fn answer(&mut self, status: u16, request_id: &str) {
        self.send(&publish(&format!("$iothub/streams/res/{status}/?$rid={request_id}"))).await;
    }
}
