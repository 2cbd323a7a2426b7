//! The hub's side of MQTT 3.1.1, over any byte stream: TLS or a WebSocket.

use std::sync::Arc;
use std::time::Duration;

use mqtt_protocol_core::mqtt::common::Cursor;
use mqtt_protocol_core::mqtt::connection::{ConnectionOptions, Event, TimerKind, role};
use mqtt_protocol_core::mqtt::packet::{GenericPacketTrait, Packet, Qos, v3_1_1};
use mqtt_protocol_core::mqtt::result_code::{ConnectReturnCode, MqttError, SubackReturnCode};
use mqtt_protocol_core::mqtt::{Connection, Version};
use serde_json::json;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep_until, timeout};
use tokio_rustls::server::TlsStream;

use crate::backend::iothub::proto::{SUBSCRIPTIONS, parse_decision};
use crate::time::clock;

use super::authorization::{Admission, Refusal};
use super::hub::Hub;
use super::links::{Connected, Message};
use crate::emulator::client_certificate::Thumbprint;

/// A message to the hub is 256 KB at most [D].
const MAX_PACKET: u32 = 256 << 10;
const BLOCK: usize = 8 << 10;
/// The longest keepalive the hub knows [D].
const MAX_KEEPALIVE: Duration = Duration::from_secs(1767);
/// How long a client may take for its CONNECT.
const CONNECT: Duration = Duration::from_secs(30);
/// How long a client may leave what it is sent unread.
const WRITE: Duration = Duration::from_secs(30);

/// A device's requests to its twin, and where the answers and the changes of it go [D][S].
const TWIN_GET: &str = "$iothub/twin/GET/";
const TWIN_REPORT: &str = "$iothub/twin/PATCH/properties/reported/";
const TWIN_ANSWERS: &str = "$iothub/twin/res/#";
const TWIN_DESIRED: &str = "$iothub/twin/PATCH/properties/desired/#";

/// Serves one client of the MQTT port.
pub(in crate::emulator) async fn serve_tls(io: TlsStream<TcpStream>, hub: Arc<Hub>) {
    let certificate = Thumbprint::of_peer(io.get_ref().1);
    serve(io, hub, None, certificate).await;
}

/// Serves one client until either side ends it. `authority` is where the client reached HTTPS, if it came that way, and
/// `certificate` what it showed.
pub(super) async fn serve<S>(
    mut io: S,
    hub: Arc<Hub>,
    authority: Option<String>,
    certificate: Option<Thumbprint>,
) where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let options = ConnectionOptions::new().maximum_packet_size_recv(MAX_PACKET);
    let mut protocol = Connection::<role::Server>::with_options(Version::V3_1_1, options);
    protocol.set_auto_pub_response(true);
    protocol.set_auto_ping_response(true);
    let mut session = Session {
        protocol,
        hub,
        authority,
        certificate,
        link: None,
        expiry: None,
        silent_at: Instant::now() + CONNECT,
        out: Vec::new(),
        over: false,
        twin_answers: false,
    };
    let mut block = vec![0; BLOCK];
    loop {
        if !session.out.is_empty() {
            let written = timeout(WRITE, async {
                io.write_all(&session.out).await?;
                io.flush().await
            });
            match written.await {
                Ok(Ok(())) => {}
                Ok(Err(error)) => {
                    log::info!("mqtt: {}: {error}", session.name());
                    break;
                }
                Err(_) => {
                    log::info!("mqtt: {} is cut off: it does not read", session.name());
                    break;
                }
            }
            session.out.clear();
        }
        if session.over {
            break;
        }
        let deadline = session.deadline();
        tokio::select! {
            count = io.read(&mut block) => match count {
                Ok(count @ 1..) => session.receive(&block[..count]),
                _ => break,
            },
            message = next_message(session.link.as_mut()) => match message {
                Some(message) => session.publish(message),
                // One connection for each identity [D].
                None => {
                    let name = session.name();
                    log::info!("mqtt: {name} is cut off: it has connected again, or is removed or disabled");
                    break;
                }
            },
            () = sleep_until(deadline) => {
                let expired = session.expiry.is_some_and(|expiry| expiry <= Instant::now());
                let why = if expired { "its token has expired" } else { "it was silent too long" };
                log::info!("mqtt: {} is cut off: {why}", session.name());
                break;
            }
        }
    }
    log::info!("mqtt: {} is gone", session.name());
    drop(session);
    let _ = timeout(WRITE, io.shutdown()).await;
}

