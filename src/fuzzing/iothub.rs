//! What a hub says, and what users write of it.

use hyper::HeaderMap;
use serde_json::Value;

use crate::backend::iothub::proto::{
    Answer, Change, Clients, ConnectionString, Decision, HostName, HubAddress, HubFailure, Identity, Key,
    Offer, Resource, SasToken, UnixSeconds, connection, devices_page, of_twin, parse_decision, reports_page,
    twin,
};
use crate::backend::{HostKeys, Report, Reported, StreamReport};
use crate::secret::Secret;
use crate::text::ports::Ports;
use crate::text::public_key::PublicKey;

/// The longest text that is kept of an answer, in bytes.
const LONGEST_TEXT: usize = 4 * 300;

/// Reads a connection string, and one that is printed of it. The problem of one that cannot be read is returned.
pub fn connection_string(text: &str) -> Option<String> {
    let parsed = match ConnectionString::parse(text) {
        Ok(parsed) => parsed,
        Err(problem) => return Some(problem.0),
    };
    let ConnectionString { hub, gateway, policy, identity, key } = &parsed;
    let mut printed = format!("HostName={hub}");
    let mut put = |name: &str, value: &str| printed += &format!(";{name}={value}");
    if let Some(gateway) = gateway {
        put("GatewayHostName", &gateway.to_string());
    }
    if let Some(policy) = policy {
        put("SharedAccessKeyName", policy);
    }
    if let Some(identity) = identity {
        put("DeviceId", identity.device());
        if let Some(module) = identity.module() {
            put("ModuleId", module);
        }
    }
    match key {
        Key::Shared(key) => put("SharedAccessKey", key.expose()),
        Key::Signature(token) => put("SharedAccessSignature", token.text().expose()),
        Key::Certificate => put("x509", "true"),
    }
    let shown = format!("{parsed:?}");
    match key {
        // A key in the place of a short name is shown as that.
        Key::Shared(key) if key.expose().len() >= 32 => {
            let known = [Some(hub.name.as_str()), policy.as_deref(), identity.as_ref().map(Identity::device)];
            let is_known = known.into_iter().flatten().any(|name| name.contains(key.expose()));
            assert!(is_known || !shown.contains(key.expose()), "the key is shown");
        }
        _ => {}
    }
    // Ids may contain what separates parts, and a policy's name may look like an escape of HTML.
    let is_plain = |text: &str| !text.contains([';', '=', '&', '#', '\'', '"']);
    let is_plain_id =
        |identity: &Identity| is_plain(identity.device()) && identity.module().is_none_or(is_plain);
    if identity.as_ref().is_none_or(is_plain_id)
        && policy.as_deref().is_none_or(|policy| policy.is_ascii() && is_plain(policy))
    {
        let again = ConnectionString::parse(&printed).expect("what is printed can be read");
        assert_eq!(
            (&again.hub, &again.gateway, &again.policy, &again.identity),
            (hub, gateway, policy, identity)
        );
    }
    None
}

/// Signs a token with a key of these bytes, and reads it.
pub fn sas(resource: &str, key: &[u8], expiry: u64, policy: Option<&str>) {
    let Ok(identity) = Identity::new(resource, policy.filter(|policy| policy.len() % 2 == 0)) else { return };
    let hub = HubAddress { name: "contoso.azure-devices.net".into(), port: None };
    let key = Secret::new(data_encoding::BASE64.encode(key));
    let policy = policy.filter(|policy| !policy.is_empty());
    for resource in [Resource::hub(&hub), Resource::identity(&hub, &identity)] {
        let Ok(signed) = SasToken::sign(&resource, UnixSeconds(expiry), &key, policy) else {
            assert!(key.expose().is_empty(), "only an empty key does not sign");
            return;
        };
        let token = SasToken::parse(signed.text().expose()).expect("a token of ours can be read");
        assert!(token.is_signed_by(&key));
        assert_eq!((token.expiry(), token.policy()), (UnixSeconds(expiry), policy));
        assert_eq!(token.uri(), signed.uri());
        assert!(!format!("{token:?}").contains(signed.text().expose()), "the token is shown");
    }
}

/// Reads a token, and the same token again. No key of ours has made it.
pub fn sas_text(text: &str) -> bool {
    let key = Secret::new("bm90IHRoZSBrZXkgb2YgYSB0b2tlbiBvZiBhIGZ1enplcg==");
    let Ok(token) = SasToken::parse(text) else { return false };
    assert_eq!(token.text().expose(), text);
    assert!(!token.is_signed_by(&key), "a token without its key");
    true
}

/// The answer to a request for a stream.
pub fn answer(status: u16, headers: &HeaderMap, body: &[u8]) {
    match Answer::parse(status, headers, body) {
        Ok(Answer::Accepted { url, token }) => {
            assert!(!url.is_empty() && !token.expose().is_empty());
            assert!(matches!(status, 200 | 202));
        }
        Ok(Answer::Rejected) => assert!(matches!(status, 200 | 202)),
        Ok(Answer::Failed(failure)) => {
            assert!(!matches!(status, 200 | 202));
            check(status, failure);
        }
        Err(problem) => assert!(problem.0.len() < 200, "the problem is no text of ours"),
    }
}

