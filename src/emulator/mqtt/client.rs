//! One client of MQTT: its login, what it subscribes to and publishes, and when it is disconnected.

use std::fmt::Display;
use std::sync::Arc;
use std::time::Duration;

use mqtt_protocol_core::mqtt::common::Cursor;
use mqtt_protocol_core::mqtt::connection::{ConnectionOptions, Event, TimerKind, role};
use mqtt_protocol_core::mqtt::packet::{GenericPacketTrait, Packet, Qos, v3_1_1};
use mqtt_protocol_core::mqtt::result_code::{ConnectReturnCode, MqttError, SubackReturnCode};
use mqtt_protocol_core::mqtt::{Connection, Version};
use tokio::time::Instant;

use super::service::{Connect, LoggedIn, Message, Peer, Refusal, Service};

/// A message to a hub is 256 KB at most \[D].
const MAX_PACKET: u32 = 256 << 10;
/// The longest keepalive a hub knows \[D].
const MAX_KEEPALIVE: Duration = Duration::from_secs(1767);
/// How long a client may take for its login.
const LOGIN: Duration = Duration::from_secs(30);

/// A PUBACK with the packet id 0.
const PUBACK_WITHOUT_ID: &[u8] = &[0x40, 2, 0, 0];

/// A client, as the bytes it sends and the messages it gets have left it.
pub(super) struct Client {
    protocol: Connection<role::Server>,
    services: Arc<[Arc<dyn Service>]>,
    peer: Peer,
    /// Present once the client has logged in.
    pub(super) logged_in: Option<Box<dyn LoggedIn>>,
    /// The packet that is being received, up to its fifth byte.
    packet: Vec<u8>,
    /// When the client will have been silent for too long.
    silent_at: Instant,
    /// Bytes to write to the client.
    pub(super) out: Vec<u8>,
    /// The client is to be disconnected.
    pub(super) over: bool,
}

impl Client {
    /// A client that has not logged in.
    pub(super) fn new(services: Arc<[Arc<dyn Service>]>, peer: Peer) -> Self {
        let options = ConnectionOptions::new().maximum_packet_size_recv(MAX_PACKET);
        let mut protocol = Connection::<role::Server>::with_options(Version::V3_1_1, options);
        protocol.set_auto_pub_response(true);
        protocol.set_auto_ping_response(true);
        Self {
            protocol,
            services,
            peer,
            logged_in: None,
            packet: Vec::new(),
            silent_at: Instant::now() + LOGIN,
            out: Vec::new(),
            over: false,
        }
    }

    /// Who the client is, for the log.
    pub(super) fn name(&self) -> String {
        self.logged_in.as_ref().map_or_else(|| "a client".to_owned(), |client| client.name())
    }

    fn expiry(&self) -> Option<Instant> {
        self.logged_in.as_ref().and_then(|client| client.expiry())
    }

    /// When its token expires, or its silence has lasted too long.
    pub(super) fn deadline(&self) -> Instant {
        self.expiry().map_or(self.silent_at, |expiry| expiry.min(self.silent_at))
    }

    /// Whether its token has expired.
    pub(super) fn has_expired(&self) -> bool {
        self.expiry().is_some_and(|expiry| expiry <= Instant::now())
    }