async fn next_message(link: Option<&mut Connected>) -> Option<Message> {
    match link {
        Some(link) => link.message().await,
        None => std::future::pending().await,
    }
}

struct Session {
    protocol: Connection<role::Server>,
    hub: Arc<Hub>,
    authority: Option<String>,
    certificate: Option<Thumbprint>,
    /// Present once the client is admitted.
    link: Option<Connected>,
    expiry: Option<Instant>,
    /// When the client will have been silent for too long.
    silent_at: Instant,
    out: Vec<u8>,
    over: bool,
    /// Whether the client reads the answers to what it asks of its twin.
    twin_answers: bool,
}

impl Session {
    fn name(&self) -> String {
        self.link.as_ref().map_or_else(|| "a client".to_owned(), |link| link.identity().to_string())
    }

    fn deadline(&self) -> Instant {
        self.expiry.map_or(self.silent_at, |expiry| expiry.min(self.silent_at))
    }

    fn receive(&mut self, bytes: &[u8]) {
        let mut cursor = Cursor::new(bytes);
        while !self.over && cursor.position() < bytes.len() as u64 {
            let events = self.protocol.recv(&mut cursor);
            self.follow(events);
        }
    }

    fn send(&mut self, packet: impl Into<Packet>) {
        let events = self.protocol.send(packet.into());
        self.follow(events);
    }

    /// Does what the protocol's state machine says.
    fn follow(&mut self, events: Vec<Event>) {
        for event in events {
            match event {
                Event::RequestSendPacket { packet, .. } => {
                    self.out.extend_from_slice(&packet.to_continuous_buffer());
                }
                Event::NotifyPacketReceived(packet) => self.take(packet),
                Event::RequestTimerReset { kind: TimerKind::PingreqRecv, duration_ms } => {
                    let silence = Duration::from_millis(duration_ms).min(MAX_KEEPALIVE);
                    self.silent_at = Instant::now() + silence;
                }
                Event::NotifyError(error) => {
                    log::info!("mqtt: {} broke the protocol: {error:?}", self.name());
                    self.over = true;
                }
                Event::RequestClose => self.over = true,
                _ => {}
            }
        }
    }

    fn take(&mut self, packet: Packet) {
        match packet {
            Packet::V3_1_1Connect(connect) => self.connect(&connect),
            // The state machine lets some packets through before the first.
            _ if self.link.is_none() => {
                log::info!("mqtt: a client is cut off: its first packet is no CONNECT");
                self.over = true;
            }
            Packet::V3_1_1Subscribe(subscribe) => self.subscribe(&subscribe),
            Packet::V3_1_1Unsubscribe(unsubscribe) => {
                // The C SDK unsubscribes when nobody waits for streams any more [S].
                for filter in unsubscribe.entries() {
                    self.set_subscribed(filter.as_str(), false);
                }
                let answer = v3_1_1::Unsuback::builder().packet_id(unsubscribe.packet_id()).build();
                self.send_built(answer);
            }
            Packet::V3_1_1Publish(publish) => {
                if publish.qos() == Qos::ExactlyOnce {
                    log::info!("mqtt: {} is cut off: the hub has no QoS 2", self.name());
                    self.over = true;
                } else if let Some(query) = publish.topic_name().strip_prefix(TWIN_GET) {
                    self.twin(query, None);
                } else if let Some(query) = publish.topic_name().strip_prefix(TWIN_REPORT) {
                    self.twin(query, Some(publish.payload().as_slice()));
                } else if let (Some((decision, request_id)), Some(link)) =
                    (parse_decision(publish.topic_name()), &self.link)
                {
                    link.answer(request_id, decision);
                }
            }
            Packet::V3_1_1Pingreq(_) | Packet::V3_1_1Puback(_) => {}
            // A DISCONNECT.
            _ => self.over = true,
        }
    }

    fn send_built(&mut self, packet: Result<impl Into<Packet>, MqttError>) {
        match packet {
            Ok(packet) => self.send(packet),
            Err(error) => {
                log::info!("mqtt: {} is cut off: {error}", self.name());
                self.over = true;
            }
        }
    }

