//! Registrations over HTTPS.

use super::{Dps, SCOPE, register_path, token};
use crate::support::sas::{field, in_an_hour, percent_encoded, signature, unix_seconds};

#[tokio::test]
async fn a_device_registers_with_the_key_of_the_group() {
    let dps = Dps::start(&[]);
    let body = r#"{"registrationId":"gw-07","payload":{"a":1}}"#;
    let answer = dps.register("gw-07", &dps.token("gw-07"), body).await;
    assert_eq!(answer.status, 202);
    assert_eq!(answer.header("content-type"), Some("application/json; charset=utf-8"));
    assert_eq!(answer.header("retry-after"), Some("1"));
    let location = format!("https://{}/{SCOPE}/registrations/gw-07/register", dps.https);
    assert_eq!(answer.header("location"), Some(location.as_str()));
    assert_eq!(answer.header("x-ms-request-id").unwrap().len(), 36);
    let body = answer.json();
    let operation = body["operationId"].as_str().unwrap();
    let lengths: Vec<usize> = operation.split('.').map(str::len).collect();
    assert_eq!(lengths, [1, 16, 36], "{operation}");
    assert_eq!(body, serde_json::json!({ "operationId": operation, "status": "assigning" }));

    let answer = dps.poll("gw-07", operation).await;
    assert_eq!((answer.status, answer.header("retry-after")), (200, None));
    let body = answer.json();
    assert_eq!((&body["operationId"], &body["status"]), (&operation.into(), &"assigned".into()));
    let state = &body["registrationState"];
    for (member, value) in [
        ("registrationId", "gw-07"),
        ("deviceId", "gw-07"),
        ("assignedHub", dps.hub.name().as_str()),
        ("status", "assigned"),
        ("substatus", "initialAssignment"),
    ] {
        assert_eq!(state[member], value, "{member}");
    }
    for time in ["createdDateTimeUtc", "lastUpdatedDateTimeUtc"] {
        assert!(state[time].as_str().unwrap().ends_with('Z'), "{state}");
    }
    assert!(!state["etag"].as_str().unwrap().is_empty());
    assert!(!state["symmetricKey"]["enrollmentGroupId"].as_str().unwrap().is_empty());
    assert_eq!(state.get("connectionProfile"), None);

    // The device is registered at the hub as with --device, with the derived key.
    let string = dps.connection_string("devices/gw-07.conn");
    assert_eq!(field(&string, "SharedAccessKey"), dps.key("gw-07"));
    assert_eq!(field(&string, "HostName"), dps.hub.name());
    assert_eq!(dps.log_in("gw-07").await, 0);

    // A lookup is the state; a second registration gets the same assignment.
    let path = format!("/{SCOPE}/registrations/GW-07?api-version=x");
    let look_up = dps.request("POST", &path, &[("authorization", &dps.token("GW-07"))], "").await;
    assert_eq!((look_up.status, &look_up.json()), (200, state));
    let again = dps.assigned("gw-07").await.json();
    for member in ["deviceId", "assignedHub", "createdDateTimeUtc"] {
        assert_eq!(again["registrationState"][member], state[member], "{member}");
    }
    assert_ne!(again["operationId"], body["operationId"]);
    // The first operation is still known.
    assert_eq!(dps.poll("gw-07", operation).await.status, 200);

    let assigned = format!("200 assigned to {} as device gw-07", dps.hub.name());
    let expected = [
        "register: 202 assigning",
        &format!("poll: {assigned}"),
        &format!("look up: {assigned}"),
        "register: 202 assigning",
        &format!("poll: {assigned}"),
        &format!("poll: {assigned}"),
    ];
    let log: Vec<String> = dps.log().iter().map(|line| line.split_once(": ").unwrap().1.to_owned()).collect();
    assert_eq!(log, expected);
}

#[tokio::test]
async fn a_registration_ids_case_is_kept_and_does_not_distinguish() {
    let dps = Dps::start(&[]);
    assert_eq!(dps.assigned("GW:a.b_c-7").await.json()["registrationState"]["deviceId"], "GW:a.b_c-7");
    let again = dps.assigned("gw:a.b_c-7").await.json();
    assert_eq!(again["registrationState"]["deviceId"], "GW:a.b_c-7");
    // Its key is that of the case it has registered with last.
    let string = dps.connection_string("devices/GW%3Aa.b_c-7.conn");
    assert_eq!(field(&string, "SharedAccessKey"), dps.key("gw:a.b_c-7"));
    // In the path as clients encode it, and in the scope.
    let path = register_path("gw%3Aa.b_c-7").replace(SCOPE, &SCOPE.to_uppercase());
    let answer = dps.request("PUT", &path, &[("authorization", &dps.token("gw:a.b_c-7"))], "{}").await;
    assert_eq!(answer.status, 202);
}

