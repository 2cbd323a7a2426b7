//! The device's MQTT session with its hub: stream offers in, answers out, over any byte stream.

use std::time::Duration;

use mqtt_protocol_core::mqtt::common::Cursor;
use mqtt_protocol_core::mqtt::connection::{ConnectionOptions, Event, TimerKind, role};
use mqtt_protocol_core::mqtt::packet::{GenericPacketTrait, Packet, Qos, SubEntry, SubOpts, v3_1_1};
use mqtt_protocol_core::mqtt::result_code::{ConnectReturnCode, MqttError, SubackReturnCode};
use mqtt_protocol_core::mqtt::{Connection, Version};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::time::{Instant, sleep_until, timeout};

use crate::backend::iothub::proto::{BadOffer, Decision, Login, Offer, Refusal, SUBSCRIPTIONS};
use crate::secret::Secret;

/// How long the hub may take to answer a ping, a CONNECT or a SUBSCRIBE.
const ANSWER_LIMIT: Duration = Duration::from_secs(20);

/// The longest packet taken from a hub: offers are some hundred bytes, and their topics end at 64 KiB.
const MAX_PACKET: u32 = 128 * 1024;

/// How many packets may come between a request of ours and its answer, and wait to be looked at.
const MOST_BETWEEN: usize = 64;

