//! A registration: the requests of a device, and the service's answers.

use serde_json::{Value, json};

use super::RegistrationId;
use super::failure::Explanation;
use crate::backend::iothub::proto::{HubAddress, Identity};
use crate::backend::malformed::Malformed;
use crate::text::percent::encode;

/// The version of the API, as in Microsoft's C SDK and the IoT Identity Service \[S].
const API_VERSION: &str = "2021-06-01";

/// The path of the request to register \[S]\[R].
pub(crate) fn register_path(scope: &str, id: &RegistrationId) -> String {
    path(scope, id, "register")
}

/// The path of the question how an operation goes on \[S]\[R].
pub(crate) fn operation_path(scope: &str, id: &RegistrationId, operation: &str) -> String {
    path(scope, id, &format!("operations/{}", encode(operation)))
}

fn path(scope: &str, id: &RegistrationId, action: &str) -> String {
    format!("/{}/registrations/{}/{action}?api-version={API_VERSION}", encode(scope), encode(id.as_str()))
}

/// The body of the request to register. The id is that of the path \[R].
pub(crate) fn register_body(id: &RegistrationId) -> String {
    json!({ "registrationId": id.as_str() }).to_string()
}

/// What the service says about a registration.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    /// The service has not decided yet.
    Pending {
        /// The operation to ask about, which the first answer names.
        operation: Option<String>,
        /// The status, `assigning` or `unassigned`.
        status: String,
    },
    /// The device is assigned to a hub.
    Assigned(Assigned),
    /// The registration failed.
    Failed(Explanation),
    /// The enrolment is disabled.
    Disabled,
    /// The device is assigned to no hub.
    Unassigned,
    /// A status that is not documented.
    Unknown(String),
}

/// The hub of a device, and its id there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Assigned {
    /// The hub.
    pub hub: HubAddress,
    /// The device.
    pub identity: Identity,
    /// The hub's connection profile, unless it is `classic` \[R].
    pub profile: Option<String>,
}

impl Answer {
    /// Parses the answer to either request, whose HTTP status is `code`: 202 while the service decides, else 200 \[R]\[D].
    /// The status in the body decides; one client waits while it is `unassigned` \[C].
    ///
    /// # Errors
    /// Returns [`Malformed`] if the body is not such an answer, or names no usable hub or device.
    pub(crate) fn parse(code: u16, body: &[u8]) -> Result<Self, Malformed> {
        let wrong = |problem: &str| Malformed::new(format!("its answer {problem}"));
        let answer: Value = serde_json::from_slice(body).map_err(|_| wrong("is not JSON"))?;
        let state = &answer["registrationState"];
        let status = answer["status"].as_str().or_else(|| state["status"].as_str());
        let status = status.ok_or_else(|| wrong("has no status"))?;
        let pending = || Self::Pending {
            operation: answer["operationId"].as_str().map(str::to_owned),
            status: status.to_owned(),
        };
        Ok(match status.to_ascii_lowercase().as_str() {
            "assigning" => pending(),
            "unassigned" if code == 202 => pending(),
            "unassigned" => Self::Unassigned,
            "assigned" => Self::Assigned(Assigned::of(state)?),
            "failed" => Self::Failed(Explanation::of(state).or(Explanation::of(&answer))),
            // The name of the C SDK's days \[S].
            "disabled" | "blacklisted" => Self::Disabled,
            _ => Self::Unknown(status.to_owned()),
        })
    }
}

impl Assigned {
    fn of(state: &Value) -> Result<Self, Malformed> {
        let text = |name: &str| {
            state[name].as_str().ok_or_else(|| Malformed::new(format!("its answer has no {name}")))
        };
        let named = |name: &str, text: &str, problem: Malformed| {
            Malformed::new(format!("its answer has the {name} {text:?}: {problem}"))
        };
        let hub = text("assignedHub")?;
        let device = text("deviceId")?;
        let profile = state["connectionProfile"].as_str();
        Ok(Self {
            hub: HubAddress::parse(hub)
                .map_err(|_| named("assignedHub", hub, Malformed::new("it is neither HOST nor HOST:PORT")))?,
            identity: Identity::new(device, None).map_err(|problem| named("deviceId", device, problem))?,
            profile: profile.filter(|profile| !profile.eq_ignore_ascii_case("classic")).map(str::to_owned),
        })
    }
}

