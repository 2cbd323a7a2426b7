//! A service that clients log in to over MQTT.

use std::pin::Pin;
use std::sync::Arc;

use mqtt_protocol_core::mqtt::packet::Qos;
use tokio::time::Instant;

use crate::emulator::client_certificate::ClientCertificate;

/// A service that clients of MQTT log in to.
pub(in crate::emulator) trait Service: Send + Sync + 'static {
    /// Whether logins with this user name go to this service.
    fn serves(&self, user_name: Option<&str>) -> bool;

    /// Checks a login.
    ///
    /// # Errors
    /// Why the client may not log in.
    fn log_in(self: Arc<Self>, connect: &Connect<'_>) -> Result<Box<dyn LoggedIn>, Refusal>;
}

/// What the login of a client says.
#[derive(Debug)]
pub(in crate::emulator) struct Connect<'a> {
    pub(in crate::emulator) client_id: &'a str,
    pub(in crate::emulator) user_name: Option<&'a str>,
    pub(in crate::emulator) password: Option<&'a [u8]>,
    pub(in crate::emulator) peer: &'a Peer,
}

/// The connection of a client.
#[derive(Debug)]
pub(in crate::emulator) struct Peer {
    /// Where the client reached the HTTPS port, if it came that way.
    pub(in crate::emulator) authority: Option<String>,
    /// The certificate that it has shown.
    pub(in crate::emulator) certificate: Option<ClientCertificate>,
}

/// Why a client may not log in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::emulator) enum Refusal {
    /// The client id names no identity: CONNACK 2.
    ClientId,
    /// The user name or the password is malformed: CONNACK 4.
    Malformed,
    /// Anything else: CONNACK 5.
    NotAuthorized(&'static str),
}

impl Refusal {
    /// The reason, for the log.
    pub(in crate::emulator) fn reason(self) -> &'static str {
        match self {
            Refusal::ClientId => "the client id names no device",
            Refusal::Malformed => "the user name or the password is malformed",
            Refusal::NotAuthorized(reason) => reason,
        }
    }
}

/// A client that has logged in, as its service knows it. Dropping it takes the client offline.
pub(in crate::emulator) trait LoggedIn: Send {
    /// Who it is, for the log.
    fn name(&self) -> String;

    /// When the service ends the connection.
    fn expiry(&self) -> Option<Instant>;

    /// Subscribes the client. Returns the QoS that is granted, at most 1; `None` refuses the filter.
    fn subscribe(&mut self, filter: &str, qos: Qos) -> Option<Qos>;

    /// Ends a subscription.
    fn unsubscribe(&mut self, filter: &str);

    /// Takes a message of the client, and returns one to send back at once.
    ///
    /// # Errors
    /// Why the service ends the connection.
    fn publish(&mut self, topic: &str, payload: &[u8]) -> Result<Option<Message>, &'static str>;

    /// The next message for the client. Cancel-safe. The error is why the service ends the connection.
    fn next_message(&mut self) -> NextMessage<'_>;

    /// Whether the client may acknowledge messages of QoS 0, with the packet id 0, which is no MQTT.
    fn acknowledges_qos_0(&self) -> bool {
        false
    }
}

/// A message that is awaited.
pub(in crate::emulator) type NextMessage<'a> =
    Pin<Box<dyn Future<Output = Result<Message, &'static str>> + Send + 'a>>;

/// A message that a service publishes.
#[derive(Debug)]
pub(in crate::emulator) struct Message {
    pub(in crate::emulator) topic: String,
    pub(in crate::emulator) payload: Vec<u8>,
    pub(in crate::emulator) qos: Qos,
}

impl Message {
    /// A message of QoS 0.
    pub(in crate::emulator) fn new(topic: String, payload: Vec<u8>) -> Self {
        Self { topic, payload, qos: Qos::AtMostOnce }
    }
}