    fn connect(&mut self, connect: &v3_1_1::Connect) {
        if connect.keep_alive() == 0 {
            self.silent_at = Instant::now() + MAX_KEEPALIVE;
        }
        let admitted =
            self.hub.admit(connect.client_id(), connect.user_name(), connect.password(), self.certificate);
        let code = match admitted {
            Ok(admission) => {
                self.come_online(&admission);
                ConnectReturnCode::Accepted
            }
            Err(refusal) => {
                log::info!("mqtt: '{}' is refused: {}", connect.client_id(), refusal.reason());
                match refusal {
                    Refusal::ClientId => ConnectReturnCode::IdentifierRejected,
                    Refusal::Malformed => ConnectReturnCode::BadUserNameOrPassword,
                    Refusal::NotAuthorized(_) => ConnectReturnCode::NotAuthorized,
                }
            }
        };
        self.send_built(v3_1_1::Connack::builder().session_present(false).return_code(code).build());
    }

    fn come_online(&mut self, admission: &Admission) {
        let now = self.hub.faults.clock.now();
        self.expiry = admission.expiry.map(|expiry| {
            let seconds = expiry.0.saturating_sub(clock::unix_seconds(now).0);
            // A token for ever is for a year: the clock's sums stay in range.
            Instant::now() + Duration::from_secs(seconds.min(365 * 86_400))
        });
        let authority =
            self.authority.clone().unwrap_or_else(|| self.hub.address.authority_as(&admission.hub));
        self.hub.registry.touch(&admission.identity, now);
        self.link = Some(self.hub.links.connect(&admission.identity, authority));
        log::info!("mqtt: {} is online", admission.identity);
    }

    fn subscribe(&mut self, subscribe: &v3_1_1::Subscribe) {
        let mut codes = Vec::new();
        for entry in subscribe.entries() {
            let filter = entry.topic_filter();
            codes.push(if SUBSCRIPTIONS.contains(&filter) {
                SubackReturnCode::SuccessMaximumQos0
            } else if !filter.starts_with("$iothub/") && !filter.starts_with("devices/") {
                SubackReturnCode::Failure
            } else if entry.sub_opts().qos() == Qos::AtMostOnce {
                SubackReturnCode::SuccessMaximumQos0
            } else {
                // Methods and messages are not emulated; SDKs subscribe to them all the same.
                SubackReturnCode::SuccessMaximumQos1
            });
        }
        let answer = v3_1_1::Suback::builder().packet_id(subscribe.packet_id()).return_codes(codes).build();
        self.send_built(answer);
        for entry in subscribe.entries() {
            self.set_subscribed(entry.topic_filter(), true);
        }
    }

    fn set_subscribed(&mut self, filter: &str, subscribed: bool) {
        let Some(link) = &self.link else { return };
        match filter {
            TWIN_ANSWERS => self.twin_answers = subscribed,
            TWIN_DESIRED => link.set_wants_desired(subscribed),
            _ if filter == SUBSCRIPTIONS[0] => link.set_subscribed(subscribed),
            _ => {}
        }
    }

    /// Answers a device that reads its twin, or reports. `query` is what follows the topic.
    fn twin(&mut self, query: &str, report: Option<&[u8]>) {
        let Some(link) = &self.link else { return };
        let query = query.strip_prefix('?').unwrap_or_default();
        let Some(request_id) = query.split('&').find_map(|pair| pair.strip_prefix("$rid=")) else {
            log::info!("mqtt: {}: a request to the twin has no $rid", self.name());
            return;
        };
        let (identity, now) = (link.identity(), self.hub.faults.clock.now());
        let answered = match report {
            None => {
                let registration = self.hub.registry.get(identity).ok_or("it is not registered".to_owned());
                registration.map(|found| (200, String::new(), found.twin.for_device().to_string()))
            }
            Some(patch) => {
                let reported = self.hub.registry.change_twin(identity, |twin| twin.report(patch, now));
                reported.map(|version| (204, format!("&$version={version}"), String::new()))
            }
        };
        let (status, version, payload) = answered.unwrap_or_else(|problem| {
            log::info!("mqtt: {identity}: its twin is not changed: {problem}");
            let body =
                json!({ "errorCode": 400_004, "message": problem, "timestampUtc": clock::iso8601(now) });
            (400, String::new(), body.to_string())
        });
        if self.twin_answers {
            let topic = format!("$iothub/twin/res/{status}/?$rid={request_id}{version}");
            self.publish(Message { topic, payload: payload.into_bytes() });
        }
    }

    fn publish(&mut self, message: Message) {
        let publish = v3_1_1::Publish::builder().topic_name(message.topic);
        let publish =
            publish.and_then(|publish| publish.qos(Qos::AtMostOnce).payload(message.payload).build());
        self.send_built(publish);
    }
}
