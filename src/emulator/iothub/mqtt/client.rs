//! One client of MQTT: its login, what it subscribes to and publishes, and when it is disconnected.

use std::sync::Arc;
use std::time::Duration;

use mqtt_protocol_core::mqtt::common::Cursor;
use mqtt_protocol_core::mqtt::connection::{ConnectionOptions, Event, TimerKind, role};
use mqtt_protocol_core::mqtt::packet::{GenericPacketTrait, Packet, Qos, v3_1_1};
use mqtt_protocol_core::mqtt::result_code::{ConnectReturnCode, MqttError, SubackReturnCode};
use mqtt_protocol_core::mqtt::{Connection, Version};
use tokio::time::Instant;

use crate::backend::iothub::proto::{SUBSCRIPTIONS, parse_decision};
use crate::emulator::client_certificate::Thumbprint;
use crate::emulator::iothub::hub::Hub;
use crate::emulator::iothub::hub_connections::{HubConnection, Message};
use crate::emulator::iothub::login::{Login, Refusal};
use crate::time::clock;

/// A message to the hub is 256 KB at most \[D].
const MAX_PACKET: u32 = 256 << 10;
/// The longest keepalive the hub knows \[D].
const MAX_KEEPALIVE: Duration = Duration::from_secs(1767);
/// How long a client may take for its login.
const LOGIN: Duration = Duration::from_secs(30);

/// A device's requests to its twin, and where the answers and the changes of it go \[D]\[S].
const TWIN_GET: &str = "$iothub/twin/GET/";
const TWIN_REPORT: &str = "$iothub/twin/PATCH/properties/reported/";
const TWIN_ANSWERS: &str = "$iothub/twin/res/#";
const TWIN_DESIRED: &str = "$iothub/twin/PATCH/properties/desired/#";

/// A client, as the bytes it sends and the messages it gets have left it.
pub(super) struct Client {
    protocol: Connection<role::Server>,
    pub(super) hub: Arc<Hub>,
    authority: Option<String>,
    certificate: Option<Thumbprint>,
    /// Present once the client has logged in.
    pub(super) connection: Option<HubConnection>,
    expiry: Option<Instant>,
    /// When the client will have been silent for too long.
    silent_at: Instant,
    /// Bytes to write to the client.
    pub(super) out: Vec<u8>,
    /// The client is to be disconnected.
    pub(super) over: bool,
    /// Whether the client is subscribed to the answers to its requests to its twin.
    pub(super) twin_answers: bool,
}

impl Client {
    /// A client that has not logged in. `authority` is where it reached the HTTPS port, if it came that way;
    /// `certificate` is what it showed.
    pub(super) fn new(hub: Arc<Hub>, authority: Option<String>, certificate: Option<Thumbprint>) -> Self {
        let options = ConnectionOptions::new().maximum_packet_size_recv(MAX_PACKET);
        let mut protocol = Connection::<role::Server>::with_options(Version::V3_1_1, options);
        protocol.set_auto_pub_response(true);
        protocol.set_auto_ping_response(true);
        Self {
            protocol,
            hub,
            authority,
            certificate,
            connection: None,
            expiry: None,
            silent_at: Instant::now() + LOGIN,
            out: Vec::new(),
            over: false,
            twin_answers: false,
        }
    }

    /// The client's identity, for the log.
    pub(super) fn name(&self) -> String {
        self.connection.as_ref().map_or_else(|| "a client".to_owned(), |online| online.identity().to_string())
    }

    /// When its token expires, or its silence has lasted too long.
    pub(super) fn deadline(&self) -> Instant {
        self.expiry.map_or(self.silent_at, |expiry| expiry.min(self.silent_at))
    }

    /// Whether its token has expired.
    pub(super) fn has_expired(&self) -> bool {
        self.expiry.is_some_and(|expiry| expiry <= Instant::now())
    }

