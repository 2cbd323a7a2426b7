//! `/devices` and `/statistics`: a service lists, registers and removes devices and modules.

use hyper::header::IF_MATCH;
use hyper::http::request::Parts;
use hyper::{Method, StatusCode};
use serde_json::{Map, Value, json};

use super::answers::{has_changed, json_answer, not_registered, refused, tagged_answer};
use super::credentials;
use super::if_match::if_match;
use crate::backend::iothub::proto::{Code, HubFailure, Identity};
use crate::emulator::iothub::hub::Hub;
use crate::emulator::iothub::registry::Registration;
use crate::emulator::server::{Answer, empty};

/// How many identities a list has at most.
const MAX_LIST: usize = 1000;
/// Members of a description that are kept besides status and authentication.
const DETAILS: [&str; 3] = ["capabilities", "managedBy", "statusReason"];

impl Hub {
    /// Answers with the list of devices, at most as many as the query's `top` says.
    pub(super) fn all_devices(&self, query: &str, shows_keys: bool) -> Answer {
        let top = query.split('&').find_map(|pair| pair.strip_prefix("top=")?.parse().ok());
        // Any other number counts as the largest [D].
        let limit = top.filter(|top| (1..=MAX_LIST).contains(top)).unwrap_or(MAX_LIST);
        self.list(limit, shows_keys, |identity| identity.module().is_none())
    }

    /// Answers with the list of a device's modules.
    pub(super) fn modules(&self, device: &str, shows_keys: bool) -> Answer {
        let device = self.identity(device, None).filter(|device| self.registry.get(device).is_some());
        match device {
            None => self.failure(not_registered(None), None),
            Some(device) => self.list(MAX_LIST, shows_keys, |identity| {
                identity.module().is_some() && identity.device() == device.device()
            }),
        }
    }

    fn list(&self, limit: usize, shows_keys: bool, belongs: impl Fn(&Identity) -> bool) -> Answer {
        let found = self.registry.find(None, limit, |identity, registration| {
            belongs(identity).then(|| self.describe_in_registry(identity, registration, shows_keys))
        });
        json_answer(&found.into_iter().map(|(_, entry)| entry).collect())
    }

    /// Answers with a device or module, after a `PUT` that registers or changes it, or a `DELETE` that removes it.
    pub(super) fn registered(
        &self,
        request: &Parts,
        device: &str,
        module: Option<&str>,
        body: &[u8],
        shows_keys: bool,
    ) -> Answer {
        let answered = self.identity(device, module).ok_or_else(|| invalid("The id is invalid."));
        let answered = answered.and_then(|identity| {
            match request.method {
                Method::PUT => self.put(request, &identity, body)?,
                Method::DELETE => return self.delete(request, &identity),
                _ => {}
            }
            let registration =
                self.registry.get(&identity).ok_or_else(|| not_registered(identity.module()))?;
            let entry = self.describe_in_registry(&identity, &registration, shows_keys);
            Ok(tagged_answer(&entry, &registration.etag()))
        });
        answered.unwrap_or_else(|refusal| self.failure(refusal, None))
    }

    fn put(&self, request: &Parts, identity: &Identity, body: &[u8]) -> Result<(), HubFailure> {
        let description: Value = match body {
            [] => Value::Null,
            _ => serde_json::from_slice(body).map_err(|_| invalid("The body is not JSON."))?,
        };
        let now = self.faults.clock.now();
        match (self.registry.get(identity), identity.module()) {
            (Some(registration), module) => {
                let has_condition = check_etag(request, &registration)?;
                // A choice: a body that names no device, which the service refuses, changes what there is.
                if !has_condition && !description["deviceId"].is_null() {
                    let code = if module.is_some() { Code(409_301) } else { Code(409_001) };
                    return Err(refused(code, "It is already registered."));
                }
            }
            (None, module) => {
                if request.headers.contains_key(IF_MATCH) {
                    return Err(not_registered(module));
                }
                let device = module.and_then(|_| Identity::new(identity.device(), None).ok());
                if device.is_some_and(|device| self.registry.get(&device).is_none()) {
                    return Err(not_registered(None));
                }
            }
        }
        let authentication = credentials::parse(&description["authentication"]);
        let registered = match authentication.map_err(|problem| invalid(&problem))? {
            None => self.registry.register(identity, now),
            Some(authentication) => self.registry.register_with(identity, authentication, now),
        };
        registered.map_err(|error| invalid(&error.to_string()))?;
        let enabled = description["status"] != "disabled";
        let details = DETAILS.into_iter().filter_map(|key| {
            let value = description.get(key).filter(|value| !value.is_null())?;
            Some((key.to_owned(), value.clone()))
        });
        let details = Map::from_iter(details);
        self.registry.change(identity, now, |registration| {
            registration.enabled = enabled;
            registration.details = details;
        });
        if !enabled {
            self.connections.disconnect(identity);
        }
        Ok(())
    }

    fn delete(&self, request: &Parts, identity: &Identity) -> Result<Answer, HubFailure> {
        let registration = self.registry.get(identity).ok_or_else(|| not_registered(identity.module()))?;
        check_etag(request, &registration)?;
        let gone = self.registry.remove(identity);
        for identity in gone.map_err(|error| refused(Code(500_001), &error.to_string()))? {
            self.connections.disconnect(&identity);
        }
        Ok(empty(StatusCode::NO_CONTENT))
    }

    /// Answers with the number of devices, or of those that are connected.
    pub(super) fn statistics(&self, of: &str) -> Answer {
        let (all, enabled) = self.registry.count();
        json_answer(&match of {
            "devices" => json!({
                "totalDeviceCount": all,
                "enabledDeviceCount": enabled,
                "disabledDeviceCount": all - enabled,
            }),
            _ => json!({ "connectedDeviceCount": self.connections.count() }),
        })
    }
}

/// Checks the etag of a request. Returns whether it has one, or the asterisk for any.
fn check_etag(request: &Parts, registration: &Registration) -> Result<bool, HubFailure> {
    match if_match(&request.headers, &registration.etag()) {
        Some(false) => Err(has_changed()),
        matches => Ok(matches.is_some()),
    }
}

fn invalid(problem: &str) -> HubFailure {
    refused(Code::ARGUMENT_INVALID, problem)
}
