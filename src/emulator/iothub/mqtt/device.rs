//! A device or module that has logged in.

use std::sync::Arc;

use mqtt_protocol_core::mqtt::packet::Qos;
use tokio::time::Instant;

use crate::backend::iothub::proto::{SUBSCRIPTIONS, parse_decision};
use crate::emulator::iothub::hub::Hub;
use crate::emulator::iothub::hub_connections::HubConnection;
use crate::emulator::mqtt::{Connect, LoggedIn, Message, NextMessage, Refusal, Service};

/// A device's requests to its twin, and where the answers and the changes of it go \[D]\[S].
const TWIN_GET: &str = "$iothub/twin/GET/";
const TWIN_REPORT: &str = "$iothub/twin/PATCH/properties/reported/";
const TWIN_ANSWERS: &str = "$iothub/twin/res/#";
const TWIN_DESIRED: &str = "$iothub/twin/PATCH/properties/desired/#";

/// A device or module that has logged in.
pub(super) struct Device {
    pub(super) hub: Arc<Hub>,
    pub(super) connection: HubConnection,
    expiry: Option<Instant>,
    /// Whether it is subscribed to the answers to its requests to its twin.
    pub(super) twin_answers: bool,
    /// Whether the hub has refused it twins.
    no_twins: bool,
}

impl Service for Hub {
    /// Every login: one that is for no device of the hub is refused in its own form.
    fn serves(&self, _: Option<&str>) -> bool {
        true
    }

    fn log_in(self: Arc<Self>, connect: &Connect<'_>) -> Result<Box<dyn LoggedIn>, Refusal> {
        let login = self.check_login(connect)?;
        let clock = self.faults.clock;
        let expiry = login.expiry.map(|expiry| clock.instant(expiry));
        let authority = connect.peer.authority.clone();
        let authority = authority.unwrap_or_else(|| self.address.authority_as(&login.hub));
        let now = clock.now();
        self.registry.touch(&login.identity, now);
        let connection = self.connections.connect(&login.identity, authority, now);
        log::info!("mqtt: {} is online", login.identity);
        Ok(Box::new(Device { hub: self, connection, expiry, twin_answers: false, no_twins: false }))
    }
}

impl Device {
    pub(super) fn is_refused_twins(&mut self) -> bool {
        self.no_twins = self.no_twins || self.hub.faults.no_twins.take().is_some();
        self.no_twins
    }

    fn set_subscribed(&mut self, filter: &str, subscribed: bool) {
        match filter {
            TWIN_ANSWERS => self.twin_answers = subscribed,
            TWIN_DESIRED => self.connection.set_wants_desired(subscribed),
            _ if filter == SUBSCRIPTIONS[0] => self.connection.set_subscribed(subscribed),
            _ => {}
        }
    }
}

impl LoggedIn for Device {
    fn name(&self) -> String {
        self.connection.identity().to_string()
    }

    fn expiry(&self) -> Option<Instant> {
        self.expiry
    }

    fn subscribe(&mut self, filter: &str, qos: Qos) -> Option<Qos> {
        // Whether a hub of the Basic tier refuses this is not known [~].
        if filter == TWIN_ANSWERS && self.is_refused_twins() {
            return None;
        }
        self.set_subscribed(filter, true);
        if SUBSCRIPTIONS.contains(&filter) {
            return Some(Qos::AtMostOnce);
        }
        // Methods and messages are not emulated, but SDKs subscribe to them.
        let is_known = filter.starts_with("$iothub/") || filter.starts_with("devices/");
        is_known.then(|| if qos == Qos::AtMostOnce { qos } else { Qos::AtLeastOnce })
    }

    /// The C SDK unsubscribes when its program waits for no stream \[S].
    fn unsubscribe(&mut self, filter: &str) {
        self.set_subscribed(filter, false);
    }

    fn publish(&mut self, topic: &str, payload: &[u8]) -> Result<Option<Message>, &'static str> {
        if let Some(query) = topic.strip_prefix(TWIN_GET) {
            return self.twin_or_fault(query, None);
        }
        if let Some(query) = topic.strip_prefix(TWIN_REPORT) {
            return self.twin_or_fault(query, Some(payload));
        }
        if let Some((decision, request_id)) = parse_decision(topic) {
            self.connection.answer(request_id, decision);
        }
        Ok(None)
    }

    fn next_message(&mut self) -> NextMessage<'_> {
        Box::pin(async {
            // The hub has one hub connection for each identity [D].
            let message = self.connection.message().await;
            message.ok_or("it has logged in again, or is removed or disabled")
        })
    }
}
