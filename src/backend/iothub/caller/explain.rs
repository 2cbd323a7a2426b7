//! Explains a failed stream with the hub's clock and the device's registry entry.

use super::lookup::Lookup;
use super::open::Request;
use crate::backend::iothub::clock;
use crate::backend::iothub::error::{Error as HubError, shows_streams};
use crate::backend::iothub::proto::{Code, Identity};
use crate::backend::{Device, Reported, ReportedStream, State};
use crate::check::Outcome;
use crate::error::{Error, Exit};

/// The most streams of an agent that are named.
const MOST_STREAMS: usize = 20;

/// Compares this machine's clock with the hub's.
pub(super) fn clock(lookup: &Lookup) -> Outcome {
    match lookup.clocks {
        Some((here, hub)) => clock::clock(here, hub),
        None => Outcome::Warn(
            "the hub's answer has no date".into(),
            "check the clock of this machine: the hub allows five minutes".into(),
        ),
    }
}

/// Whether the hub refuses the credential, rather than the device.
pub(super) fn is_refusal(error: &Error) -> bool {
    matches!(error.fault(), Some(HubError::Hub { failure, .. }) if matches!(failure.status, 401 | 403) && error.exit() == Exit::Denied)
}

fn is_rejection(error: &Error) -> bool {
    matches!(error, Error::Backend(fault) if fault.is_rejection())
}

/// Explains why the hub refuses `credential`. If it can read the registry, its key is valid and it lacks a right.
pub(super) fn refused(error: &Error, credential: &str, reads_registry: bool) -> Outcome {
    if !reads_registry {
        return Err(error).into();
    }
    Outcome::Fail(
        format!("{credential} may read the registry, but not ask for streams: {error}"),
        Some("use a policy with ServiceConnect, such as the hub's policy 'service'".into()),
        error.exit(),
    )
}

/// Explains a hub that knows the device, but not the request for a stream.
pub(super) fn without_streams(error: &Error, request: &Request, lookup: &Lookup) -> Option<Outcome> {
    let Some(HubError::Hub { failure, .. }) = error.fault() else { return None };
    let is_unknown = matches!(failure.status, 404 | 405 | 501) && !failure.is_device_failure();
    (is_unknown && lookup.twin.is_ok()).then(|| {
        let hub = &request.hub;
        Outcome::Fail(
            format!("{error}; {hub} knows {}, but not the request for a stream", request.initiate.identity),
            Some(format!(
                "check whether {hub} has device streams, which a hub of the MQTT v5 profile does not: {}",
                shows_streams(&hub.name)
            )),
            error.exit(),
        )
    })
}

/// The outcome of a stream that was accepted in place of the module `absent`, if any.
pub(super) fn accepted(request: &Request, lookup: &Lookup, absent: Option<&Identity>) -> Outcome {
    let identity = &request.initiate.identity;
    let without = absent.and_then(Identity::module);
    let without = without.map_or_else(String::new, |module| format!(", which has no module '{module}',"));
    let accepted = format!("{identity}{without} accepted the stream '{}'", request.initiate.stream);
    Outcome::Pass(match &lookup.twin {
        Ok(device) => format!("{accepted}; {}", state(device)),
        Err(_) => accepted,
    })
}

/// Explains why the device cannot be reached, if the registry tells more than the error.
pub(super) fn device(error: &Error, request: &Request, lookup: &Lookup) -> Option<Outcome> {
    let device = lookup.twin.as_ref().ok()?;
    let code = match error.fault() {
        Some(HubError::Hub { failure, .. }) => failure.code,
        _ => None,
    };
    let (identity, hub) = (&request.initiate.identity, &request.hub);
    let because = code.map_or_else(String::new, |code| format!(" ({code:?})"));
    let (problem, hint) = match (device.state, code) {
        (State::Disabled, code) if code != Some(Code::DEVICE_DISABLED) => (
            format!("{identity} is registered at {hub}, but disabled{because}"),
            Some("enable it in the hub's registry".into()),
        ),
        (State::Online, Some(Code::DEVICE_NOT_ONLINE)) => (
            format!(
                "{identity} is registered, enabled and connected to {hub}, but takes no streams{because}"
            ),
            Some("check which program is connected as this device: `iotstream agent` takes streams".into()),
        ),
        _ => match &device.reported {
            Some(reported) if is_rejection(error) && reported.stream(&request.initiate.stream).is_none() => (
                format!("{error}; its agent offers {}", streams(reported)),
                Some(
                    "ask for one of these with --stream, or add a target to the agent's configuration".into(),
                ),
            ),
            _ => (format!("{error}; {}", state(device)), error.hint()),
        },
    };
    Some(Outcome::Fail(problem, hint, error.exit()))
}

