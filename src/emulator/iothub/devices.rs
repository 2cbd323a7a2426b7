//! What the REST API tells of devices: the registry, their twins, the one query that lists them, and their number.

use http_body_util::Full;
use hyper::header::{CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue, IF_MATCH};
use hyper::http::request::Parts;
use hyper::{Method, Response, StatusCode};
use serde_json::{Value, json};

use crate::backend::iothub::proto::{Code, Identity};
use crate::time::clock;

use super::authentication::Authentication;
use super::hub::Hub;
use super::links::Message;
use super::registry::Registration;
use crate::emulator::client_certificate::Thumbprint;
use crate::emulator::server::Answer;

/// A page of a query's result at most, and where the request does not say.
const MAX_PAGE: usize = 1000;
const PAGE: usize = 100;
const MAX_ITEM_COUNT: &str = "x-ms-max-item-count";
const CONTINUATION: HeaderName = HeaderName::from_static("x-ms-continuation");
/// Without it, .NET's client does not read the answer to a query [C].
const ITEM_TYPE: HeaderName = HeaderName::from_static("x-ms-item-type");

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
            let registered = certificate(&description["authentication"]).and_then(|authentication| {
                let now = self.faults.clock.now();
                let registered = match authentication {
                    None => self.registry.register(&identity, now),
                    Some(authentication) => {
                        self.registry.register_certificate(&identity, authentication, now)
                    }
                };
                registered.map_err(|error| error.to_string())
            });
            if let Err(problem) = registered {
                return self.problem(400, Some(Code::ARGUMENT_INVALID), &problem);
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

    /// Shows a twin, after a change of its tags and desired properties where one comes.
    pub(super) fn twin(&self, request: &Parts, device: &str, module: Option<&str>, body: &[u8]) -> Answer {
        let found = self.identity(device, module);
        let found = found.and_then(|identity| Some((self.registry.get(&identity)?.twin.etag(), identity)));
        let Some((etag, identity)) = found else {
            let code = if module.is_some() { Code::MODULE_NOT_FOUND } else { Code::DEVICE_NOT_FOUND };
            return self.problem(404, Some(code), "It is not registered.");
        };
        if request.method != Method::GET {
            let wanted = request.headers.get(IF_MATCH).and_then(|tag| tag.to_str().ok()).unwrap_or("*");
            // Microsoft's Python and Node clients put the asterisk in quotes as well.
            let wanted = wanted.trim().trim_start_matches("W/").trim_matches('"');
            if wanted != "*" && wanted != etag {
                return self.problem(412, None, "The twin has changed: its etag is another one.");
            }
            let Ok(change) = serde_json::from_slice(body) else {
                return self.problem(400, Some(Code::ARGUMENT_INVALID), "The body is not JSON.");
            };
            let (replace, now) = (request.method == Method::PUT, self.faults.clock.now());
            match self.registry.change_twin(&identity, |twin| twin.update(change, replace, now)) {
                Ok(Some((desired, version))) => {
                    let topic = format!("$iothub/twin/PATCH/properties/desired/?$version={version}");
                    let mut desired = Value::from(desired);
                    desired["$version"] = version.into();
                    let payload = desired.to_string().into_bytes();
                    self.links.publish_desired(&identity, Message { topic, payload });
                }
                Ok(None) => {}
                Err(problem) => return self.problem(400, Some(Code::ARGUMENT_INVALID), &problem),
            }
        }
        match self.registry.get(&identity) {
            Some(registration) => json_answer(&self.describe(&identity, &registration)),
            None => self.problem(404, Some(Code::DEVICE_NOT_FOUND), "It is not registered."),
        }
    }

    pub(super) fn statistics(&self, of: &str) -> Answer {
        let (all, enabled) = self.registry.count();
        json_answer(&match of {
            "devices" => json!({
                "totalDeviceCount": all,
                "enabledDeviceCount": enabled,
                "disabledDeviceCount": all - enabled,
            }),
            _ => json!({ "connectedDeviceCount": self.links.count() }),
        })
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
        answer.headers_mut().insert(ITEM_TYPE, HeaderValue::from_static("Twin"));
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
            "authenticationType": match registration.authentication {
                Authentication::SharedKey(_) => "sas",
                Authentication::SelfSigned(_) => "selfSigned",
                Authentication::CertificateAuthority => "certificateAuthority",
            },
            "cloudToDeviceMessageCount": 0,
        });
        registration.twin.describe(&mut twin);
        twin["deviceEtag"] = twin["etag"].clone();
        if let Some(module) = identity.module() {
            twin["moduleId"] = module.into();
        }
        twin
    }
}

/// The certificate by which a description has its device known, if it does.
fn certificate(authentication: &Value) -> Result<Option<Authentication>, String> {
    match authentication["type"].as_str() {
        Some("selfSigned") => {
            let thumbprint = authentication["x509Thumbprint"]["primaryThumbprint"].as_str();
            let thumbprint = thumbprint.and_then(Thumbprint::parse);
            let thumbprint =
                thumbprint.ok_or("The primary thumbprint is no SHA-256: the emulator takes no other.")?;
            Ok(Some(Authentication::SelfSigned(thumbprint)))
        }
        Some("certificateAuthority") => Ok(Some(Authentication::CertificateAuthority)),
        _ => Ok(None),
    }
}

fn json_answer(value: &Value) -> Answer {
    let mut answer = Response::new(Full::from(value.to_string()));
    answer.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json; charset=utf-8"));
    answer
}
