//! The device registry, and what its clients read.

use serde_json::{Value, json};

use super::mqtt_client::Mqtt;
use super::{Emulator, SSH};
use crate::support::hub_client::Answer;
use crate::support::sas::{field, in_an_hour, token};

impl Emulator {
    /// A request for a path of the registry, for the etag `tag`.
    async fn owner(&self, method: &str, path: &str, tag: Option<&str>, body: &Value) -> Answer {
        let token = self.policy_token("iothubowner");
        let tag = tag.map(|tag| ("if-match", tag));
        let headers: Vec<_> = [("authorization", token.as_str())].into_iter().chain(tag).collect();
        let body = if body.is_null() { String::new() } else { body.to_string() };
        self.request(method, &format!("/devices/{path}?api-version=x"), &headers, &body).await
    }
}

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

#[tokio::test]
async fn modules_are_registered_listed_and_removed() {
    let hub = Emulator::start("");
    let path = "dev-1/modules/m2";
    let body = json!({ "deviceId": "dev-1", "moduleId": "m2", "managedBy": "me" });
    let refused = hub.as_policy("service", "PUT", &format!("/devices/{path}?api-version=x"), "").await;
    assert_eq!(refused.status, 401);
    let nobody = hub.owner("PUT", "nobody/modules/m", None, &body).await;
    assert_eq!((nobody.status, nobody.code()), (404, 404_001));
    let module = hub.owner("PUT", path, None, &body).await;
    assert_eq!((module.status, &module.json()["managedBy"]), (200, &json!("me")));
    let found = hub.owner("GET", path, None, &Value::Null).await.json();
    assert_eq!((&found["moduleId"], &found["authentication"]["type"]), (&json!("m2"), &json!("sas")));
    assert!(hub.dir.join("devices/dev-1%2Fm2.conn").exists());
    hub.device("dev-1", Some("m2")).await;

    let list = hub.owner("GET", "dev-1/modules", None, &Value::Null).await.json();
    let ids: Vec<_> = list.as_array().unwrap().iter().map(|module| module["moduleId"].clone()).collect();
    assert_eq!(ids, ["m2", "mod"]);
    assert_eq!(hub.owner("GET", "nobody/modules", None, &Value::Null).await.code(), 404_001);
    assert_eq!(hub.owner("DELETE", path, Some("*"), &Value::Null).await.status, 204);
    assert_eq!(hub.owner("GET", path, None, &Value::Null).await.code(), 404_010);
    assert_eq!(hub.owner("DELETE", path, None, &Value::Null).await.code(), 404_010);
    assert!(!hub.dir.join("devices/dev-1%2Fm2.conn").exists());
    assert_eq!(hub.owner("GET", "dev-1/modules/mod", None, &Value::Null).await.status, 200);
}