/// What the agent has reported.
pub(super) fn agent(lookup: &Lookup) -> Outcome {
    let Ok(device) = &lookup.twin else { return Outcome::Skip };
    match &device.reported {
        Some(reported) => {
            let version = reported.agent.as_ref().map_or_else(String::new, |version| format!(" {version}"));
            Outcome::Pass(format!("iotstream{version} offers {}", streams(reported)))
        }
        None => Outcome::Absent("the agent reports nothing: it is an old one, or another program"),
    }
}

/// The streams that an agent offers, with the number of their host keys.
fn streams(reported: &Reported) -> String {
    let described = |stream: &ReportedStream| match stream.keys.len() {
        0 => stream.to_string(),
        1 => format!("{stream} (1 host key)"),
        count => format!("{stream} ({count} host keys)"),
    };
    let mut streams: Vec<String> = reported.streams.iter().take(MOST_STREAMS).map(described).collect();
    match reported.streams.len().saturating_sub(MOST_STREAMS) {
        0 if streams.is_empty() => streams.push("no streams".into()),
        0 => {}
        more => streams.push(format!("and {more} more")),
    }
    streams.join(", ")
}

/// The device's state in the registry, in words.
fn state(device: &Device) -> String {
    let last = match device.last_activity.time() {
        Some(time) => format!("last active {time}"),
        None => "never active".into(),
    };
    match device.state {
        State::Disabled => "it is registered and disabled".into(),
        State::Online => "it is registered, enabled and online".into(),
        State::Offline => format!("it is registered, enabled and offline, {last}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backend::iothub::proto::{HubAddress, HubFailure, Identity, Initiate};
    use crate::backend::{Activity, ReportedKey};
    use crate::secret::Secret;
    use crate::text::public_key::PublicKey;
    use std::time::Duration;

    fn request() -> Request {
        Request {
            hub: HubAddress::parse("contoso.azure-devices.net").unwrap(),
            gateway: None,
            authorization: Secret::new("t"),
            initiate: Initiate {
                identity: Identity::new("gw-07", None).unwrap(),
                stream: "ssh".into(),
                api_version: "x".into(),
                connect_timeout: Duration::ZERO,
                response_timeout: Duration::ZERO,
            },
        }
    }

    fn refusal(status: u16, code: Code) -> Error {
        HubError::Hub {
            hub: "contoso.azure-devices.net".into(),
            identity: request().initiate.identity,
            failure: Box::new(HubFailure { status, code: Some(code), ..HubFailure::default() }),
            skew: None,
        }
        .into()
    }

    fn lookup(state: State, last_activity: Option<&str>) -> Lookup {
        let last_activity = last_activity.map_or(Activity::Never, |time| Activity::At(time.to_owned()));
        let twin = Device { id: "gw-07".into(), state, last_activity, reported: None };
        Lookup { clocks: None, twin: Ok(twin) }
    }

    fn problem(error: &Error, lookup: &Lookup) -> String {
        match device(error, &request(), lookup) {
            Some(Outcome::Fail(problem, Some(hint), Exit::Unavailable)) => format!("{problem}: {hint}"),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn distinguishes_offline_disabled_and_other_programs() {
        let offline = refusal(404, Code::DEVICE_NOT_ONLINE);
        let told = problem(&offline, &lookup(State::Offline, Some("2026-11-23T03:00:00Z")));
        assert!(told.contains("is not connected to contoso"), "{told}");
        assert!(told.contains("enabled and offline, last active 2026-11-23T03:00:00Z"), "{told}");
        assert!(problem(&offline, &lookup(State::Offline, None)).contains("offline, never active"));
        let told = problem(&offline, &lookup(State::Online, None));
        assert!(
            told.contains("connected to contoso.azure-devices.net, but takes no streams (404103)"),
            "{told}"
        );
        let told = problem(&offline, &lookup(State::Disabled, None));
        assert!(told.contains("but disabled (404103): enable it"), "{told}");
        let told = problem(&refusal(403, Code::DEVICE_DISABLED), &lookup(State::Disabled, None));
        assert!(told.starts_with("device gw-07 is disabled at contoso"), "{told}");

        let unknown = Lookup { clocks: None, twin: Err(HubFailure::default()) };
        assert!(device(&offline, &request(), &unknown).is_none());
    }

    /// A lookup of an online device whose agent offers these streams.
    fn offering(streams: &[&str]) -> Lookup {
        let mut lookup = lookup(State::Online, None);
        let key = PublicKey::of_blob(b"\0\0\0\x01xy").unwrap();
        let keys =
            |name: &str| vec![ReportedKey { key: key.clone(), since: None }; usize::from(name == "ssh")];
        let streams =
            streams.iter().map(|&name| ReportedStream { name: name.into(), ports: None, keys: keys(name) });
        let (device, agent) = ("gw-07".into(), Some("0.2.0".into()));
        lookup.twin.as_mut().unwrap().reported = Some(Reported { device, agent, streams: streams.collect() });
        lookup
    }

    #[test]
    fn tells_what_the_agent_offers() {
        let told = |lookup: &Lookup| match agent(lookup) {
            Outcome::Pass(detail) => detail,
            Outcome::Absent(why) => why.into(),
            other => panic!("{other:?}"),
        };
        assert_eq!(told(&offering(&["ssh", "tcp-*"])), "iotstream 0.2.0 offers ssh (1 host key), tcp-*");
        assert_eq!(told(&offering(&[])), "iotstream 0.2.0 offers no streams");
        assert!(told(&offering(&["x"; 30])).ends_with("x, x, and 10 more"));
        assert!(told(&lookup(State::Online, None)).starts_with("the agent reports nothing"));
    }

    #[test]
    fn a_stream_that_is_not_offered_is_explained() {
        let rejected: Error = HubError::Rejected {
            hub: "contoso.azure-devices.net".into(),
            identity: request().initiate.identity,
            stream: "ssh".into(),
        }
        .into();
        let told = problem(&rejected, &offering(&["web", "tcp-80"]));
        assert!(
            told.contains("'ssh' through contoso.azure-devices.net; its agent offers web, tcp-80: ask for"),
            "{told}"
        );
        for offered in [&["ssh"][..], &["s*"]] {
            let told = problem(&rejected, &offering(offered));
            assert!(told.contains("enabled and online: see the agent's log"), "{told}");
        }
    }

    #[test]
    fn names_the_identity_that_accepted() {
        let told =
            |absent: Option<&Identity>| match accepted(&request(), &lookup(State::Online, None), absent) {
                Outcome::Pass(detail) => detail,
                other => panic!("{other:?}"),
            };
        assert_eq!(
            told(None),
            "device gw-07 accepted the stream 'ssh'; it is registered, enabled and online"
        );
        let absent = Identity::new("gw-07", Some("iotstream")).unwrap();
        assert_eq!(
            told(Some(&absent)),
            "device gw-07, which has no module 'iotstream', accepted the stream 'ssh'; it is registered, enabled and online"
        );
    }

    #[test]
    fn distinguishes_a_hub_without_streams() {
        let unknown = |status, code| {
            HubError::Hub {
                hub: "contoso.azure-devices.net".into(),
                identity: request().initiate.identity,
                failure: Box::new(HubFailure { status, code, ..HubFailure::default() }),
                skew: None,
            }
            .into()
        };
        let online = lookup(State::Online, None);
        for (status, code) in [(404, None), (405, None), (404, Some(Code::FEATURE_NOT_SUPPORTED))] {
            match without_streams(&unknown(status, code), &request(), &online) {
                Some(Outcome::Fail(problem, Some(hint), _)) => {
                    assert!(problem.contains("knows device gw-07, but not the request"), "{problem}");
                    assert!(hint.contains("`az iot hub devicestream show -n contoso`"), "{hint}");
                }
                other => panic!("{other:?}"),
            }
        }
        let without_twin = Lookup { clocks: None, twin: Err(HubFailure::default()) };
        for (error, lookup) in [
            (unknown(404, None), &without_twin),
            (unknown(404, Some(Code::DEVICE_NOT_ONLINE)), &online),
            (unknown(429, None), &online),
            (unknown(500, None), &online),
        ] {
            assert!(without_streams(&error, &request(), lookup).is_none(), "{error}");
        }
    }

    #[test]
    fn distinguishes_a_missing_right_from_a_wrong_key() {
        let error = refusal(401, Code::UNAUTHORIZED_ACCESS);
        assert!(is_refusal(&error) && !is_refusal(&refusal(403, Code::DEVICE_DISABLED)));
        let told = |reads| match refused(&error, "policy registryRead", reads) {
            Outcome::Fail(problem, Some(hint), Exit::Denied) => format!("{problem}: {hint}"),
            other => panic!("{other:?}"),
        };
        assert!(
            told(true).starts_with("policy registryRead may read the registry, but not"),
            "{}",
            told(true)
        );
        assert!(told(false).contains("a current key"), "{}", told(false));
    }
}
