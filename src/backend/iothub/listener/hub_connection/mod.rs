//! The device's MQTT connection to its hub, over any byte stream: receives offers and publishes answers, and carries
//! requests to the device's twin.

use std::time::Duration;

use mqtt_protocol_core::mqtt::common::Cursor;
use mqtt_protocol_core::mqtt::connection::{ConnectionOptions, Event, TimerKind, role};
use mqtt_protocol_core::mqtt::packet::{GenericPacketTrait, Packet, Qos, SubEntry, SubOpts, v3_1_1};
use mqtt_protocol_core::mqtt::result_code::{ConnectReturnCode, MqttError, SubackReturnCode};
use mqtt_protocol_core::mqtt::{Connection, Version};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::time::{Instant, sleep_until, timeout};

use crate::backend::iothub::proto::{
    BadOffer, Decision, Login, Offer, Refusal, SUBSCRIPTIONS, TWIN_ANSWERS, TwinAnswer,
};
use crate::error::Problem;
use crate::secret::Secret;

/// The time limit for the hub to answer a ping, CONNECT, SUBSCRIBE or UNSUBSCRIBE, and to accept a packet.
const ANSWER_LIMIT: Duration = Duration::from_secs(20);

/// The longest accepted packet in bytes. An offer has some hundred bytes, a topic at most 64 KiB. A twin has 32 KB of
/// desired and as much of reported properties, counted without JSON's escapes \[D].
const MAX_PACKET: u32 = 512 * 1024;

/// The packets that are kept between a request and its answer.
const MOST_BETWEEN: usize = 64;

/// Why a hub connection failed.
#[derive(Debug)]
pub(crate) enum ConnectionError {
    /// The hub refused the login or the subscription.
    Refused(Refusal),
    /// The hub broke the protocol.
    Protocol(Problem),
    Network(std::io::Error),
    /// The hub did not answer this packet in time.
    Silent(&'static str),
}

impl From<std::io::Error> for ConnectionError {
    fn from(error: std::io::Error) -> Self {
        Self::Network(error)
    }
}

/// What a hub sends to a device.
#[derive(Debug)]
pub(crate) enum Received {
    /// An offer, valid or malformed.
    Offer(Result<Offer, BadOffer>),
    /// What concerns the twin.
    Twin(TwinReply),
}

/// A hub's reply about the twin.
#[derive(Debug)]
pub(crate) enum TwinReply {
    /// Whether the hub grants the subscription to answers.
    Subscription(bool),
    /// The answer to a request.
    Answer(TwinAnswer),
}

/// A hub connection with a login and a subscription to offers.
pub(crate) struct HubConnection<S> {
    io: S,
    protocol: Connection<role::Client>,
    input: Vec<u8>,
    /// The part of `input` that is not parsed yet.
    unread: std::ops::Range<usize>,
    /// Bytes to write, including the rest of a cancelled write.
    output: bytes::BytesMut,
    /// Packets that are not handled yet.
    received: std::collections::VecDeque<Packet>,
    ping_at: Option<Instant>,
    answer_by: Option<Instant>,
}

impl<S: AsyncRead + AsyncWrite + Unpin> HubConnection<S> {
    /// Logs in and subscribes. `password` is a token, or `None` with a certificate. Pings the hub after `keepalive` without
    /// another packet to it.
    ///
    /// Not cancel-safe: dropping the future drops the connection.
    ///
    /// # Errors
    /// Returns [`ConnectionError::Refused`] if the hub refuses the device, and another variant if the connection fails.
    pub(crate) async fn begin(
        io: S,
        login: &Login,
        password: Option<&Secret>,
        keepalive: Duration,
    ) -> Result<Self, ConnectionError> {
        let options = ConnectionOptions::new().maximum_packet_size_recv(MAX_PACKET);
        let mut protocol = Connection::with_options(Version::V3_1_1, options);
        // A hub may publish at QoS 1.
        protocol.set_auto_pub_response(true);
        protocol.set_pingresp_recv_timeout(ANSWER_LIMIT.as_millis().try_into().unwrap_or(u64::MAX));
        let mut connection = Self {
            io,
            protocol,
            input: vec![0; 4096],
            unread: 0..0,
            output: bytes::BytesMut::new(),
            received: std::collections::VecDeque::new(),
            ping_at: None,
            answer_by: None,
        };
        // With user name, password and no clean session, the connect flags are 0xC0, as in the C SDK [M].
        let mut connect = v3_1_1::Connect::builder()
            .client_id(&login.client_id)
            .map_err(violation)?
            .user_name(&login.username)
            .map_err(violation)?
            .clean_session(false)
            .keep_alive(u16::try_from(keepalive.as_secs()).unwrap_or(u16::MAX));
        if let Some(password) = password {
            connect = connect.password(password.expose()).map_err(violation)?;
        }
        let connect = connect.build().map_err(violation)?;
        let connecting = async {
            connection.send(connect.into()).await?;
            connection.packet().await
        };
        match timeout(ANSWER_LIMIT, connecting).await.map_err(|_| ConnectionError::Silent("CONNECT"))?? {
            Packet::V3_1_1Connack(ack) if ack.return_code() == ConnectReturnCode::Accepted => {}
            Packet::V3_1_1Connack(ack) => {
                return Err(ConnectionError::Refused(refusal(ack.return_code())));
            }
            _ => return Err(ConnectionError::Protocol("it answers CONNECT with another packet".into())),
        }
        let subscribing = connection.subscribe();
        timeout(ANSWER_LIMIT, subscribing).await.map_err(|_| ConnectionError::Silent("SUBSCRIBE"))??;
        Ok(connection)
    }

