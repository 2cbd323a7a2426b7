//! The bridge against tungstenite, over pipes of several sizes.

mod closing;
mod counts;
mod data;
mod held_close;
mod last_bytes;
mod liveness;
mod orders;
mod peer_first;
mod tcp;

use super::*;
use crate::platform::TcpInfo;
use crate::tunnel::{Direction, Keepalive};

use tokio::io::{AsyncWriteExt, DuplexStream, duplex};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::protocol::{CloseFrame, Role};
use tokio_tungstenite::tungstenite::{Bytes, Message};

/// The settings of an agent's bridge.
const PATIENT: Settings = Settings {
    keepalive: Some(Keepalive::DEFAULT),
    linger: None,
    drain: None,
    rest: Some(Duration::from_secs(4)),
    half_close: true,
    one_connection: true,
    hold_close: false,
    direction: Some(Direction::Down),
    going_away_is_end: false,
    failed: |error| Close { code: Some(Close::FAILURE), reason: error.to_string() },
    reset: true,
};

impl Remote for DuplexStream {
    fn tcp_info(&self) -> Option<TcpInfo> {
        None
    }
    fn probe(&self, _: Keepalive) {}
    fn reset_on_drop(&self, _: bool) {}
}

/// The test's ends: the local side, and a tungstenite WebSocket as the gateway.
struct Ends {
    local: DuplexStream,
    gateway: WebSocketStream<DuplexStream>,
    bridge: tokio::task::JoinHandle<(End, u64, u64)>,
    hangup: oneshot::Sender<()>,
    gone: oneshot::Sender<()>,
}

/// Controls that never end the bridge.
fn uncontrolled() -> Controls<impl Future<Output = Close>, impl Future<Output = Close>, fn() -> bool> {
    Controls { hangup: pending(), gone: pending(), ends_with_peer: || false }
}

async fn ends(pipe: usize, settings: Settings, early: &'static [u8]) -> Ends {
    let (remote, wire) = duplex(pipe);
    ends_over(pipe, remote, wire, settings, early).await
}

async fn ends_over<S>(
    pipe: usize,
    remote: S,
    wire: DuplexStream,
    settings: Settings,
    early: &'static [u8],
) -> Ends
where
    S: Remote + Send + 'static,
{
    ends_with(pipe, remote, wire, settings, early, || false).await
}

async fn ends_with<S>(
    pipe: usize,
    remote: S,
    wire: DuplexStream,
    settings: Settings,
    early: &'static [u8],
    ends_with_peer: fn() -> bool,
) -> Ends
where
    S: Remote + Send + 'static,
{
    let (local, inner) = duplex(pipe);
    let gateway = WebSocketStream::from_raw_socket(wire, Role::Server, None).await;
    let (hangup, hung_up) = oneshot::channel::<()>();
    let (gone, has_gone) = oneshot::channel::<()>();
    let bridge = tokio::spawn(async move {
        let meter = Meter::default();
        let asked = async |asked: oneshot::Receiver<()>| {
            if asked.await.is_err() {
                pending::<()>().await;
            }
        };
        let hangup = async {
            asked(hung_up).await;
            Close::new(Close::GOING_AWAY, "told to end")
        };
        let gone = async {
            asked(has_gone).await;
            Close::new(Close::GOING_AWAY, "gone")
        };
        let controls = Controls { hangup, gone, ends_with_peer };
        let end = bridge(tokio::io::split(inner), remote, early, &settings, &meter, controls).await;
        (end, meter.sent(), meter.received())
    });
    Ends { local, gateway, bridge, hangup, gone }
}

fn noise(length: usize) -> Vec<u8> {
    (0u32..).map(|i| (i.wrapping_mul(2_654_435_761) >> 13).to_le_bytes()[0]).take(length).collect()
}

/// Reads messages to the end and checks their size. tungstenite answers pings and Close.
async fn receive(gateway: &mut WebSocketStream<DuplexStream>) -> (Vec<u8>, Option<CloseFrame>) {
    use futures_util::StreamExt;
    let (mut data, mut close) = (Vec::new(), None);
    while let Some(Ok(message)) = gateway.next().await {
        match message {
            Message::Binary(bytes) => {
                assert!(!bytes.is_empty(), "an empty message");
                assert!(bytes.len() <= crate::tunnel::frame::MAX_PAYLOAD, "{} bytes in a frame", bytes.len());
                data.extend_from_slice(&bytes);
            }
            Message::Close(frame) => close = frame,
            Message::Text(_) => panic!("a text frame"),
            _ => {}
        }
    }
    (data, close)
}

async fn send(gateway: &mut WebSocketStream<DuplexStream>, messages: impl IntoIterator<Item = Message>) {
    use futures_util::SinkExt;
    for message in messages {
        gateway.send(message).await.unwrap();
    }
}

/// Reads to the end. Returns the data and the code of the Close.
async fn receive_raw(gateway: WebSocketStream<DuplexStream>) -> (Vec<u8>, Option<u16>) {
    let mut gateway = WebSocketStream::from_raw_socket(gateway.into_inner(), Role::Server, None).await;
    let (data, close) = receive(&mut gateway).await;
    (data, close.map(|close| close.code.into()))
}
