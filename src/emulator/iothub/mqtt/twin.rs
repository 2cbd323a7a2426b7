//! A device reads its twin and reports to it over MQTT.

use serde_json::json;

use super::device::Device;
use crate::emulator::mqtt::Message;
use crate::time::clock;

impl Device {
    /// Answers a device that reads its twin, or reports to it where there is a `report`. `query` is the rest of the
    /// topic. `None` where the device is not subscribed to the answer.
    pub(super) fn twin(&self, query: &str, report: Option<&[u8]>) -> Option<Message> {
        let query = query.strip_prefix('?').unwrap_or_default();
        let Some(request_id) = query.split('&').find_map(|pair| pair.strip_prefix("$rid=")) else {
            log::info!("mqtt: {}: a request to its twin has no $rid", self.connection.identity());
            return None;
        };
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
        let (status, version, payload) = answered.unwrap_or_else(|problem| {
            log::info!("mqtt: {identity}: a request to its twin fails: {problem}");
            let body =
                json!({ "errorCode": 400_004, "message": problem, "timestampUtc": clock::iso8601(now) });
            (400, String::new(), body.to_string())
        });
        let topic = format!("$iothub/twin/res/{status}/?$rid={request_id}{version}");
        self.twin_answers.then(|| Message::new(topic, payload.into_bytes()))
    }
}
