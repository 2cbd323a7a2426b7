//! What the REST API tells of devices: the registry, their twins, and the one query that lists them.

use http_body_util::Full;
use hyper::header::{CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use hyper::{Method, Response, StatusCode};
use serde_json::{Value, json};

use crate::clock;
use crate::iothub::{Code, Identity};

use super::Hub;
use super::registry::Registration;
use super::rest::Answer;

/// A page of a query's result at most, and where the request does not say.
const MAX_PAGE: usize = 1000;
const PAGE: usize = 100;
const MAX_ITEM_COUNT: &str = "x-ms-max-item-count";
const CONTINUATION: HeaderName = HeaderName::from_static("x-ms-continuation");

impl Hub {
    pub(super) fn all_devices(&self) -> Answer {
        let devices = self.registry.devices(None, MAX_PAGE);
        json_answer(&devices.iter().map(|(id, device)| self.describe(id, device)).collect())
    }

    pub(super) fn device(&self, method: &Method, id: &str, body: &[u8]) -> Answer {
        let Some(identity) = self.identity(id, None) else {
            return self.problem(400, Some(Code::ARGUMENT_INVALID), "No device can have this id.");
        };
        if *method == Method::PUT {
            let description: Value = match body {
                [] => Value::Null,
                _ => match serde_json::from_slice(body) {
                    Ok(description) => description,
                    Err(_) => {
                        return self.problem(400, Some(Code::ARGUMENT_INVALID), "The body is not JSON.");
                    }
                },
            };
            if let Err(error) = self.registry.register(&identity) {
                return self.problem(400, Some(Code::ARGUMENT_INVALID), &error.to_string());
            }
            let enabled = description["status"] != "disabled";
            self.registry.set_enabled(&identity, enabled);
            if !enabled {
                self.links.disconnect(&identity);
            }
        }
        let Some(registration) = self.registry.get(&identity) else {
            return self.problem(404, Some(Code::DEVICE_NOT_FOUND), "The device is not registered.");
        };
        if *method == Method::DELETE {
            return match self.registry.remove(&identity) {
                Ok(gone) => {
                    for identity in gone {
                        self.links.disconnect(&identity);
                    }
                    let mut answer = Response::new(Full::default());
                    *answer.status_mut() = StatusCode::NO_CONTENT;
                    answer
                }
                Err(error) => self.problem(500, Some(Code(500_001)), &error.to_string()),
            };
        }
        json_answer(&self.describe(&identity, &registration))
    }

    pub(super) fn twin(&self, device: &str, module: Option<&str>) -> Answer {
        let identity = self.identity(device, module);
        match identity.as_ref().and_then(|identity| Some((identity, self.registry.get(identity)?))) {
            Some((identity, registration)) => json_answer(&self.describe(identity, &registration)),
            None => {
                let code = if module.is_some() { Code::MODULE_NOT_FOUND } else { Code::DEVICE_NOT_FOUND };
                self.problem(404, Some(code), "It is not registered.")
            }
        }
    }

    /// Answers the one query that lists all devices, page by page: the token is the last id of the page before.
    pub(super) fn query(&self, headers: &HeaderMap, body: &[u8]) -> Answer {
        let description: Value = serde_json::from_slice(body).unwrap_or_default();
        let words = description["query"].as_str().unwrap_or_default().to_ascii_lowercase();
        if words.split_whitespace().collect::<Vec<_>>() != ["select", "*", "from", "devices"] {
            let message = "The emulator knows one query: SELECT * FROM devices.";
            return self.problem(400, Some(Code::ARGUMENT_INVALID), message);
        }
        let page = match headers.get(MAX_ITEM_COUNT).map(|count| count.to_str().unwrap_or_default().parse()) {
            None => PAGE,
            Some(Ok(count @ 1..)) => MAX_PAGE.min(count),
            Some(_) => {
                return self.problem(400, Some(Code::ARGUMENT_INVALID), "x-ms-max-item-count is no count.");
            }
        };
        let last = match headers.get(CONTINUATION).map(HeaderValue::as_bytes) {
            None | Some(b"") => None,
            Some(token) => {
                let last = data_encoding::BASE64URL_NOPAD.decode(token).ok();
                match last.and_then(|last| String::from_utf8(last).ok()) {
                    Some(last) => Some(last),
                    None => {
                        return self.problem(
                            400,
                            Some(Code::ARGUMENT_INVALID),
                            "The continuation is not ours.",
                        );
                    }
                }
            }
        };
        let mut devices = self.registry.devices(last.as_deref(), page + 1);
        let more = devices.len() > page;
        devices.truncate(page);
        let mut answer = json_answer(&devices.iter().map(|(id, device)| self.describe(id, device)).collect());
        if let (true, Some((last, _))) = (more, devices.last()) {
            let token = data_encoding::BASE64URL_NOPAD.encode(last.device().as_bytes());
            if let Ok(token) = HeaderValue::from_str(&token) {
                answer.headers_mut().insert(CONTINUATION, token);
            }
        }
        answer
    }

    /// A device as the registry and its twin show it; its keys are in the emulator's directory only.
    fn describe(&self, identity: &Identity, registration: &Registration) -> Value {
        let online = self.links.is_online(identity);
        let last = registration.last_activity.map(clock::iso8601);
        let mut twin = json!({
            "deviceId": identity.device(),
            "status": if registration.enabled { "enabled" } else { "disabled" },
            "connectionState": if online { "Connected" } else { "Disconnected" },
            // The service's "never" [D].
            "lastActivityTime": last.as_deref().unwrap_or("0001-01-01T00:00:00Z"),
            "authenticationType": "sas",
            "tags": {},
            "properties": { "desired": {}, "reported": {} },
        });
        if let Some(module) = identity.module() {
            twin["moduleId"] = module.into();
        }
        twin
    }
}

fn json_answer(value: &Value) -> Answer {
    let mut answer = Response::new(Full::from(value.to_string()));
    answer.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json; charset=utf-8"));
    answer
}