    /// Takes bytes from the client.
    pub(super) fn receive(&mut self, bytes: &[u8]) {
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
            _ if self.connection.is_none() => {
                log::info!("mqtt: a client is disconnected: its first packet is not CONNECT");
                self.over = true;
            }
            Packet::V3_1_1Subscribe(subscribe) => self.subscribe(&subscribe),
            Packet::V3_1_1Unsubscribe(unsubscribe) => {
                // The C SDK unsubscribes when its program waits for no stream [S].
                for filter in unsubscribe.entries() {
                    self.set_subscribed(filter.as_str(), false);
                }
                let answer = v3_1_1::Unsuback::builder().packet_id(unsubscribe.packet_id()).build();
                self.send_built(answer);
            }
            Packet::V3_1_1Publish(publish) => {
                if publish.qos() == Qos::ExactlyOnce {
                    log::info!("mqtt: {} is disconnected: the hub has no QoS 2", self.name());
                    self.over = true;
                } else if let Some(query) = publish.topic_name().strip_prefix(TWIN_GET) {
                    self.twin(query, None);
                } else if let Some(query) = publish.topic_name().strip_prefix(TWIN_REPORT) {
                    self.twin(query, Some(publish.payload().as_slice()));
                } else if let (Some((decision, request_id)), Some(connection)) =
                    (parse_decision(publish.topic_name()), &self.connection)
                {
                    connection.answer(request_id, decision);
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
                log::info!("mqtt: {} is disconnected: {error}", self.name());
                self.over = true;
            }
        }
    }

    fn connect(&mut self, connect: &v3_1_1::Connect) {
        if connect.keep_alive() == 0 {
            self.silent_at = Instant::now() + MAX_KEEPALIVE;
        }
        let login =
            self.hub.log_in(connect.client_id(), connect.user_name(), connect.password(), self.certificate);
        let code = match login {
            Ok(login) => {
                self.come_online(&login);
                ConnectReturnCode::Accepted
            }
            Err(refusal) => {
                log::info!("mqtt: the login of '{}' is refused: {}", connect.client_id(), refusal.reason());
                match refusal {
                    Refusal::ClientId => ConnectReturnCode::IdentifierRejected,
                    Refusal::Malformed => ConnectReturnCode::BadUserNameOrPassword,
                    Refusal::NotAuthorized(_) => ConnectReturnCode::NotAuthorized,
                }
            }
        };
        self.send_built(v3_1_1::Connack::builder().session_present(false).return_code(code).build());
    }

    fn come_online(&mut self, login: &Login) {
        let now = self.hub.faults.clock.now();
        self.expiry = login.expiry.map(|expiry| {
            let seconds = expiry.0.saturating_sub(clock::unix_seconds(now).0);
            // At most a year: the sums of the clock stay in range.
            Instant::now() + Duration::from_secs(seconds.min(365 * 86_400))
        });
        let authority = self.authority.clone().unwrap_or_else(|| self.hub.address.authority_as(&login.hub));
        self.hub.registry.touch(&login.identity, now);
        self.connection = Some(self.hub.connections.connect(&login.identity, authority, now));
        log::info!("mqtt: {} is online", login.identity);
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
                // Methods and messages are not emulated, but SDKs subscribe to them.
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
        let Some(connection) = &self.connection else { return };
        match filter {
            TWIN_ANSWERS => self.twin_answers = subscribed,
            TWIN_DESIRED => connection.set_wants_desired(subscribed),
            _ if filter == SUBSCRIPTIONS[0] => connection.set_subscribed(subscribed),
            _ => {}
        }
    }

    /// Publishes a message to the client.
    pub(super) fn publish(&mut self, message: Message) {
        let publish = v3_1_1::Publish::builder().topic_name(message.topic);
        let publish =
            publish.and_then(|publish| publish.qos(Qos::AtMostOnce).payload(message.payload).build());
        self.send_built(publish);
    }
}
