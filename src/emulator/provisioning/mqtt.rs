//! The service over MQTT \[D]\[S]\[C].

use std::sync::Arc;

use mqtt_protocol_core::mqtt::packet::Qos;
use percent_encoding::percent_decode_str;
use tokio::time::Instant;

use super::faults::RequestFault;
use super::http::GARBAGE;
use super::request::{Action, Proof, Request};
use super::service::Provisioning;
use crate::backend::provisioning::dps::proto::RegistrationId;
use crate::emulator::client_certificate::ClientCertificate;
use crate::emulator::mqtt::{Connect, LoggedIn, Message, NextMessage, Refusal, Service};
use crate::secret::Secret;

/// The filter of the answers.
const ANSWERS: &str = "$dps/registrations/res/#";
/// The topics of requests, up to their properties.
const REGISTER: &str = "$dps/registrations/PUT/iotdps-register/?";
const POLL: &str = "$dps/registrations/GET/iotdps-get-operationstatus/?";

/// A user name: `{scope}/registrations/{id}/api-version=…`.
struct UserName<'a> {
    scope: &'a str,
    id: &'a str,
    query: &'a str,
}

impl<'a> UserName<'a> {
    fn parse(text: &'a str) -> Option<Self> {
        let mut parts = text.splitn(4, '/');
        let (scope, registrations, id) = (parts.next()?, parts.next()?, parts.next()?);
        let query = parts.next().unwrap_or_default();
        registrations.eq_ignore_ascii_case("registrations").then_some(Self { scope, id, query })
    }
}

/// A device that has logged in to register.
struct Registrant {
    service: Arc<Provisioning>,
    id: RegistrationId,
    token: Option<Secret>,
    certificate: Option<ClientCertificate>,
    /// The QoS of the answers; `None` until it is subscribed to them.
    answers: Option<Qos>,
}

impl Service for Provisioning {
    /// A device may be called `registrations`, but then the user name begins with the hub's name.
    fn serves(&self, user_name: Option<&str>) -> bool {
        user_name.and_then(UserName::parse).is_some_and(|name| !self.hub.is_named(name.scope))
    }

    fn log_in(self: Arc<Self>, connect: &Connect<'_>) -> Result<Box<dyn LoggedIn>, Refusal> {
        let UserName { scope, id, query } =
            connect.user_name.and_then(UserName::parse).ok_or(Refusal::Malformed)?;
        if !query.trim_start_matches('?').starts_with("api-version=") {
            return Err(Refusal::Malformed);
        }
        if !scope.eq_ignore_ascii_case(&self.enrolments.scope) {
            return Err(Refusal::NotAuthorized("there is no such id scope"));
        }
        let id = percent_decode_str(id).decode_utf8_lossy();
        let id: RegistrationId = id.parse().map_err(|_| Refusal::ClientId)?;
        if !connect.client_id.eq_ignore_ascii_case(id.as_str()) {
            return Err(Refusal::NotAuthorized("the client id is not the registration id"));
        }
        let token = connect.password.filter(|password| !password.is_empty());
        let certificate = connect.peer.certificate.clone();
        if !self.faults.provisioning.late_token {
            let proof = Proof { token, certificate: certificate.as_ref() };
            let now = self.faults.clock.now();
            self.enrolments.attest(&id, proof, now).map_err(Refusal::NotAuthorized)?;
        }
        let token = token.map(|token| Secret::new(String::from_utf8_lossy(token)));
        let registrant = Registrant { service: self, id, token, certificate, answers: None };
        log::info!("mqtt: {} is online", registrant.name());
        Ok(Box::new(registrant))
    }
}

impl LoggedIn for Registrant {
    fn name(&self) -> String {
        format!("registration {}", self.id)
    }

    /// The token is checked at each request.
    fn expiry(&self) -> Option<Instant> {
        None
    }

    fn subscribe(&mut self, filter: &str, qos: Qos) -> Option<Qos> {
        if filter != ANSWERS {
            return None;
        }
        self.answers = Some(if qos == Qos::AtMostOnce { qos } else { Qos::AtLeastOnce });
        self.answers
    }

    fn unsubscribe(&mut self, filter: &str) {
        if filter == ANSWERS {
            self.answers = None;
        }
    }

    fn publish(&mut self, topic: &str, payload: &[u8]) -> Result<Option<Message>, &'static str> {
        let unknown = || {
            log::info!("dps: {}: the topic {topic:?} is not known", self.id);
            Ok(None)
        };
        let (is_poll, query) = match (topic.strip_prefix(REGISTER), topic.strip_prefix(POLL)) {
            (Some(query), _) => (false, query),
            (_, Some(query)) => (true, query),
            _ => return unknown(),
        };
        let property = |name: &str| query.split('&').find_map(|pair| pair.strip_prefix(name));
        let Some(rid) = property("$rid=") else { return unknown() };
        let action = if is_poll {
            let operation = property("operationId=").unwrap_or_default();
            Action::Poll(percent_decode_str(operation).decode_utf8_lossy().into_owned())
        } else {
            Action::Register(payload)
        };
        let (status, retry_after, payload) = match self.service.faults.provisioning.request.take() {
            Some(fault) => {
                log::info!("dps: {}: {}: {fault:?}", self.id, action.name());
                match fault {
                    RequestFault::Silent => return Ok(None),
                    RequestFault::Drop => return Err("the emulator was asked for this"),
                    RequestFault::Garbage => (200, None, GARBAGE.to_owned()),
                }
            }
            None => self.answer(action),
        };
        let retry_after = retry_after.map_or_else(String::new, |after| format!("&retry-after={after}"));
        let topic = format!("$dps/registrations/res/{status}/?$rid={rid}{retry_after}");
        Ok(self.answers.map(|qos| Message { topic, payload: payload.into_bytes(), qos }))
    }

    /// Every message answers a request.
    fn next_message(&mut self) -> NextMessage<'_> {
        Box::pin(std::future::pending())
    }

    /// The C# client does \[C].
    fn acknowledges_qos_0(&self) -> bool {
        true
    }
}

impl Registrant {
    /// The status, the seconds after which to ask again, and the payload of the answer.
    fn answer(&self, action: Action<'_>) -> (u16, Option<u32>, String) {
        let token = self.token.as_ref().map(|token| token.expose().as_bytes());
        let proof = Proof { token, certificate: self.certificate.as_ref() };
        match self.service.respond(&Request { id: &self.id, proof, action }) {
            Ok(answer) => (answer.status.as_u16(), answer.retry_after, answer.body.to_string()),
            Err(problem) => {
                let body = problem.body(self.service.faults.clock.now());
                (problem.status.as_u16(), problem.retry_after, body.to_string())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn user_names() {
        let parse = |text| UserName::parse(text).map(|name| (name.scope, name.id, name.query));
        let query = "api-version=2019-03-31&ClientVersion=a%2Fb";
        let name = format!("0ne1/registrations/gw-07/{query}");
        assert_eq!(parse(&name), Some(("0ne1", "gw-07", query)));
        assert_eq!(parse("0ne1/registrations/gw-07"), Some(("0ne1", "gw-07", "")));
        for text in ["", "h/dev-1/?api-version=1", "h/registrations", "0ne1/x/gw-07/api-version=1"] {
            assert_eq!(parse(text), None, "{text}");
        }
    }
}