    async fn subscribe(&mut self) -> Result<(), ConnectionError> {
        self.queue_subscribe(&SUBSCRIPTIONS)?;
        // Offers may arrive before the acknowledgement.
        let mut before = Vec::new();
        let acknowledgement = loop {
            match self.packet().await? {
                Packet::V3_1_1Suback(ack) => break ack,
                _ if before.len() == MOST_BETWEEN => {
                    return Err(ConnectionError::Protocol("it answers SUBSCRIBE with other packets".into()));
                }
                other => before.push(other),
            }
        };
        before.into_iter().rev().for_each(|packet| self.received.push_front(packet));
        // The hub never uses the second filter.
        match acknowledgement.return_codes().first() {
            Some(SubackReturnCode::Failure) | None => Err(ConnectionError::Refused(Refusal::NoStreams)),
            Some(_) => Ok(()),
        }
    }

    /// Unsubscribes, and returns the offers that arrive before the hub's acknowledgement. Rejects offers beyond
    /// [`MOST_BETWEEN`].
    ///
    /// Not cancel-safe.
    ///
    /// # Errors
    /// Returns why the connection failed.
    pub(crate) async fn unsubscribe(&mut self) -> Result<Vec<Result<Offer, BadOffer>>, ConnectionError> {
        let unsubscribe = v3_1_1::Unsubscribe::builder()
            .packet_id(self.protocol.acquire_packet_id().map_err(violation)?)
            .entries(SUBSCRIPTIONS)
            .map_err(violation)?
            .build()
            .map_err(violation)?;
        self.send(unsubscribe.into()).await?;
        let collecting = async {
            let mut offers = Vec::new();
            loop {
                match self.packet().await? {
                    Packet::V3_1_1Unsuback(_) => return Ok(offers),
                    Packet::V3_1_1Publish(publish) => match Offer::parse(publish.topic_name()) {
                        Some(offer) if offers.len() == MOST_BETWEEN => {
                            let rejection = match offer {
                                Ok(offer) => Some(offer.answer(Decision::Reject)),
                                Err(bad) => bad.rejection(),
                            };
                            if let Some(rejection) = rejection {
                                self.publish(&rejection).await?;
                            }
                        }
                        offer => offers.extend(offer),
                    },
                    _ => {}
                }
            }
        };
        timeout(ANSWER_LIMIT, collecting).await.map_err(|_| ConnectionError::Silent("UNSUBSCRIBE"))?
    }

