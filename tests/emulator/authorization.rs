//! Who may call the REST API.

use data_encoding::BASE64;

use super::{Emulator, SSH};
use crate::support::sas::{in_an_hour, signature, unix_seconds};

/// The percent-encoded form of a signature, in upper or lower case.
fn percent(text: &str, lower: bool) -> String {
    let encoded = text.replace('+', "%2B").replace('/', "%2F").replace('=', "%3D");
    if lower { encoded.replace("%2B", "%2b").replace("%2F", "%2f").replace("%3D", "%3d") } else { encoded }
}

#[tokio::test]
async fn every_encoding_of_a_signature_is_accepted() {
    let hub = Emulator::start("");
    let key = hub.key("service.conn");
    let se = in_an_hour();
    for sr in [
        "localhost",
        "LOCALHOST",
        "127.0.0.1",
        "hub.example",
        "localhost:443",
        "localhost%3a8443",
        "localhost/devices/other",
        "localhost%2Fdevices%2Fdev-1",
    ] {
        for lower in [true, false] {
            let sig = percent(&signature(&key, sr, se), lower);
            for fields in [
                format!("sr={sr}&sig={sig}&se={se}&skn=service"),
                format!("sr={sr}&sig={sig}&skn=service&se={se}"),
                format!("skn=service&se={se}&sig={sig}&sr={sr}"),
            ] {
                let token = format!("SharedAccessSignature {fields}");
                let answer =
                    hub.request("GET", "/devices?api-version=x", &[("authorization", &token)], "").await;
                assert_eq!(answer.status, 200, "{fields}");
            }
        }
    }
}

#[tokio::test]
async fn unauthorized_requests_are_refused() {
    let hub = Emulator::start("");
    let key = hub.key("service.conn");
    let other_key = BASE64.encode(&[7; 32]);
    let token = |sr: &str, key: &str, se: u64, policy: &str| {
        format!(
            "SharedAccessSignature sr={sr}&sig={}&se={se}&skn={policy}",
            percent(&signature(key, sr, se), false)
        )
    };
    let later = in_an_hour();
    let device_string = hub.device_token("dev-1", None, in_an_hour());
    for (token, code, word) in [
        (String::new(), 401_002, "signature"),
        ("Bearer eyJ".into(), 401_002, "SharedAccessSignature"),
        (token("localhost", &key, unix_seconds() - 1, "service"), 401_003, "expired"),
        (token("localhost", &other_key, later, "service"), 401_002, "signature"),
        (token("elsewhere", &key, later, "service"), 401_002, "another hub"),
        (token("localhost.evil", &key, later, "service"), 401_002, "another hub"),
        (token("localhost", &key, later, "iothubowner"), 401_002, "signature"),
        (token("localhost", &key, later, "nobody"), 401_002, "policy"),
        (hub.policy_token("registryReadWrite"), 401_002, "policy"),
        (hub.policy_token("device"), 401_002, "policy"),
        (device_string, 401_002, "policy"),
    ] {
        let answer = hub.request("POST", SSH, &[("authorization", &token)], "").await;
        assert_eq!((answer.status, answer.code()), (401, code), "{token}");
        let message = answer.failure()["message"].as_str().unwrap().to_owned();
        assert!(message.contains(word), "{message}");
    }
    assert_eq!(hub.request("POST", SSH, &[], "").await.status, 401);
    assert_eq!(hub.as_policy("iothubowner", "POST", SSH, "").await.status, 404);
}
