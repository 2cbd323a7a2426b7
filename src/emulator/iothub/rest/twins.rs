//! `GET`, `PATCH` and `PUT /twins/ID`: a service reads and changes the twin of a device or module.

use std::future::pending;

use hyper::Method;
use hyper::http::request::Parts;
use serde_json::Value;

use super::answers::{has_changed, not_registered, tagged_answer};
use super::if_match::if_match;
use crate::backend::iothub::proto::Code;
use crate::emulator::faults::TwinFault;
use crate::emulator::iothub::hub::Hub;
use crate::emulator::mqtt::Message;
use crate::emulator::server::{Answer, Reply};

impl Hub {
    /// Answers as [`Self::twin`] does, unless `--inject` makes a fault.
    pub(super) async fn twin_or_fault(
        &self,
        request: &Parts,
        device: &str,
        module: Option<&str>,
        body: &[u8],
    ) -> Reply {
        if self.faults.no_twins.take().is_some() {
            let message = "The emulator injects this fault: a hub without twins.";
            return self.problem(403, Some(Code::NOT_IN_TIER), message).into();
        }
        match self.faults.twin.take() {
            None => self.twin(request, device, module, body).into(),
            Some(TwinFault::Status(status)) => self.injected(status, Code::DEVICE_NOT_FOUND).into(),
            Some(TwinFault::Silent) => pending().await,
            Some(TwinFault::Drop) => Reply::Drop,
        }
    }

    /// Answers with the twin, after a `PATCH` or `PUT` of its tags and desired properties.
    fn twin(&self, request: &Parts, device: &str, module: Option<&str>, body: &[u8]) -> Answer {
        let found = self.identity(device, module);
        let found = found.and_then(|identity| Some((self.registry.get(&identity)?.twin.etag(), identity)));
        let Some((etag, identity)) = found else { return self.failure(not_registered(module), None) };
        if request.method != Method::GET {
            if if_match(&request.headers, &etag) == Some(false) {
                return self.failure(has_changed(), None);
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
                    self.connections.publish_desired(&identity, Message::new(topic, payload));
                }
                Ok(None) => {}
                Err(problem) => return self.problem(400, Some(Code::ARGUMENT_INVALID), &problem),
            }
        }
        match self.registry.get(&identity) {
            Some(registration) => {
                tagged_answer(&self.describe(&identity, &registration), &registration.twin.etag())
            }
            None => self.failure(not_registered(module), None),
        }
    }
}
