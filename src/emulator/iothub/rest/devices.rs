//! `/devices` and `/statistics`: a service lists, registers and removes devices.

use hyper::{Method, StatusCode};
use serde_json::{Value, json};

use super::answers::json_answer;
use crate::backend::iothub::proto::Code;
use crate::emulator::client_certificate::Thumbprint;
use crate::emulator::iothub::authentication::Authentication;
use crate::emulator::iothub::hub::Hub;
use crate::emulator::server::{Answer, empty};

/// How many devices the list has at most.
const MAX_LIST: usize = 1000;

impl Hub {
    /// Answers with the list of devices.
    pub(super) fn all_devices(&self) -> Answer {
        let devices = self.registry.find(None, MAX_LIST, |identity, registration| {
            identity.module().is_none().then(|| self.describe_in_registry(identity, registration))
        });
        json_answer(&devices.into_iter().map(|(_, device)| device).collect())
    }

    /// Answers with one device, after a `PUT` that registers it or a `DELETE` that removes it.
    pub(super) fn device(&self, method: &Method, id: &str, body: &[u8]) -> Answer {
        let Some(identity) = self.identity(id, None) else {
            return self.problem(400, Some(Code::ARGUMENT_INVALID), "The device id is invalid.");
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
            let registered = authentication(&description["authentication"]).and_then(|authentication| {
                let now = self.faults.clock.now();
                let registered = match authentication {
                    None => self.registry.register(&identity, now),
                    Some(authentication) => self.registry.register_with(&identity, authentication, now),
                };
                registered.map_err(|error| error.to_string())
            });
            if let Err(problem) = registered {
                return self.problem(400, Some(Code::ARGUMENT_INVALID), &problem);
            }
            let enabled = description["status"] != "disabled";
            self.registry.set_enabled(&identity, enabled);
            if !enabled {
                self.connections.disconnect(&identity);
            }
        }
        let Some(registration) = self.registry.get(&identity) else {
            return self.problem(404, Some(Code::DEVICE_NOT_FOUND), "The device is not registered.");
        };
        if *method == Method::DELETE {
            return match self.registry.remove(&identity) {
                Ok(gone) => {
                    for identity in gone {
                        self.connections.disconnect(&identity);
                    }
                    empty(StatusCode::NO_CONTENT)
                }
                Err(error) => self.problem(500, Some(Code(500_001)), &error.to_string()),
            };
        }
        json_answer(&self.describe_in_registry(&identity, &registration))
    }

    /// Answers with one module.
    pub(super) fn module(&self, device: &str, module: &str) -> Answer {
        let identity = self.identity(device, Some(module));
        let found = identity.and_then(|identity| Some((self.registry.get(&identity)?, identity)));
        match found {
            Some((registration, identity)) => {
                json_answer(&self.describe_in_registry(&identity, &registration))
            }
            None => self.problem(404, Some(Code::MODULE_NOT_FOUND), "The module is not registered."),
        }
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

/// How a description says that its device authenticates; `None` for a key.
fn authentication(description: &Value) -> Result<Option<Authentication>, String> {
    match description["type"].as_str() {
        Some("selfSigned") => {
            let thumbprint = description["x509Thumbprint"]["primaryThumbprint"].as_str();
            let thumbprint = thumbprint.and_then(Thumbprint::parse);
            let thumbprint =
                thumbprint.ok_or("The primary thumbprint is not a SHA-256: the emulator takes no other.")?;
            Ok(Some(Authentication::SelfSigned(thumbprint)))
        }
        Some("certificateAuthority") => Ok(Some(Authentication::CertificateAuthority)),
        _ => Ok(None),
    }
}