/// Whether an answer of status 401 holds a key for a TPM, which only an enrolment with one gets \[S].
pub(crate) fn is_tpm_challenge(body: &[u8]) -> bool {
    serde_json::from_slice::<Value>(body).is_ok_and(|answer| answer["authenticationKey"].is_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn id(text: &str) -> RegistrationId {
        text.parse().unwrap()
    }

    fn parse(code: u16, body: &str) -> Result<Answer, String> {
        Answer::parse(code, body.as_bytes()).map_err(|problem| problem.0)
    }

    #[test]
    fn requests_are_encoded() {
        assert_eq!(
            register_path("0ne00000001", &id("a:b")),
            "/0ne00000001/registrations/a%3Ab/register?api-version=2021-06-01"
        );
        assert_eq!(
            operation_path("0ne00000001", &id("gw-07"), "5.316aac5bdc130deb.b1e02da8/x"),
            "/0ne00000001/registrations/gw-07/operations/5.316aac5bdc130deb.b1e02da8%2Fx?api-version=2021-06-01"
        );
        assert_eq!(register_body(&id("GW-07")), r#"{"registrationId":"GW-07"}"#);
    }

    /// The documented answers \[D].
    #[test]
    fn reads_the_documented_answers() {
        let pending = r#"{"operationId":"5.316aac5bdc130deb.b1e02da8-c3a0","status":"assigning"}"#;
        let operation = Some("5.316aac5bdc130deb.b1e02da8-c3a0".to_owned());
        assert_eq!(parse(202, pending), Ok(Answer::Pending { operation, status: "assigning".into() }));

        let assigned = r#"{"operationId":"5.3","status":"assigned","registrationState":{"x509":null,
            "registrationId":"gw-07","createdDateTimeUtc":"2026-11-25T22:15:35.4Z","assignedHub":"contoso.azure-devices.net",
            "deviceId":"GW 07","status":"assigned","substatus":"initialAssignment","etag":"x"}}"#;
        let problem = parse(200, assigned).unwrap_err();
        assert!(problem.contains(r#"deviceId "GW 07": ' ' cannot"#), "{problem}");
        let assigned = assigned.replace("GW 07", "gw-07");
        let expected = Assigned {
            hub: HubAddress::parse("contoso.azure-devices.net").unwrap(),
            identity: Identity::new("gw-07", None).unwrap(),
            profile: None,
        };
        // The body decides: also the answer to the first request may be the last one.
        for code in [200, 202] {
            assert_eq!(parse(code, &assigned), Ok(Answer::Assigned(expected.clone())));
        }
    }

    #[test]
    fn a_hub_is_a_bare_host_name() {
        let assigned = |hub: &str| {
            let state = json!({ "assignedHub": hub, "deviceId": "gw-07" });
            parse(200, &json!({ "status": "assigned", "registrationState": state }).to_string())
        };
        assert!(assigned("localhost:8443").is_ok() && assigned("contoso.device.azure-devices.net").is_ok());
        for hub in
            ["", "https://contoso.azure-devices.net", "contoso/x", "a b", "h:0", "h:", "u@h", "h\u{1b}"]
        {
            let problem = assigned(hub).unwrap_err();
            assert!(problem.starts_with(&format!("its answer has the assignedHub {hub:?}")), "{problem}");
            assert!(!problem.contains('\u{1b}'), "{problem}");
        }
    }

    #[test]
    fn every_status_is_told_apart() {
        let status = |code, status: &str| {
            parse(code, &json!({ "status": status, "registrationState": {"errorCode": 1} }).to_string())
        };
        let pending = |status: &str| Ok(Answer::Pending { operation: None, status: status.into() });
        assert_eq!(status(200, "assigning"), pending("assigning"));
        assert_eq!(status(202, "unassigned"), pending("unassigned"));
        assert_eq!(status(200, "unassigned"), Ok(Answer::Unassigned));
        assert_eq!(status(200, "disabled"), Ok(Answer::Disabled));
        assert_eq!(status(200, "blacklisted"), Ok(Answer::Disabled));
        assert_eq!(status(200, "shelved"), Ok(Answer::Unknown("shelved".into())));
        assert_eq!(status(200, "assigned"), Err("its answer has no assignedHub".into()));
        let failed = Explanation { code: Some(1), ..Explanation::default() };
        assert_eq!(status(200, "failed"), Ok(Answer::Failed(failed)));
        let inner = r#"{"registrationState":{"status":"disabled"}}"#;
        assert_eq!(parse(200, inner), Ok(Answer::Disabled));
        for (body, problem) in
            [("", "is not JSON"), ("<html>", "is not JSON"), ("{}", "has no status"), ("[1]", "has no")]
        {
            assert!(parse(200, body).unwrap_err().contains(problem), "{body}");
        }
    }

    #[test]
    fn the_profile_of_a_hub_matters_unless_it_is_classic() {
        let profile = |profile: Value| {
            let state = json!({ "assignedHub": "h", "deviceId": "d", "connectionProfile": profile });
            match parse(200, &json!({ "status": "assigned", "registrationState": state }).to_string()) {
                Ok(Answer::Assigned(assigned)) => assigned.profile,
                other => panic!("{other:?}"),
            }
        };
        assert_eq!(profile(Value::Null), None);
        assert_eq!(profile("classic".into()), None);
        assert_eq!(profile("mqttV5".into()), Some("mqttV5".into()));
    }

    #[test]
    fn a_challenge_for_a_tpm_is_recognised() {
        assert!(is_tpm_challenge(br#"{"authenticationKey":"AAAA","keyName":"registration"}"#));
        assert!(!is_tpm_challenge(br#"{"errorCode":401002}"#) && !is_tpm_challenge(b"<html>"));
    }

    proptest! {
        #[test]
        fn parse_never_panics(code in any::<u16>(), body in any::<Vec<u8>>(), text in any::<String>()) {
            let _ = Answer::parse(code, &body);
            let state = json!({ "assignedHub": text, "deviceId": text, "errorMessage": text });
            for status in ["assigned", "failed", &text] {
                let nested = json!({ "status": status, "registrationState": state }).to_string();
                let _ = Answer::parse(code, nested.as_bytes());
            }
        }
    }
}