    /// Waits for the next message of the hub, and pings the hub meanwhile.
    ///
    /// Cancel-safe: the connection keeps a partly read packet.
    ///
    /// # Errors
    /// Returns why the connection failed.
    pub(crate) async fn receive(&mut self) -> Result<Received, ConnectionError> {
        loop {
            match self.packet().await? {
                Packet::V3_1_1Publish(publish) => {
                    if let Some(offer) = Offer::parse(publish.topic_name()) {
                        return Ok(Received::Offer(offer));
                    }
                    let answer = TwinAnswer::parse(publish.topic_name(), publish.payload().as_slice());
                    if let Some(answer) = answer {
                        return Ok(Received::Twin(TwinReply::Answer(answer)));
                    }
                }
                // Only the twin's subscription follows the login.
                Packet::V3_1_1Suback(ack) => {
                    let is_granted = ack.return_codes() != [SubackReturnCode::Failure];
                    return Ok(Received::Twin(TwinReply::Subscription(is_granted)));
                }
                _ => {}
            }
        }
    }

    /// Subscribes to the answers to requests to the twin. [`Self::receive`] sends the packet.
    ///
    /// # Errors
    /// Returns an error if the packet is invalid.
    pub(crate) fn subscribe_to_twin(&mut self) -> Result<(), ConnectionError> {
        self.queue_subscribe(&[TWIN_ANSWERS])
    }

    /// Publishes a request to the twin at QoS 0. [`Self::receive`] sends the packet.
    ///
    /// # Errors
    /// Returns an error if the packet is invalid.
    pub(crate) fn request(&mut self, topic: &str, payload: String) -> Result<(), ConnectionError> {
        let publish = v3_1_1::Publish::builder().topic_name(topic).map_err(violation)?.payload(payload);
        self.queue(publish.qos(Qos::AtMostOnce).build().map_err(violation)?.into())
    }

    /// Publishes an answer at QoS 0, with an empty payload \[S].
    ///
    /// Not cancel-safe.
    ///
    /// # Errors
    /// Returns why the connection failed.
    pub(crate) async fn publish(&mut self, topic: &str) -> Result<(), ConnectionError> {
        let publish = v3_1_1::Publish::builder().topic_name(topic).map_err(violation)?.qos(Qos::AtMostOnce);
        self.send(publish.build().map_err(violation)?.into()).await
    }

    /// Sends DISCONNECT and closes the connection.
    pub(crate) async fn end(mut self) {
        if let Ok(disconnect) = v3_1_1::Disconnect::builder().build() {
            let events = self.protocol.send(disconnect.into());
            // The only event besides the packet asks to close the connection, which follows.
            let _ = self.process(events);
            // If this fails, the hub sees the connection close.
            let _ = self.write().await;
        }
        let _ = self.io.shutdown().await;
    }

    async fn packet(&mut self) -> Result<Packet, ConnectionError> {
        loop {
            // Sends acknowledgements first. For cancel-safety, no local variable holds bytes across an await.
            self.write().await?;
            if let Some(packet) = self.received.pop_front() {
                return Ok(packet);
            }
            if !self.unread.is_empty() {
                let mut cursor = Cursor::new(&self.input[self.unread.clone()]);
                let events = self.protocol.recv(&mut cursor);
                self.unread.start += usize::try_from(cursor.position()).unwrap_or(usize::MAX);
                self.process(events)?;
                continue;
            }
            let timer = [self.ping_at, self.answer_by].into_iter().flatten().min();
            tokio::select! {
                count = self.io.read(&mut self.input) => {
                    let count = count?;
                    if count == 0 {
                        return Err(ConnectionError::Network(std::io::ErrorKind::UnexpectedEof.into()));
                    }
                    self.unread = 0..count;
                }
                () = sleep_until(timer.unwrap_or_else(Instant::now)), if timer.is_some() => {
                    if self.answer_by.is_some_and(|by| by <= Instant::now()) {
                        return Err(ConnectionError::Silent("PINGREQ"));
                    }
                    self.ping_at = None;
                    let events = self.protocol.notify_timer_fired(TimerKind::PingreqSend);
                    self.process(events)?;
                }
            }
        }
    }

