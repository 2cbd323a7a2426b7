//! Devices and whole streams of the emulator.

use futures_util::{SinkExt, StreamExt};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::protocol::{CloseFrame, Message};

use super::Emulator;
use super::mqtt_client::{FILTERS, Mqtt};
use crate::support::hub_client::{Tls, soon};
use crate::support::sas::in_an_hour;

impl Emulator {
    /// A device that is online over TLS and subscribed to offers.
    pub async fn device(&self, device: &str, module: Option<&str>) -> Mqtt<Tls> {
        let mut mqtt = Mqtt { io: self.tls(self.mqtts).await };
        let id = module.map_or_else(|| device.to_owned(), |module| format!("{device}/{module}"));
        let username = format!("localhost/{id}/?api-version=2020-09-30&DeviceClientType=test");
        let token = self.device_token(device, module, in_an_hour());
        assert_eq!(mqtt.connect(&id, &username, &token).await, 0);
        assert_eq!(mqtt.subscribe(&[(FILTERS[0], 0), (FILTERS[1], 0)]).await, [0, 0]);
        mqtt
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
        let device = self.join(&offer.url, &offer.token).await.unwrap();
        let (url, token) = answer.service_side();
        (self.join(url, token).await.unwrap(), device)
    }
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