fn check(status: u16, failure: HubFailure) {
    assert_eq!(failure.status, status);
    assert!(failure.code.is_none_or(|code| code.0 < 1_000_000));
    for text in [&failure.message, &failure.tracking_id].into_iter().flatten() {
        assert!(!text.is_empty() && text.len() <= LONGEST_TEXT);
    }
    // The emulator writes the newer form.
    let body = failure.body("2026-11-27T00:00:00Z", None);
    let again = HubFailure::of(status, &HeaderMap::new(), body.as_bytes());
    assert_eq!(again.message, failure.message);
    assert_eq!(again.tracking_id, failure.tracking_id);
    let code = failure.code.map_or(u32::from(status) * 1000, |code| code.0);
    assert_eq!(again.code.map_or(code, |code| code.0), code);
}

/// Answers of the registry.
pub fn registry(body: &[u8]) {
    if let Ok(devices) = devices_page(body) {
        devices.iter().filter_map(|device| device.reported.as_ref()).for_each(reported);
    }
    if let Ok(reports) = reports_page(body) {
        for (identity, report) in &reports {
            assert_eq!(identity.client_id(), report.device);
            reported(report);
        }
    }
    if let Ok(device) = twin(body) {
        assert!(Identity::new(&device.id, None).is_ok());
    }
    let _ = connection(body);
    if let Ok(report) = of_twin("dev-1".into(), body) {
        reported(&report);
    }
}

/// Checks what is read of a report, which the device writes: it goes to terminals and files.
fn reported(report: &Reported) {
    let is_shown = |text: &str| !text.contains(char::is_control);
    assert!(report.agent.as_deref().is_none_or(is_shown));
    for (at, stream) in report.streams.iter().enumerate() {
        assert!(!stream.name.is_empty() && stream.name.len() <= 1024 && is_shown(&stream.name));
        let is_same = |other: &&crate::backend::ReportedStream| {
            (&other.name, &other.ports) == (&stream.name, &stream.ports)
        };
        assert!(!report.streams[..at].iter().any(|other| is_same(&other)), "a stream twice");
        for (at, key) in stream.keys.iter().enumerate() {
            assert!(key.since.as_deref().is_none_or(|since| since.len() <= 40 && is_shown(since)));
            assert_eq!(PublicKey::parse(&key.key.to_string()).as_ref(), Some(&key.key));
            assert!(!stream.keys[..at].iter().any(|other| other.key == key.key), "a key twice");
        }
    }
    // The copy in the state directory is the same.
    let copy = serde_json::to_string(report).expect("a report can be written");
    assert_eq!(serde_json::from_str::<Reported>(&copy).ok().as_ref(), Some(report));
}

/// The patch that an agent with these streams sends to a twin with the `current` reported properties: the patch, and the
/// properties with it.
pub fn report(current: &Value, streams: &[(&str, Option<&str>, Option<&[&[u8]]>)]) -> (Option<Value>, Value) {
    let stream = |(name, ports, keys): &(&str, Option<&str>, Option<&[&[u8]]>)| StreamReport {
        name: (*name).to_owned(),
        ports: ports.and_then(Ports::parse),
        keys: match keys {
            None => HostKeys::Untold,
            Some(blobs) => {
                HostKeys::Known(blobs.iter().filter_map(|blob| PublicKey::of_blob(blob)).collect())
            }
        },
    };
    let report = Report { streams: streams.iter().map(stream).collect() };
    let Change { patch, after, .. } = Change::new(current, &report, "1.2.3");
    assert_eq!(Change::new(&after, &report, "1.2.3").patch, None, "a second report changes something");
    (patch, after)
}

/// The topic of a PUBLISH to a device.
pub fn offer(topic: &str) {
    match Offer::parse(topic) {
        None => {}
        Some(Ok(offer)) => {
            for decision in [Decision::Accept, Decision::Reject] {
                let answer = offer.answer(decision);
                is_answer(&answer);
                assert_eq!(parse_decision(&answer), Some((decision, offer.request_id.as_str())));
            }
            let (token, topic) = (offer.token.expose(), topic.replacen(offer.token.expose(), "", 1));
            let is_elsewhere = token.len() < 16 || topic.contains(token);
            assert!(is_elsewhere || !format!("{offer:?}").contains(token), "the token is shown");
            let again = Offer::parse(&offer.topic()).expect("an offer").expect("what is printed can be read");
            assert_eq!(again, offer);
        }
        Some(Err(bad)) => {
            if let Some(rejection) = bad.rejection() {
                is_answer(&rejection);
            }
        }
    }
}

/// Checks that a hub reads a topic as one answer, and as no wildcard.
fn is_answer(topic: &str) {
    assert_eq!(topic.matches('/').count(), 4, "{topic}");
    assert!(!topic.contains(['+', '#', '&']) && topic.bytes().all(|byte| byte.is_ascii_graphic()), "{topic}");
}

/// The host name of a hub.
pub fn host_name(text: &str) {
    if let Some(host) = HostName::parse(text) {
        let classic = host.classic();
        let again = HostName::parse(&classic).expect("the classic name is one of the service");
        assert_eq!(again.classic(), classic);
        assert!(!host.hub.is_empty());
        for clients in [Clients::Devices, Clients::Services] {
            let _ = host.problem_for(clients);
        }
    }
    if let Ok(hub) = HubAddress::parse(text) {
        assert_eq!(HubAddress::parse(&hub.to_string()).ok().as_ref(), Some(&hub));
        assert_eq!(HubAddress::parse(&hub.key()).map(|hub| hub.key()).ok(), Some(hub.key()));
        assert!(hub.name.len() <= 253 && hub.port != Some(0));
    }
}
