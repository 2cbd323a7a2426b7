//! A service in memory, which serves control channels.

use tokio::sync::{mpsc, watch};
use tokio::time::{sleep_until, timeout};

use super::*;
use crate::backend::relay::phase::RELAY;

/// How long a dial takes, and its limit.
const LATENCY: Duration = Duration::from_millis(1);
pub(super) const DIAL_LIMIT: u64 = 30;

/// How long the service takes to answer a Close.
pub(super) const CLOSING: u64 = 1;

/// A service in memory.
#[derive(Default)]
pub(super) struct Service {
    pub(super) health: watch::Sender<Health>,
    pub(super) channels: Vec<ControlChannel>,
    /// The channels that the listener has closed, in order.
    pub(super) closed: Vec<usize>,
}

/// A control channel at the service.
pub(super) struct ControlChannel {
    tell: mpsc::UnboundedSender<Told>,
    pub(super) state: State,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    Open,
    /// The listener has closed it, and offers can cross the Close.
    Left,
    Over,
}

/// What the service is told to do on a control channel.
pub(super) enum Told {
    Offer(usize),
    /// End it, with the Close that every channel gets after a day, or without one.
    Close,
    Cut,
}

impl Service {
    /// Opens a control channel, as the network and the service's health allow.
    pub(super) async fn dial(service: Arc<Mutex<Self>>, device: Arc<RelayListener>) -> Result<Connected> {
        let token = device.credential.token(device.token_life).await?;
        sleep(LATENCY).await;
        let mut health = service.lock().unwrap().health.subscribe();
        let limit = Duration::from_secs(DIAL_LIMIT);
        let health = timeout(limit - LATENCY, health.wait_for(|health| *health != Health::Away)).await;
        match health.map(|health| *health.unwrap()) {
            Ok(Health::Well) => {}
            Ok(_) => {
                let credential = &device.credential;
                let (namespace, entity) = (credential.namespace.to_string(), credential.entity.to_string());
                let (status, reason) = (401, String::new());
                let (retry_after, skew) = (None, None);
                let refused = RelayError::Refused { namespace, entity, status, reason, retry_after, skew };
                return Err(refused.into());
            }
            Err(_) => return Err(Error::timeout(RELAY, device.credential.namespace.server(), limit)),
        }
        let (io, theirs) = tokio::io::duplex(65_536);
        let (tell, told) = mpsc::unbounded_channel();
        let at = {
            let mut service = service.lock().unwrap();
            service.channels.push(ControlChannel { tell, state: State::Open });
            service.channels.len() - 1
        };
        let rule = rule(token.text.expose()).to_owned();
        tokio::spawn(Self::serve(service, at, rule, theirs, told));
        let channel = Channel::new(Box::new(io), bytes::Bytes::new(), device.keepalive).await;
        Ok(Connected { channel, token, device })
    }

    /// Serves a control channel to its end.
    async fn serve(
        service: Arc<Mutex<Self>>,
        at: usize,
        rule_of_channel: String,
        io: DuplexStream,
        mut told: mpsc::UnboundedReceiver<Told>,
    ) {
        let mut websocket = WebSocketStream::from_raw_socket(io, Role::Server, None).await;
        let mut expiry = Instant::now() + LIFE;
        loop {
            tokio::select! {
                told = told.recv() => match told.unwrap() {
                    Told::Offer(id) => send_offer(&mut websocket, id).await,
                    Told::Close => {
                        let reason = "InternalServerError: NameRenewalFailed".into();
                        websocket.close(Some(CloseFrame { code: CloseCode::Error, reason })).await.unwrap();
                        assert!(matches!(websocket.next().await, Some(Ok(Message::Close(_)))));
                        break;
                    }
                    Told::Cut => break,
                },
                message = websocket.next() => match message {
                    Some(Ok(Message::Text(text))) => {
                        assert!(text.contains(r#"{"renewToken":{"token":"#), "{text}");
                        assert_eq!(rule(&text), rule_of_channel, "the token of another channel's credential");
                        expiry = Instant::now() + LIFE;
                    }
                    Some(Ok(Message::Close(_))) => {
                        Self::left(&service, at, &mut websocket, &mut told).await;
                        break;
                    }
                    Some(Ok(_)) => {}
                    over => panic!("control channel {at} ended without a Close: {over:?}"),
                },
                () = sleep_until(expiry) => panic!("the token of control channel {at} has expired"),
            }
        }
        service.lock().unwrap().channels[at].state = State::Over;
    }

    /// Sends the offers that cross the listener's Close, and answers it.
    async fn left(
        service: &Mutex<Self>,
        at: usize,
        websocket: &mut WebSocketStream<DuplexStream>,
        told: &mut mpsc::UnboundedReceiver<Told>,
    ) {
        {
            let mut service = service.lock().unwrap();
            service.closed.push(at);
            service.channels[at].state = State::Left;
        }
        let end = Instant::now() + Duration::from_secs(CLOSING);
        loop {
            tokio::select! {
                told = told.recv() => match told.unwrap() {
                    Told::Offer(id) => send_offer(websocket, id).await,
                    Told::Close | Told::Cut => return,
                },
                () = sleep_until(end) => break,
            }
        }
        websocket.get_mut().write_all(&[0x88, 0]).await.unwrap();
    }

    /// Tells the newest control channel in this state what to do.
    pub(super) fn tell(&self, state: State, told: Told) {
        let newest = self.channels.iter().rev().find(|channel| channel.state == state);
        newest.expect("a control channel").tell.send(told).unwrap();
    }
}

/// Sends an offer, also when the listener's Close has been read.
async fn send_offer(websocket: &mut WebSocketStream<DuplexStream>, id: usize) {
    websocket.get_mut().write_all(&late_offer("site/gw", &id.to_string())).await.unwrap();
}

/// The name of the rule that a token is of.
fn rule(text: &str) -> &str {
    text.split("skn=").nth(1).unwrap().split(['&', '"']).next().unwrap()
}