    async fn send(&mut self, packet: Packet) -> Result<(), ConnectionError> {
        self.queue(packet)?;
        self.write().await
    }

    /// Adds a packet to what is written next.
    fn queue(&mut self, packet: Packet) -> Result<(), ConnectionError> {
        let events = self.protocol.send(packet);
        self.process(events)
    }

    fn queue_subscribe(&mut self, filters: &[&str]) -> Result<(), ConnectionError> {
        let entries =
            filters.iter().map(|filter| SubEntry::new(*filter, SubOpts::new().set_qos(Qos::AtMostOnce)));
        let subscribe = v3_1_1::Subscribe::builder()
            .packet_id(self.protocol.acquire_packet_id().map_err(violation)?)
            .entries(entries.collect::<Result<Vec<_>, _>>().map_err(violation)?)
            .build()
            .map_err(violation)?;
        self.queue(subscribe.into())
    }

    /// Writes `output`. Cancel-safe.
    async fn write(&mut self) -> Result<(), ConnectionError> {
        if self.output.is_empty() {
            return Ok(());
        }
        let sending = async {
            while !self.output.is_empty() {
                self.io.write_buf(&mut self.output).await?;
            }
            self.io.flush().await
        };
        Ok(timeout(ANSWER_LIMIT, sending).await.map_err(|_| ConnectionError::Silent("a packet"))??)
    }

    /// Processes the events of the state machine.
    fn process(&mut self, events: Vec<Event>) -> Result<(), ConnectionError> {
        for event in events {
            match event {
                Event::NotifyPacketReceived(packet) => self.received.push_back(packet),
                Event::RequestSendPacket { packet, .. } => {
                    self.output.extend_from_slice(&packet.to_continuous_buffer());
                }
                Event::RequestTimerReset { kind, duration_ms } => {
                    let at = Some(Instant::now() + Duration::from_millis(duration_ms));
                    match kind {
                        TimerKind::PingreqSend => self.ping_at = at,
                        // Another ping does not extend the limit of the first.
                        TimerKind::PingrespRecv => self.answer_by = self.answer_by.or(at),
                        TimerKind::PingreqRecv => {}
                    }
                }
                Event::RequestTimerCancel(TimerKind::PingreqSend) => self.ping_at = None,
                Event::RequestTimerCancel(TimerKind::PingrespRecv) => self.answer_by = None,
                Event::NotifyError(error) => return Err(violation(error)),
                Event::RequestClose => return Err(ConnectionError::Protocol("it violates MQTT".into())),
                Event::NotifyPacketIdReleased(_) | Event::RequestTimerCancel(_) => {}
            }
        }
        Ok(())
    }
}

fn violation(error: MqttError) -> ConnectionError {
    ConnectionError::Protocol(Problem::because(format!("MQTT: {error}"), error))
}

fn refusal(code: ConnectReturnCode) -> Refusal {
    match code {
        ConnectReturnCode::UnacceptableProtocolVersion => Refusal::NoMqtt311,
        ConnectReturnCode::IdentifierRejected => Refusal::UnknownId,
        ConnectReturnCode::ServerUnavailable => Refusal::Unavailable,
        ConnectReturnCode::BadUserNameOrPassword => Refusal::BadCredential,
        ConnectReturnCode::NotAuthorized | ConnectReturnCode::Accepted => Refusal::NotAuthorized,
    }
}

#[cfg(test)]
mod tests;
