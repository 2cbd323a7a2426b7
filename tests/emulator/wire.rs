//! MQTT 3.1.1 written by hand, and WebSockets through tungstenite.

use futures_util::{SinkExt, StreamExt};
use iotstream::iothub::Offer;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::protocol::{CloseFrame, Message};
use tokio_tungstenite::tungstenite::{Error, http};
use tokio_tungstenite::{WebSocketStream, client_async};

use super::running::{Running, Tls, in_an_hour, soon};

pub const FILTERS: [&str; 2] = ["$iothub/streams/POST/#", "$iothub/streams/res/#"];

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
        let offer = Offer::parse(&topic).unwrap().unwrap();
        (topic, offer)
    }

    pub async fn answer(&mut self, status: u16, request_id: &str) {
        self.send(&publish(&format!("$iothub/streams/res/{status}/?$rid={request_id}"))).await;
    }
}

impl Running {
    /// A device that is online over TLS and takes offers.
    pub async fn device(&self, device: &str, module: Option<&str>) -> Mqtt<Tls> {
        let mut mqtt = Mqtt { io: self.tls(self.mqtts).await };
        let id = module.map_or_else(|| device.to_owned(), |module| format!("{device}/{module}"));
        let username = format!("localhost/{id}/?api-version=2020-09-30&DeviceClientType=test");
        let token = self.device_token(device, module, in_an_hour());
        assert_eq!(mqtt.connect(&id, &username, &token).await, 0);
        assert_eq!(mqtt.subscribe(&[(FILTERS[0], 0), (FILTERS[1], 0)]).await, [0, 0]);
        mqtt
    }

    /// A WebSocket to a path of the HTTPS port, or the status it is refused with.
    pub async fn websocket(
        &self,
        path: &str,
        headers: &[(&'static str, &str)],
    ) -> Result<(WebSocketStream<Tls>, http::HeaderMap), u16> {
        let mut request = format!("wss://{}{path}", self.https).into_client_request().unwrap();
        for (name, value) in headers {
            request.headers_mut().append(*name, value.parse().unwrap());
        }
        match soon(Box::pin(client_async(request, self.tls(self.https).await))).await {
            Ok((websocket, answer)) => Ok((websocket, answer.headers().clone())),
            Err(Error::Http(answer)) => Err(answer.status().as_u16()),
            Err(error) => panic!("{error}"),
        }
    }

    pub async fn join(&self, url: &str, token: &str) -> Result<WebSocketStream<Tls>, u16> {
        let path = url.strip_prefix("wss://").unwrap().split_once('/').unwrap().1;
        let bearer = format!("Bearer {token}");
        Ok(self.websocket(&format!("/{path}"), &[("authorization", &bearer)]).await?.0)
    }

    /// A whole stream: the service's end and the device's.
    pub async fn stream(&self, mqtt: &mut Mqtt<Tls>) -> (WebSocketStream<Tls>, WebSocketStream<Tls>) {
        let (answer, offer) = soon(async {
            tokio::join!(self.initiate("/twins/dev-1/streams/ssh?api-version=2020-09-30", &[]), async {
                let (_, offer) = mqtt.offer().await;
                mqtt.answer(200, &offer.request_id).await;
                offer
            })
        })
        .await;
        let device = self.join(&offer.url, offer.token.expose()).await.unwrap();
        let (url, token) = service_side(&answer);
        (self.join(url, token).await.unwrap(), device)
    }
}

pub fn service_side(answer: &super::running::Answer) -> (&str, &str) {
    assert_eq!(answer.header("iothub-streaming-is-accepted"), Some("True"));
    (answer.header("iothub-streaming-url").unwrap(), answer.header("iothub-streaming-auth-token").unwrap())
}

pub async fn send(websocket: &mut WebSocketStream<Tls>, data: &[u8]) {
    websocket.send(Message::binary(data.to_vec())).await.unwrap();
}

/// Reads binary messages until `count` bytes are there.
pub async fn receive(websocket: &mut WebSocketStream<Tls>, count: usize) -> Vec<u8> {
    let mut data = Vec::new();
    while data.len() < count {
        match soon(websocket.next()).await {
            Some(Ok(Message::Binary(part))) => data.extend_from_slice(&part),
            Some(Ok(Message::Ping(_) | Message::Pong(_))) => {}
            other => panic!("{other:?} after {} bytes", data.len()),
        }
    }
    data
}

/// How the WebSocket ends: with a code and a reason, or without a Close.
pub async fn end(websocket: &mut WebSocketStream<Tls>) -> Option<(u16, String)> {
    match soon(websocket.next()).await {
        Some(Ok(Message::Close(Some(CloseFrame { code, reason })))) => {
            Some((code.into(), reason.as_str().to_owned()))
        }
        Some(Ok(other)) => panic!("{other:?}"),
        Some(Err(_)) | None => None,
    }
}
