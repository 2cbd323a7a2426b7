//! A device reads its twin and reports to it over MQTT.

use serde_json::json;

use super::device::Device;
use crate::emulator::faults::TwinFault;
use crate::emulator::mqtt::Message;
use crate::time::clock;

impl Device {
    /// Answers a device that reads its twin, or reports to it where there is a `report`, unless `--inject` makes a fault.
    /// `query` is the rest of the topic. `None` where the device is not subscribed to the answer.
    ///
    /// # Errors
    /// Why the hub ends the connection.
    pub(super) fn twin_or_fault(
        &mut self,
        query: &str,
        report: Option<&[u8]>,
    ) -> Result<Option<Message>, &'static str> {
        if self.is_refused_twins() {
            // As a hub of the Basic tier ends it [I].
            return Err("the emulator injects this fault: a hub without twins");
        }
        let Some(request_id) = request_id(query) else {
            log::info!("mqtt: {}: a request to its twin has no $rid", self.connection.identity());
            return Ok(None);
        };
        let answer = match self.hub.faults.twin.take() {
            None => self.twin(request_id, report),
            Some(TwinFault::Status(status)) => {
                self.refusal(request_id, status.as_u16(), "the emulator injects this fault")
            }
            Some(TwinFault::Silent) => return Ok(None),
            Some(TwinFault::Drop) => return Err("the emulator injects this fault"),
        };
        Ok(self.twin_answers.then_some(answer))
    }

    fn twin(&self, request_id: &str, report: Option<&[u8]>) -> Message {
        let (identity, now) = (self.connection.identity(), self.hub.faults.clock.now());
        let answered = match report {
            None => {
                let registration = self.hub.registry.get(identity).ok_or("it is not registered".to_owned());
                registration.map(|found| (200, String::new(), found.twin.for_device().to_string()))
            }
            Some(patch) => {
                let reported = self.hub.registry.change_twin(identity, |twin| twin.report(patch, now));
                reported.map(|version| (204, format!("&$version={version}"), String::new()))
            }
        };
        match answered {
            Ok((status, version, payload)) => {
                let topic = format!("$iothub/twin/res/{status}/?$rid={request_id}{version}");
                Message::new(topic, payload.into_bytes())
            }
            Err(problem) => self.refusal(request_id, 400, &problem),
        }
    }

    fn refusal(&self, request_id: &str, status: u16, problem: &str) -> Message {
        log::info!("mqtt: {}: a request to its twin fails: {problem}", self.connection.identity());
        let code = if status == 400 { 400_004 } else { u32::from(status) * 1000 + 1 };
        let now = clock::iso8601(self.hub.faults.clock.now());
        let body = json!({ "errorCode": code, "message": problem, "timestampUtc": now });
        Message::new(format!("$iothub/twin/res/{status}/?$rid={request_id}"), body.to_string().into_bytes())
    }
}

/// The request id of a topic's query, which may have other parameters \[D].
fn request_id(query: &str) -> Option<&str> {
    query.strip_prefix('?')?.split('&').find_map(|pair| pair.strip_prefix("$rid="))
}