#[tokio::test]
async fn an_individual_enrolment_takes_precedence() {
    let dps = Dps::start(&["--dps-device", "gw-07=Line(3),Press", "--dps-device", "gw-08"]);
    for (id, device, file) in [
        ("gw-07", "Line(3),Press", "devices/Line%283%29%2CPress.conn"),
        ("GW-08", "gw-08", "devices/gw-08.conn"),
    ] {
        let key = dps.file(&format!("devices/{}.key", id.to_lowercase()));
        let answer = dps.register(id, &token(id, &key), "").await;
        assert_eq!(answer.status, 202);
        let operation = answer.json()["operationId"].as_str().unwrap().to_owned();
        let path = format!("/{SCOPE}/registrations/{id}/operations/{operation}?api-version=x");
        let answer = dps.request("GET", &path, &[("authorization", &token(id, &key))], "").await;
        let state = &answer.json()["registrationState"];
        assert_eq!((answer.status, &state["deviceId"]), (200, &device.into()), "{id}");
        assert_eq!(state["symmetricKey"], serde_json::json!({}));
        assert_eq!(field(&dps.connection_string(file), "SharedAccessKey"), key);
        assert_eq!(dps.register(id, &dps.token(id), "").await.status, 401, "the group's key");
    }
}

#[tokio::test]
async fn tokens_are_checked() {
    let dps = Dps::start(&[]);
    let key = dps.key("a:b");
    let resource = format!("{SCOPE}/registrations/a:b");
    let sign = |sr: &str, expiry: u64, rest: &str| {
        let sig = percent_encoded(&signature(&key, sr, expiry));
        format!("SharedAccessSignature sr={sr}&sig={sig}&se={expiry}{rest}")
    };
    let once = percent_encoded(&resource);
    let encoded_id = percent_encoded(&format!("{SCOPE}/registrations/{}", percent_encoded("a:b")));
    let later = in_an_hour();
    for (sr, expiry, rest) in [
        (&once, later, "&skn=registration"),
        // As the C# client encodes it, in lower case as the IoT Identity Service has it, and not at all.
        (&encoded_id, later, "&skn=registration"),
        (&once.to_lowercase(), later, "&skn=registration"),
        (&resource, later, ""),
    ] {
        let answer = dps.register("a:b", &sign(sr, expiry, rest), "").await;
        assert_eq!(answer.status, 202, "{sr}");
    }
    let good = sign(&once, later, "&skn=registration");
    for (token, reason) in [
        (String::new(), "there is neither a token nor a certificate"),
        ("Bearer x".to_owned(), "the token is malformed"),
        (good.replace("&se=", "&x="), "the token is malformed"),
        (good.replace(&later.to_string(), &(later + 1).to_string()), "the signature does not match"),
        (sign(&percent_encoded(&format!("{SCOPE}/registrations/a")), later, ""), "another registration"),
        (sign(&percent_encoded("0ne2/registrations/a:b"), later, ""), "another registration"),
        (sign(&once, unix_seconds() - 1, ""), "the token has expired"),
        (token("a:b", &dps.key("A:B")), "the signature does not match"),
    ] {
        let answer = dps.register("a:b", &token, "").await;
        assert_eq!(answer.status, 401, "{reason}");
        let body = answer.json();
        assert_eq!(body["errorCode"], 401_002);
        assert_eq!(answer.header("x-ms-error-code"), Some("401002"));
        assert_eq!(body["trackingId"].as_str().unwrap().len(), 36);
        assert!(body["timestampUtc"].as_str().unwrap().ends_with('Z'));
        let message = body["message"].as_str().unwrap();
        assert!(message.starts_with("Unauthorized") && message.contains(reason), "{message}");
        assert!(answer.header("x-ms-request-id").is_some());
        assert!(dps.log().last().unwrap().contains(reason), "{:?}", dps.log());
    }
}