#[tokio::test]
async fn given_keys_are_taken_and_shown_to_registry_readers_only() {
    let mut hub = Emulator::start("");
    let [primary, secondary] = ["cHJpbWFyeSBwcmltYXJ5IQ==", "c2Vjb25kYXJ5IHNlY29uZA=="];
    let keys = json!({ "symmetricKey": { "primaryKey": primary, "secondaryKey": secondary }, "type": "sas" });
    for path in ["new", "new/modules/m"] {
        let answer =
            hub.owner("PUT", path, None, &json!({ "deviceId": "new", "authentication": keys })).await;
        assert_eq!((answer.status, &answer.json()["authentication"]), (200, &keys));
    }
    hub.restart(&[]);
    assert_eq!(hub.key("devices/new.conn"), primary);
    for path in ["/devices/new?api-version=x", "/devices/new/modules/m?api-version=x"] {
        let answer = hub.as_policy("registryRead", "GET", path, "").await;
        assert_eq!(answer.json()["authentication"], keys);
        let answer = hub.as_policy("service", "GET", path, "").await;
        assert_eq!(answer.json()["authentication"], json!({ "type": "sas" }));
    }
    for path in ["/devices?api-version=x", "/devices/new/modules?api-version=x", "/twins/new?api-version=x"] {
        let answer = hub.as_policy("service", "GET", path, "").await;
        let body = String::from_utf8(answer.body.to_vec()).unwrap();
        assert!(answer.status == 200 && body.contains("new") && !body.contains("primaryKey"), "{body}");
    }
    for key in [primary, secondary] {
        let resource = format!("{}/devices/new/modules/m", hub.name_in("service.conn"));
        let mut mqtt = Mqtt { io: hub.tls(hub.mqtts).await };
        let token = token(&resource, key, in_an_hour(), None);
        assert_eq!(mqtt.connect("new/m", "localhost/new/m/?api-version=x", &token).await, 0, "{key}");
    }
    // The hub makes a key that is not given.
    let keys = json!({ "authentication": { "symmetricKey": { "secondaryKey": secondary } } });
    let answer = hub.owner("PUT", "new", Some("*"), &keys).await.json();
    let keys = &answer["authentication"]["symmetricKey"];
    assert!(keys["primaryKey"] != primary && keys["secondaryKey"] == secondary, "{answer}");
    for key in [json!("hunter2"), json!("c2hvcnQ="), json!("YWFh".repeat(22)), json!(1)] {
        let body = json!({ "authentication": { "symmetricKey": { "primaryKey": key } } });
        let answer = hub.owner("PUT", "new", Some("*"), &body).await;
        assert_eq!((answer.status, answer.code()), (400, 400_004), "{key}");
        assert!(!answer.failure().to_string().contains("hunter2"));
    }
}

#[tokio::test]
async fn identities_are_changed_on_their_etags() {
    let hub = Emulator::start("");
    for (path, exists, missing) in [("dev-1/modules/mod", 409_301, 404_010), ("dev-1", 409_001, 404_001)] {
        let body = json!({ "deviceId": "dev-1", "statusReason": "why", "capabilities": { "iotEdge": true } });
        let first = hub.owner("GET", path, None, &Value::Null).await;
        let tag = format!("\"{}\"", first.json()["etag"].as_str().unwrap());
        assert_eq!(first.header("etag"), Some(tag.as_str()));
        // Without an etag, a PUT creates.
        let again = hub.owner("PUT", path, None, &body).await;
        assert_eq!((again.status, again.code()), (409, exists));
        let changed = hub.owner("PUT", path, Some(&tag), &body).await;
        assert_eq!((changed.status, &changed.json()["statusReason"]), (200, &json!("why")));
        assert_eq!(changed.json()["capabilities"]["iotEdge"], true);
        assert_eq!(changed.json()["generationId"], first.json()["generationId"]);
        assert_eq!(changed.json()["authentication"], first.json()["authentication"]);
        for method in ["PUT", "DELETE"] {
            let stale = hub.owner(method, path, Some(&tag), &body).await;
            assert_eq!((stale.status, stale.code()), (412, 412_001), "{method}");
        }
        // The twin has its own.
        let twin = hub.twin(&format!("/twins/{path}?api-version=x")).await;
        assert_eq!(twin["deviceEtag"], changed.json()["etag"]);
        assert_ne!(twin["etag"], twin["deviceEtag"]);
        let tag = changed.header("etag");
        assert_eq!(hub.owner("DELETE", path, tag, &Value::Null).await.status, 204);
        assert_eq!(hub.owner("PUT", path, Some("*"), &body).await.code(), missing);
    }
    hub.owner("PUT", "a", None, &Value::Null).await;
    hub.owner("PUT", "b", None, &Value::Null).await;
    for (top, count) in [("1", 1), ("0", 2), ("9999", 2)] {
        let path = format!("/devices?top={top}&api-version=x");
        let list = hub.as_policy("registryRead", "GET", &path, "").await.json();
        assert_eq!(list.as_array().unwrap().len(), count, "{top}");
    }
}
