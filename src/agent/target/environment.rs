//! The environment of a program that the agent starts for a stream: the facts of the stream, and few of the agent's own
//! variables, which may hold the device's key.

use std::env;
use std::ffi::{OsStr, OsString};

use serde_json::{Value, json};

use crate::platform::environment;

/// The facts about an offered stream.
#[derive(Debug)]
pub(in crate::agent) struct Facts<'a> {
    /// The stream's number in the audit log.
    pub(in crate::agent) id: u64,
    pub(in crate::agent) stream: &'a str,
    pub(in crate::agent) target: String,
    pub(in crate::agent) device: &'a str,
    pub(in crate::agent) service: &'a str,
    /// The service's id of the offer, if it has one.
    pub(in crate::agent) request_id: Option<&'a str>,
    /// The user's address, if the service tells it.
    pub(in crate::agent) requester: Option<&'a str>,
    /// Further variables of the agent's that the target's programs get.
    pub(in crate::agent) pass_environment: &'a [String],
}

impl<'a> Facts<'a> {
    /// The facts without an offer: the agent connects a target for itself.
    pub(in crate::agent) fn without_offer(stream: &'a str, target: String) -> Self {
        Self {
            id: 0,
            stream,
            target,
            device: "",
            service: "",
            request_id: None,
            requester: None,
            pass_environment: &[],
        }
    }

    /// The whole environment of a program.
    pub(in crate::agent) fn environment(&self) -> Vec<(OsString, OsString)> {
        let kept = |name: &OsStr| {
            name.to_str().is_some_and(|name| {
                environment::is_kept(name) || self.pass_environment.iter().any(|passed| passed == name)
            })
        };
        let mut variables: Vec<(OsString, OsString)> =
            env::vars_os().filter(|(name, _)| kept(name)).collect();
        for (name, value) in environment::defaults() {
            if !variables.iter().any(|(known, _)| known == name) {
                variables.push((name.into(), value));
            }
        }
        let facts = [
            ("IOTSTREAM_STREAM", self.stream.to_owned()),
            ("IOTSTREAM_STREAM_ID", self.id.to_string()),
            ("IOTSTREAM_TARGET", self.target.clone()),
            ("IOTSTREAM_DEVICE", self.device.to_owned()),
            ("IOTSTREAM_HUB", self.service.to_owned()),
        ];
        variables.extend(facts.map(|(name, value)| (name.into(), value.into())));
        let known = [("IOTSTREAM_REQUEST_ID", self.request_id), ("IOTSTREAM_REQUESTER", self.requester)];
        variables.extend(known.into_iter().filter_map(|(name, value)| Some((name.into(), value?.into()))));
        variables
    }

    /// The facts for a program's stdin.
    pub(in crate::agent) fn json(&self) -> Value {
        let mut facts = json!({
            "id": self.id,
            "stream": self.stream,
            "target": self.target,
            "device": self.device,
            "hub": self.service,
        });
        for (name, value) in [("request-id", self.request_id), ("requester", self.requester)] {
            if let Some(value) = value {
                facts[name] = value.into();
            }
        }
        facts
    }
}