/// Why a session ended, or did not begin.
#[derive(Debug)]
pub(crate) enum SessionError {
    /// The hub refused the login or the subscription.
    Refused(Refusal),
    /// What was on the wire was not right.
    Protocol(String),
    Network(std::io::Error),
    /// No answer in time.
    Silent(&'static str),
}

impl From<std::io::Error> for SessionError {
    fn from(error: std::io::Error) -> Self {
        Self::Network(error)
    }
}

/// A session that is subscribed to stream offers.
pub(crate) struct Session<S> {
    io: S,
    protocol: Connection<role::Client>,
    input: Vec<u8>,
    /// What has been read and not been given to the state machine.
    unread: std::ops::Range<usize>,
    /// What is to be written: a write that is given up goes on from there.
    output: bytes::BytesMut,
    /// Packets that have been read and not looked at.
    received: std::collections::VecDeque<Packet>,
    ping_at: Option<Instant>,
    answer_by: Option<Instant>,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Session<S> {
    /// Connects and subscribes. `password` is a token; with a certificate there is none. The hub is pinged after
    /// `keepalive` without a packet.
    ///
    /// # Errors
    /// Why the hub does not take the device.
    pub(crate) async fn begin(
        io: S,
        login: &Login,
        password: Option<&Secret>,
        keepalive: Duration,
    ) -> Result<Self, SessionError> {
        let options = ConnectionOptions::new().maximum_packet_size_recv(MAX_PACKET);
        let mut protocol = Connection::with_options(Version::V3_1_1, options);
        // A hub may publish at QoS 1.
        protocol.set_auto_pub_response(true);
        protocol.set_pingresp_recv_timeout(ANSWER_LIMIT.as_millis().try_into().unwrap_or(u64::MAX));
        let mut session = Self {
            io,
            protocol,
            input: vec![0; 4096],
            unread: 0..0,
            output: bytes::BytesMut::new(),
            received: std::collections::VecDeque::new(),
            ping_at: None,
            answer_by: None,
        };
        // With clean session off and both flags set the connect flags are the C SDK's 0xC0 [M].
        let mut connect = v3_1_1::Connect::builder()
            .client_id(&login.client_id)
            .map_err(wrong)?
            .user_name(&login.username)
            .map_err(wrong)?
            .clean_session(false)
            .keep_alive(u16::try_from(keepalive.as_secs()).unwrap_or(u16::MAX));
        if let Some(password) = password {
            connect = connect.password(password.expose()).map_err(wrong)?;
        }
        let connect = connect.build().map_err(wrong)?;
        let connecting = async {
            session.send(connect.into()).await?;
            session.packet().await
        };
        match timeout(ANSWER_LIMIT, connecting).await.map_err(|_| SessionError::Silent("CONNECT"))?? {
            Packet::V3_1_1Connack(ack) if ack.return_code() == ConnectReturnCode::Accepted => {}
            Packet::V3_1_1Connack(ack) => {
                return Err(SessionError::Refused(refusal(ack.return_code())));
            }
            _ => return Err(SessionError::Protocol("the answer to CONNECT is none".into())),
        }
        let subscribing = session.subscribe();
        timeout(ANSWER_LIMIT, subscribing).await.map_err(|_| SessionError::Silent("SUBSCRIBE"))??;
        Ok(session)
    }

    async fn subscribe(&mut self) -> Result<(), SessionError> {
        let entries = SUBSCRIPTIONS
            .iter()
            .map(|filter| SubEntry::new(*filter, SubOpts::new().set_qos(Qos::AtMostOnce)));
        let subscribe = v3_1_1::Subscribe::builder()
            .packet_id(self.protocol.acquire_packet_id().map_err(wrong)?)
            .entries(entries.collect::<Result<Vec<_>, _>>().map_err(wrong)?)
            .build()
            .map_err(wrong)?;
        self.send(subscribe.into()).await?;
        // Offers may overtake the acknowledgement: they are kept.
        let mut before = Vec::new();
        let acknowledgement = loop {
            match self.packet().await? {
                Packet::V3_1_1Suback(ack) => break ack,
                _ if before.len() == MOST_BETWEEN => {
                    return Err(SessionError::Protocol("it answers a SUBSCRIBE with other packets".into()));
                }
                other => before.push(other),
            }
        };
        before.into_iter().rev().for_each(|packet| self.received.push_front(packet));
        // The second filter is one that no client needs.
        match acknowledgement.return_codes().first() {
            Some(SubackReturnCode::Failure) | None => Err(SessionError::Refused(Refusal::NoStreams)),
            Some(_) => Ok(()),
        }
    }

    /// Asks for no more offers, and gives those that came before the hub knew of it.
    ///
    /// # Errors
    /// Why the session has ended.
    pub(crate) async fn unsubscribe(&mut self) -> Result<Vec<Result<Offer, BadOffer>>, SessionError> {
        let unsubscribe = v3_1_1::Unsubscribe::builder()
            .packet_id(self.protocol.acquire_packet_id().map_err(wrong)?)
            .entries(SUBSCRIPTIONS)
            .map_err(wrong)?
            .build()
            .map_err(wrong)?;
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
        timeout(ANSWER_LIMIT, collecting).await.map_err(|_| SessionError::Silent("UNSUBSCRIBE"))?
    }

    /// The next offer, or one that cannot be read.
    ///
    /// Cancel-safe: what has been read of a packet stays with the session.
    ///
    /// # Errors
    /// Why the session has ended.
    pub(crate) async fn offer(&mut self) -> Result<Result<Offer, BadOffer>, SessionError> {
        loop {
            if let Packet::V3_1_1Publish(publish) = self.packet().await?
                && let Some(offer) = Offer::parse(publish.topic_name())
            {
                return Ok(offer);
            }
        }
    }

    /// Publishes an answer at QoS 0, with an empty payload [S].
    ///
    /// Not cancel-safe.
    ///
    /// # Errors
    /// Why the session has ended.
    pub(crate) async fn publish(&mut self, topic: &str) -> Result<(), SessionError> {
        let publish = v3_1_1::Publish::builder().topic_name(topic).map_err(wrong)?.qos(Qos::AtMostOnce);
        self.send(publish.build().map_err(wrong)?.into()).await
    }

    /// Takes leave of the hub.
    pub(crate) async fn end(mut self) {
        if let Ok(disconnect) = v3_1_1::Disconnect::builder().build() {
            // The hub learns it from the closed connection otherwise.
            let _ = self.send(disconnect.into()).await;
        }
        let _ = self.io.shutdown().await;
    }

    async fn packet(&mut self) -> Result<Packet, SessionError> {
        loop {
            // Acknowledgements first. This may be given up at each await: nothing is in a local variable then.
            self.write().await?;
            if let Some(packet) = self.received.pop_front() {
                return Ok(packet);
            }
            if !self.unread.is_empty() {
                let mut cursor = Cursor::new(&self.input[self.unread.clone()]);
                let events = self.protocol.recv(&mut cursor);
                self.unread.start += usize::try_from(cursor.position()).unwrap_or(usize::MAX);
                self.take(events)?;
                continue;
            }
            let timer = [self.ping_at, self.answer_by].into_iter().flatten().min();
            tokio::select! {
                count = self.io.read(&mut self.input) => {
                    let count = count?;
                    if count == 0 {
                        return Err(SessionError::Network(std::io::ErrorKind::UnexpectedEof.into()));
                    }
                    self.unread = 0..count;
                }
                () = sleep_until(timer.unwrap_or_else(Instant::now)), if timer.is_some() => {
                    if self.answer_by.is_some_and(|by| by <= Instant::now()) {
                        return Err(SessionError::Silent("PINGREQ"));
                    }
                    self.ping_at = None;
                    let events = self.protocol.notify_timer_fired(TimerKind::PingreqSend);
                    self.take(events)?;
                }
            }
        }
    }

    async fn send(&mut self, packet: Packet) -> Result<(), SessionError> {
        let events = self.protocol.send(packet);
        self.take(events)?;
        self.write().await
    }

    /// Writes what is to be written. Cancel-safe.
    async fn write(&mut self) -> Result<(), SessionError> {
        if self.output.is_empty() {
            return Ok(());
        }
        let sending = async {
            while !self.output.is_empty() {
                self.io.write_buf(&mut self.output).await?;
            }
            self.io.flush().await
        };
        Ok(timeout(ANSWER_LIMIT, sending).await.map_err(|_| SessionError::Silent("a packet"))??)
    }

    /// Does what the state machine asks for.
    fn take(&mut self, events: Vec<Event>) -> Result<(), SessionError> {
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
                        // Another ping gives no more time to answer the first.
                        TimerKind::PingrespRecv => self.answer_by = self.answer_by.or(at),
                        TimerKind::PingreqRecv => {}
                    }
                }
                Event::RequestTimerCancel(TimerKind::PingreqSend) => self.ping_at = None,
                Event::RequestTimerCancel(TimerKind::PingrespRecv) => self.answer_by = None,
                Event::NotifyError(error) => return Err(wrong(error)),
                Event::RequestClose => return Err(SessionError::Protocol("it broke MQTT".into())),
                Event::NotifyPacketIdReleased(_) | Event::RequestTimerCancel(_) => {}
            }
        }
        Ok(())
    }
}