    /// Takes bytes from the client.
    pub(super) fn receive(&mut self, bytes: &[u8]) {
        let mut rest = bytes;
        while !self.over && !rest.is_empty() {
            let mut cursor = Cursor::new(rest);
            // Takes one packet at most, and says nothing before its end.
            let events = self.protocol.recv(&mut cursor);
            let (taken, left) = rest.split_at(usize::try_from(cursor.position()).unwrap_or(rest.len()));
            rest = left;
            self.packet.extend(taken.iter().take(PUBACK_WITHOUT_ID.len() + 1 - self.packet.len()));
            if events.is_empty() {
                continue;
            }
            let packet = std::mem::take(&mut self.packet);
            let passes = self.logged_in.as_ref().is_some_and(|client| client.acknowledges_qos_0());
            if !passes || packet != PUBACK_WITHOUT_ID {
                self.follow(events);
            }
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
        let Some(client) = &mut self.logged_in else {
            // The state machine lets some packets through before the first.
            if let Packet::V3_1_1Connect(connect) = packet {
                self.connect(&connect);
            } else {
                log::info!("mqtt: a client is disconnected: its first packet is not CONNECT");
                self.over = true;
            }
            return;
        };
        match packet {
            Packet::V3_1_1Subscribe(subscribe) => {
                let mut codes = Vec::new();
                for entry in subscribe.entries() {
                    codes.push(match client.subscribe(entry.topic_filter(), entry.sub_opts().qos()) {
                        None => SubackReturnCode::Failure,
                        Some(Qos::AtMostOnce) => SubackReturnCode::SuccessMaximumQos0,
                        Some(_) => SubackReturnCode::SuccessMaximumQos1,
                    });
                }
                let answer = v3_1_1::Suback::builder().packet_id(subscribe.packet_id());
                self.send_built(answer.return_codes(codes).build());
            }
            Packet::V3_1_1Unsubscribe(unsubscribe) => {
                for filter in unsubscribe.entries() {
                    client.unsubscribe(filter.as_str());
                }
                self.send_built(v3_1_1::Unsuback::builder().packet_id(unsubscribe.packet_id()).build());
            }
            Packet::V3_1_1Publish(publish) if publish.qos() == Qos::ExactlyOnce => {
                self.disconnect("there is no QoS 2");
            }
            Packet::V3_1_1Publish(publish) => {
                match client.publish(publish.topic_name(), publish.payload().as_slice()) {
                    Ok(Some(answer)) => self.publish(answer),
                    Ok(None) => {}
                    Err(why) => self.disconnect(why),
                }
            }
            Packet::V3_1_1Pingreq(_) | Packet::V3_1_1Puback(_) => {}
            // A DISCONNECT.
            _ => self.over = true,
        }
    }

    fn disconnect(&mut self, why: impl Display) {
        log::info!("mqtt: {} is disconnected: {why}", self.name());
        self.over = true;
    }

    fn send_built(&mut self, packet: Result<impl Into<Packet>, MqttError>) {
        match packet {
            Ok(packet) => self.send(packet),
            Err(error) => self.disconnect(error),
        }
    }

    fn connect(&mut self, connect: &v3_1_1::Connect) {
        if connect.keep_alive() == 0 {
            self.silent_at = Instant::now() + MAX_KEEPALIVE;
        }
        let login = Connect {
            client_id: connect.client_id(),
            user_name: connect.user_name(),
            password: connect.password(),
            peer: &self.peer,
        };
        let service = self.services.iter().find(|service| service.serves(login.user_name));
        let service = service.ok_or(Refusal::NotAuthorized("no service has such user names"));
        let code = match service.and_then(|service| Arc::clone(service).log_in(&login)) {
            Ok(client) => {
                self.logged_in = Some(client);
                ConnectReturnCode::Accepted
            }
            Err(refusal) => {
                log::info!("mqtt: the login of '{}' is refused: {}", login.client_id, refusal.reason());
                match refusal {
                    Refusal::ClientId => ConnectReturnCode::IdentifierRejected,
                    Refusal::Malformed => ConnectReturnCode::BadUserNameOrPassword,
                    Refusal::NotAuthorized(_) => ConnectReturnCode::NotAuthorized,
                }
            }
        };
        self.send_built(v3_1_1::Connack::builder().session_present(false).return_code(code).build());
    }

    /// Publishes a message to the client.
    pub(super) fn publish(&mut self, message: Message) {
        let Message { topic, payload, qos } = message;
        let id = match qos {
            Qos::AtMostOnce => None,
            _ => match self.protocol.acquire_packet_id() {
                Ok(id) => Some(id),
                Err(error) => return self.disconnect(error),
            },
        };
        let publish = v3_1_1::Publish::builder().topic_name(topic).and_then(|publish| {
            let publish = publish.qos(qos).payload(payload);
            match id {
                Some(id) => publish.packet_id(id),
                None => publish,
            }
            .build()
        });
        self.send_built(publish);
    }
}
