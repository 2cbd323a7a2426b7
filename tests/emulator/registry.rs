//! The device registry, and what its clients read.

use serde_json::json;

use super::{Emulator, SSH};
use crate::support::sas::field;

#[tokio::test]
async fn the_registry_creates_lists_and_deletes_devices() {
    let hub = Emulator::start("");
    assert_eq!(hub.as_policy("service", "PUT", "/devices/b?api-version=x", "").await.status, 401);
    for id in ["b", "c%23"] {
        let path = format!("/devices/{id}?api-version=x");
        assert_eq!(hub.as_policy("registryReadWrite", "PUT", &path, r#"{"deviceId":"x"}"#).await.status, 200);
    }
    assert!(hub.dir.join("devices/c%23.conn").exists());
    let one = hub.as_policy("registryRead", "GET", "/devices/c%23?api-version=x", "").await;
    assert_eq!(
        (one.json()["deviceId"].as_str(), one.json()["status"].as_str()),
        (Some("c#"), Some("enabled"))
    );
    let _device = hub.device("dev-1", None).await;

    let twin = async |policy: &str, path: &str| {
        let answer = hub.as_policy(policy, "GET", &format!("/twins/{path}?api-version=x"), "").await;
        let field = |name: &str| answer.json()[name].as_str().unwrap_or_default().to_owned();
        (answer.status, field("deviceId"), field("moduleId"), field("connectionState"))
    };
    let twin_of = |device: &str, module: &str, state: &str| (200, device.into(), module.into(), state.into());
    assert_eq!(twin("service", "dev-1").await, twin_of("dev-1", "", "Connected"));
    assert_eq!(twin("iothubowner", "dev-1/modules/mod").await, twin_of("dev-1", "mod", "Disconnected"));
    // Permission to read the registry is not enough to read twins [D].
    for (policy, path, status) in [
        ("registryReadWrite", "dev-1", 401),
        ("service", "nobody", 404),
        ("service", "dev-1/modules/no", 404),
    ] {
        assert_eq!(twin(policy, path).await.0, status, "{policy} {path}");
    }

    let token = hub.policy_token("service");
    let query = r#"{"query":"SELECT * FROM devices"}"#;
    let mut continuation = String::new();
    let mut found = Vec::new();
    loop {
        let headers = [
            ("authorization", token.as_str()),
            ("x-ms-max-item-count", "2"),
            ("x-ms-continuation", &continuation),
        ];
        let page = hub.request("POST", "/devices/query?api-version=x", &headers, query).await;
        assert_eq!(page.status, 200);
        for device in page.json().as_array().unwrap() {
            found.push((device["deviceId"].as_str().unwrap().to_owned(), device["connectionState"].clone()));
        }
        match page.header("x-ms-continuation") {
            Some(next) => continuation = next.to_owned(),
            None => break,
        }
    }
    let expected = [("b", "Disconnected"), ("c#", "Disconnected"), ("dev-1", "Connected")];
    assert_eq!(found, expected.map(|(id, state)| (id.to_owned(), state.into())));
    assert_eq!(
        hub.as_policy("service", "GET", "/devices?api-version=x", "").await.json().as_array().unwrap().len(),
        3
    );
    let other = hub.as_policy("service", "POST", "/devices/query?api-version=x", r#"{"query":"DROP"}"#).await;
    assert_eq!(other.status, 400);

    let path = "/devices/b?api-version=x";
    assert_eq!(hub.as_policy("iothubowner", "DELETE", path, "").await.status, 204);
    assert_eq!(hub.as_policy("iothubowner", "GET", path, "").await.status, 404);
    assert!(!hub.dir.join("devices/b.conn").exists());
}

#[tokio::test]
async fn a_disabled_or_deleted_device_is_disconnected() {
    let hub = Emulator::start("");
    for (method, body, status, code) in
        [("PUT", r#"{"status":"disabled"}"#, 403, 403_012), ("DELETE", "", 404, 404_001)]
    {
        assert!(hub.as_policy("iothubowner", "PUT", "/devices/dev-1?api-version=x", "").await.status == 200);
        let mut device = hub.device("dev-1", None).await;
        let answer = hub.as_policy("iothubowner", method, "/devices/dev-1?api-version=x", body).await;
        assert!(answer.status < 300);
        assert_eq!(device.next().await, None);
        let answer = hub.initiate(SSH, &[]).await;
        assert_eq!((answer.status, answer.code()), (status, code));
    }
}

#[tokio::test]
async fn a_restart_keeps_all_keys() {
    let mut hub = Emulator::start("");
    hub.as_policy("iothubowner", "PUT", "/devices/late?api-version=x", "").await;
    let ca = std::fs::read(hub.dir.join("ca.pem")).unwrap();
    let keys = ["service.conn", "policies/device.conn", "devices/dev-1.conn", "devices/late.conn"];
    let before = keys.map(|file| hub.key(file));
    hub.restart(&[]);
    assert_eq!(keys.map(|file| hub.key(file)), before);
    assert_eq!(std::fs::read(hub.dir.join("ca.pem")).unwrap(), ca);
    let name = hub.connection_string("devices/dev-1%2Fmod.conn");
    assert!(field(&name, "HostName").ends_with(&format!(":{}", hub.https.port())), "{name}");
    hub.device("late", None).await;
}

#[tokio::test]
async fn registry_clients_read_authentication_types_and_statistics() {
    let mut hub = Emulator::start("");
    let thumbprint = "ab".repeat(32);
    let x509 = |kind: &str| json!({ "authentication": { "type": kind, "x509Thumbprint": { "primaryThumbprint": thumbprint } } });
    for (id, body) in [("self", x509("selfSigned")), ("signed", x509("certificateAuthority"))] {
        let path = format!("/devices/{id}?api-version=x");
        assert_eq!(hub.as_policy("iothubowner", "PUT", &path, &body.to_string()).await.status, 200);
    }
    let sha1 = json!({ "authentication": { "type": "selfSigned", "x509Thumbprint": { "primaryThumbprint": "ab" } } });
    let answer = hub.as_policy("iothubowner", "PUT", "/devices/other?api-version=x", &sha1.to_string()).await;
    assert_eq!(answer.status, 400);
    hub.as_policy("iothubowner", "PUT", "/devices/self?api-version=x", r#"{"status":"disabled"}"#).await;
    hub.restart(&[]);
    for (id, kind) in [("dev-1", "sas"), ("self", "selfSigned"), ("signed", "certificateAuthority")] {
        let twin = hub.twin(&format!("/twins/{id}?api-version=x")).await;
        assert_eq!(twin["authenticationType"], kind, "{id}");
        let conn = std::fs::read_to_string(hub.dir.join(format!("devices/{id}.conn"))).unwrap();
        assert_eq!(conn.contains("x509=true"), kind != "sas", "{id}");
    }

    let query = r#"{"query":"SELECT * FROM devices"}"#;
    let answer = hub.as_policy("service", "POST", "/devices/query?api-version=x", query).await;
    assert_eq!(answer.header("x-ms-item-type"), Some("Twin"));
    let _device = hub.device("dev-1", None).await;
    hub.as_policy("iothubowner", "PUT", "/devices/signed?api-version=x", r#"{"status":"disabled"}"#).await;
    let statistics = hub.as_policy("registryRead", "GET", "/statistics/devices?api-version=x", "").await;
    let expected = json!({ "totalDeviceCount": 3, "enabledDeviceCount": 2, "disabledDeviceCount": 1 });
    assert_eq!((statistics.status, statistics.json()), (200, expected));
    let connected = hub.as_policy("service", "GET", "/statistics/service?api-version=x", "").await;
    assert_eq!(connected.json(), json!({ "connectedDeviceCount": 1 }));
    assert_eq!(hub.as_policy("device", "GET", "/statistics/devices?api-version=x", "").await.status, 401);
}