fn wrong(error: MqttError) -> SessionError {
    SessionError::Protocol(format!("MQTT: {error}"))
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
mod tests {
    use super::*;
    use crate::backend::iothub::proto::{HubAddress, Identity};
    use tokio::io::{DuplexStream, duplex};

    const OFFER: &str = "$iothub/streams/POST/ssh/?$rid=7&$url=wss%3A%2F%2Fh&$auth=t";

    fn publish(topic: &str) -> Vec<u8> {
        let length = u8::try_from(topic.len()).unwrap();
        [&[0x30, length + 2, 0, length], topic.as_bytes()].concat()
    }

    /// A hub that takes a device in, and sends offers before it acknowledges the subscription.
    async fn taken_in(hub: &mut DuplexStream, before: usize) {
        let mut packet = [0; 1024];
        assert!(hub.read(&mut packet).await.unwrap() > 0);
        hub.write_all(&[0x20, 2, 0, 0]).await.unwrap();
        assert!(hub.read(&mut packet).await.unwrap() > 0);
        let (high, low) = (packet[2], packet[3]);
        // The device may have had enough.
        let _ = hub.write_all(&publish(OFFER).repeat(before)).await;
        let _ = hub.write_all(&[0x90, 4, high, low, 0, 0]).await;
    }

    async fn begun(device: DuplexStream) -> Result<Session<DuplexStream>, SessionError> {
        let login = Login { client_id: "dev-1".into(), username: "hub/dev-1".into() };
        Session::begin(device, &login, None, Duration::from_secs(60)).await
    }

    #[tokio::test(start_paused = true)]
    async fn what_comes_before_an_acknowledgement_is_kept_within_bounds() {
        let (device, mut hub) = duplex(1 << 20);
        let ((), session) = tokio::join!(taken_in(&mut hub, 2), begun(device));
        let mut session = session.unwrap();
        for _ in 0..2 {
            assert_eq!(session.offer().await.unwrap().unwrap().stream, "ssh");
        }
        let (device, mut hub) = duplex(1 << 20);
        let ((), session) = tokio::join!(taken_in(&mut hub, 1000), begun(device));
        assert!(matches!(session, Err(SessionError::Protocol(_))));
    }

    #[tokio::test(start_paused = true)]
    async fn a_burst_at_qos_1_is_taken_though_each_wait_for_it_is_given_up() {
        const OFFERS: u16 = 300;
        let (device, mut hub) = duplex(256);
        let ((), session) = tokio::join!(taken_in(&mut hub, 0), begun(device));
        let mut session = session.unwrap();
        let (mut from_device, mut to_device) = tokio::io::split(hub);
        let sending = async {
            for id in 1..=OFFERS {
                let [high, low] = id.to_be_bytes();
                let mut packet = publish(OFFER);
                packet[0] = 0x32;
                packet[1] += 2;
                packet.extend([high, low]);
                to_device.write_all(&packet).await.unwrap();
            }
        };
        let acknowledged = async {
            let mut all = vec![0; 4 * usize::from(OFFERS)];
            from_device.read_exact(&mut all).await.unwrap();
            all
        };
        let taking = async {
            let mut taken = 0;
            while taken < OFFERS {
                tokio::select! {
                    biased;
                    offer = session.offer() => taken += u16::from(offer.unwrap().is_ok()),
                    () = tokio::task::yield_now() => {}
                }
            }
            // The last acknowledgements go out with the next packet's wait.
            let _ = timeout(Duration::from_secs(1), session.offer()).await;
        };
        let ((), acknowledged, ()) = tokio::join!(sending, acknowledged, taking);
        let ids = acknowledged.chunks(4).map(|packet| u16::from_be_bytes([packet[2], packet[3]]));
        assert!(ids.eq(1..=OFFERS));
    }

    #[tokio::test(start_paused = true)]
    async fn offers_in_the_face_of_a_farewell_are_rejected_beyond_a_few() {
        let (device, mut hub) = duplex(1 << 20);
        let ((), session) = tokio::join!(taken_in(&mut hub, 0), begun(device));
        let mut session = session.unwrap();
        let flooding = async {
            let mut packet = [0; 4];
            hub.read_exact(&mut packet).await.unwrap();
            hub.write_all(&publish(OFFER).repeat(MOST_BETWEEN + 10)).await.unwrap();
            hub.write_all(&[0xb0, 2, packet[2], packet[3]]).await.unwrap();
            let mut answers = Vec::new();
            while !answers.ends_with(&publish("$iothub/streams/res/400/?$rid=7").repeat(10)) {
                assert!(hub.read_buf(&mut answers).await.unwrap() > 0, "ten rejections");
            }
        };
        let (offers, ()) = tokio::join!(session.unsubscribe(), flooding);
        assert_eq!(offers.unwrap().len(), MOST_BETWEEN);
    }

    #[tokio::test]
    async fn what_comes_at_qos_1_is_acknowledged() {
        let (near, mut hub) = tokio::io::duplex(4096);
        let identity = Identity::new("dev-1", None).unwrap();
        let login = Login::new(&HubAddress::parse("hub").unwrap(), &identity, "test");
        let topic = "$iothub/streams/POST/ssh/?$rid=1&$url=wss%3A%2F%2Fg%2Fx&$auth=t";
        /// A packet's first byte and body.
        async fn next(hub: &mut tokio::io::DuplexStream) -> (u8, Vec<u8>) {
            let (head, length) = (hub.read_u8().await.unwrap(), hub.read_u8().await.unwrap());
            // None is so long that its length takes more than two bytes.
            let more = if length & 0x80 == 0 { 0 } else { hub.read_u8().await.unwrap() };
            let mut body = vec![0; usize::from(length & 0x7f) + usize::from(more) * 128];
            hub.read_exact(&mut body).await.unwrap();
            (head, body)
        }
        let serve = async {
            assert_eq!(next(&mut hub).await.0, 0x10);
            hub.write_all(&[0x20, 2, 0, 0]).await.unwrap();
            let (head, subscribe) = next(&mut hub).await;
            assert_eq!(head, 0x82);
            hub.write_all(&[0x90, 4, subscribe[0], subscribe[1], 0, 0]).await.unwrap();
            let body = [&[0, u8::try_from(topic.len()).unwrap()], topic.as_bytes(), &[0, 9]].concat();
            hub.write_all(&[&[0x32, u8::try_from(body.len()).unwrap()][..], &body].concat()).await.unwrap();
            next(&mut hub).await
        };
        let device = async {
            let mut session = Session::begin(near, &login, None, Duration::from_secs(60)).await.unwrap();
            let offer = session.offer().await.unwrap().unwrap();
            (session, offer.stream)
        };
        let (acknowledged, (_session, stream)) = tokio::join!(serve, device);
        assert_eq!((acknowledged, stream.as_str()), ((0x40, vec![0, 9]), "ssh"));
    }
}