#[tokio::test]
async fn bad_requests_are_told_apart() {
    let dps = Dps::start(&[]);
    dps.assigned("other").await;
    let path = register_path("gw-07");
    let large = format!(r#"{{"payload":"{}"}}"#, "x".repeat(96 << 10));
    let (register, look_up) = (path.as_str(), format!("/{SCOPE}/registrations/gw-07?api-version=x"));
    let operation = format!("/{SCOPE}/registrations/gw-07/operations/x?api-version=x");
    let of_other = {
        let answer = dps.register("other", &dps.token("other"), "").await;
        let operation = answer.json()["operationId"].as_str().unwrap().to_owned();
        format!("/{SCOPE}/registrations/gw-07/operations/{operation}?api-version=x")
    };
    let long = "x".repeat(129);
    for (method, path, body, status) in [
        ("PUT", register.replace(SCOPE, "0ne00000002"), "", 404),
        ("PUT", register.replace("?api-version=2021-06-01", ""), "", 400),
        ("PUT", register.replace("2021-06-01", ""), "", 400),
        ("PUT", register.replace("gw-07", "a%20b"), "", 400),
        ("PUT", register.replace("gw-07", "a%2Fb"), "", 400),
        ("PUT", register.replace("gw-07", "%C3%A4"), "", 400),
        ("PUT", register.replace("gw-07", "%FF"), "", 400),
        ("PUT", register.replace("gw-07", "a."), "", 400),
        ("PUT", register.replace("gw-07", ""), "", 400),
        ("PUT", register.replace("gw-07", &long), "", 400),
        ("PUT", register.replace("/register", "/registers"), "", 404),
        ("PUT", register.replace("/register?", "/register/x?"), "", 404),
        ("POST", register.to_owned(), "", 405),
        ("DELETE", look_up.clone(), "", 405),
        ("PUT", operation.clone(), "", 405),
        ("GET", operation, "", 404),
        ("GET", of_other, "", 404),
        ("POST", look_up.clone(), "", 404),
        ("POST", look_up, r#"{"csr":"AAAA"}"#, 400),
        ("PUT", register.to_owned(), "x", 400),
        ("PUT", register.to_owned(), "[]", 400),
        ("PUT", register.to_owned(), r#"{"registrationId":"other"}"#, 400),
        ("PUT", register.to_owned(), r#"{"csr":"AAAA"}"#, 400),
        ("PUT", register.to_owned(), r#"{"tpm":{"endorsementKey":"AAAA"}}"#, 400),
        ("PUT", register.to_owned(), &large, 413),
    ] {
        let answer = dps.request(method, &path, &[("authorization", &dps.token("gw-07"))], body).await;
        assert_eq!(answer.status, status, "{method} {path}: {:?}", answer.body);
        let code = answer.json()["errorCode"].as_u64().unwrap();
        assert_eq!(code / 1000, u64::from(status), "{method} {path}");
        assert!(!answer.json()["message"].as_str().unwrap().is_empty());
        assert_eq!(answer.header("allow").is_some(), status == 405);
        assert!(dps.log().last().unwrap().contains(&format!(": {status} ")), "{:?}", dps.log());
    }
    // TPM comes without a token.
    let answer = dps.register("gw-07", "", r#"{"tpm":{"endorsementKey":"AAAA"}}"#).await;
    assert_eq!(answer.status, 400);
    assert!(!dps.dir.join("devices/gw-07.conn").exists());
}

#[tokio::test]
async fn a_device_that_the_hub_has_removed_is_registered_again() {
    let dps = Dps::start(&[]);
    let path = "/devices/gw-07?api-version=x";
    dps.assigned("gw-07").await;
    assert_eq!(dps.log_in("gw-07").await, 0);
    let sign_in = dps.device_token("gw-07", None, in_an_hour());
    assert_eq!(dps.as_policy("registryReadWrite", "DELETE", path, "").await.status, 204);
    let mut mqtt = super::Mqtt { io: dps.tls(dps.mqtts).await };
    let username = "localhost/gw-07/?api-version=2020-09-30";
    assert_eq!(mqtt.connect("gw-07", username, &sign_in).await, 5);
    dps.assigned("gw-07").await;
    assert_eq!(dps.log_in("gw-07").await, 0);

    // One that is disabled stays so.
    let disabled = r#"{"status":"disabled"}"#;
    assert_eq!(dps.as_policy("registryReadWrite", "PUT", path, disabled).await.status, 200);
    assert_eq!(dps.log_in("gw-07").await, 5);
    dps.assigned("gw-07").await;
    assert_eq!(dps.log_in("gw-07").await, 5);
}

#[tokio::test]
async fn a_device_with_another_key_gets_the_derived_one() {
    let dps = Dps::start(&["--device", "gw-07"]);
    assert_ne!(dps.key("gw-07"), dps.client.key("devices/gw-07.conn"));
    dps.assigned("gw-07").await;
    assert_eq!(dps.key("gw-07"), dps.client.key("devices/gw-07.conn"));
    assert_eq!(dps.log_in("gw-07").await, 0);
}
