//! Device twins, from the device's side and from the service's.

use serde_json::{Value, json};

use super::Emulator;
use super::mqtt_client::{FILTERS, Mqtt, packet, text};
use crate::support::hub_client::Answer;

const PATH: &str = "/twins/dev-1?api-version=2020-09-30";

/// A message: its topic and its payload as JSON, of which there may be none.
async fn message<S>(device: &mut Mqtt<S>) -> (String, Value)
where
    S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin,
{
    let (head, body) = device.next().await.expect("a message");
    assert_eq!(head, 0x30, "QoS 0");
    let length = usize::from(u16::from_be_bytes([body[0], body[1]]));
    let topic = String::from_utf8(body[2..2 + length].to_vec()).unwrap();
    (topic, serde_json::from_slice(&body[2 + length..]).unwrap_or_default())
}

fn request(topic: &str, payload: &str) -> Vec<u8> {
    packet(0x30, &[&text(topic), payload.as_bytes()].concat())
}

fn report(id: &str, payload: &str) -> Vec<u8> {
    request(&format!("$iothub/twin/PATCH/properties/reported/?$rid={id}"), payload)
}

impl Emulator {
    async fn change(&self, method: &str, path: &str, tag: Option<&str>, body: &Value) -> Answer {
        let token = self.policy_token("service");
        let tag = tag.map(|tag| ("if-match", tag));
        let headers: Vec<_> = [("authorization", token.as_str())].into_iter().chain(tag).collect();
        self.request(method, path, &headers, &body.to_string()).await
    }

    pub async fn twin(&self, path: &str) -> Value {
        let answer = self.as_policy("service", "GET", path, "").await;
        assert_eq!(answer.status, 200);
        answer.json()
    }
}

#[tokio::test]
async fn a_device_reports_properties_and_a_service_reads_them() {
    let mut hub = Emulator::start("");
    let mut device = hub.device("dev-1", None).await;
    let granted = device.subscribe(&[("$iothub/twin/res/#", 0)]).await;
    assert_eq!(granted, [0]);
    // Python's client sends a blank.
    device.send(&request("$iothub/twin/GET/?$rid=a-1", " ")).await;
    let (topic, twin) = message(&mut device).await;
    assert_eq!(topic, "$iothub/twin/res/200/?$rid=a-1");
    assert_eq!(twin, json!({ "desired": { "$version": 1 }, "reported": { "$version": 1 } }));

    device.send(&report("2", r#"{"iotstream":{"agent":"1","gone":null},"n":1}"#)).await;
    assert_eq!(message(&mut device).await, ("$iothub/twin/res/204/?$rid=2&$version=2".into(), Value::Null));
    // At QoS 1 the acknowledgement comes before the answer.
    let body = text("$iothub/twin/PATCH/properties/reported/?$rid=3");
    device.send(&packet(0x32, &[&body[..], &[0, 9], br#"{"n":null}"#].concat())).await;
    assert_eq!(device.next().await, Some((0x40, vec![0, 9])));
    assert_eq!(message(&mut device).await.0, "$iothub/twin/res/204/?$rid=3&$version=3");
    for (id, wrong) in [("4", "[]"), ("5", r#"{"a.b":1}"#), ("6", "")] {
        device.send(&report(id, wrong)).await;
        let (topic, problem) = message(&mut device).await;
        assert_eq!(topic, format!("$iothub/twin/res/400/?$rid={id}"));
        assert!(problem["message"].is_string(), "{problem}");
    }

    let twin = hub.twin(PATH).await;
    let reported = &twin["properties"]["reported"];
    assert_eq!(reported["iotstream"], json!({ "agent": "1" }));
    assert_eq!((reported["$version"].clone(), reported.get("n")), (json!(3), None));
    assert!(reported["$metadata"]["iotstream"]["agent"]["$lastUpdated"].as_str().unwrap().ends_with('Z'));
    assert_eq!(twin["properties"]["desired"]["$version"], 1);
    assert!(twin["properties"]["desired"]["$metadata"]["$lastUpdated"].is_string());
    assert_eq!((twin["version"].clone(), twin["tags"].clone()), (json!(3), json!({})));
    assert!(twin["etag"].as_str().is_some_and(|tag| !tag.is_empty()));
    // A module has its own twin.
    let module = hub.twin("/twins/dev-1/modules/mod?api-version=x").await;
    assert_eq!((module["moduleId"].clone(), module["version"].clone()), (json!("mod"), json!(1)));

    drop(device);
    hub.restart(&["dev-1"]);
    assert_eq!(hub.twin(PATH).await["properties"], twin["properties"]);
    assert_eq!(hub.twin(PATH).await["etag"], twin["etag"]);
    // A device that is deleted and created again starts with a new twin.
    for method in ["DELETE", "PUT"] {
        hub.as_policy("iothubowner", method, "/devices/dev-1?api-version=x", "").await;
    }
    assert_eq!(hub.twin(PATH).await["version"], 1);
}

#[tokio::test]
async fn a_service_changes_desired_properties_and_the_device_is_notified() {
    let hub = Emulator::start("");
    let mut device = hub.device("dev-1", None).await;
    device.subscribe(&[("$iothub/twin/PATCH/properties/desired/#", 0), ("$iothub/twin/res/#", 0)]).await;
    let tag = format!("\"{}\"", hub.twin(PATH).await["etag"].as_str().unwrap());
    let body = json!({ "tags": { "site": "a" }, "properties": { "desired": { "rate": 5 }, "reported": { "x": 1 } } });
    let answer = hub.change("PATCH", PATH, Some(&tag), &body).await;
    assert_eq!(answer.status, 200);
    let twin = answer.json();
    assert_eq!(
        (twin["tags"].clone(), twin["properties"]["desired"]["rate"].clone()),
        (json!({ "site": "a" }), json!(5))
    );
    assert_eq!(twin["properties"]["reported"].get("x"), None);
    let (topic, desired) = message(&mut device).await;
    assert_eq!(topic, "$iothub/twin/PATCH/properties/desired/?$version=2");
    assert_eq!(desired, json!({ "rate": 5, "$version": 2 }));

    // With the previous etag, and with none.
    assert_eq!(hub.change("PATCH", PATH, Some(&tag), &body).await.status, 412);
    assert_eq!(
        hub.change("PATCH", PATH, None, &json!({ "properties": { "desired": { "rate": null } } }))
            .await
            .status,
        200
    );
    assert_eq!(message(&mut device).await.1, json!({ "rate": null, "$version": 3 }));
    let replaced =
        hub.change("PUT", PATH, Some("*"), &json!({ "properties": { "desired": { "only": 1 } } })).await;
    assert_eq!(replaced.json()["properties"]["desired"]["only"], 1);
    assert_eq!(message(&mut device).await.0, "$iothub/twin/PATCH/properties/desired/?$version=4");
    assert_eq!(hub.change("PATCH", PATH, None, &json!({ "tags": 1 })).await.status, 400);
    assert_eq!(hub.as_policy("service", "PATCH", PATH, "{").await.status, 400);
    assert_eq!(hub.as_policy("registryReadWrite", "PATCH", PATH, "{}").await.status, 401);
}

#[tokio::test]
async fn a_module_has_a_twin_of_its_own() {
    let hub = Emulator::start("");
    let path = "/twins/dev-1/modules/mod?api-version=2020-09-30";
    let mut module = hub.device("dev-1", Some("mod")).await;
    // As many filters as .NET's client asks for, some at QoS 1.
    let filters = [
        "$iothub/twin/res/#",
        "$iothub/twin/PATCH/properties/desired/#",
        "$iothub/methods/POST/#",
        "devices/dev-1/modules/mod/messages/devicebound/#",
        FILTERS[0],
        FILTERS[1],
    ];
    assert_eq!(module.subscribe(&filters.map(|filter| (filter, 1))).await, [1, 1, 1, 1, 0, 0]);
    module.send(&request("$iothub/twin/GET/?model=x&$rid=6f9619ff-8b86&x=1", "")).await;
    assert_eq!(message(&mut module).await.0, "$iothub/twin/res/200/?$rid=6f9619ff-8b86");
    module.send(&report("1", "{}")).await;
    assert_eq!(message(&mut module).await.0, "$iothub/twin/res/204/?$rid=1&$version=2");
    module.send(&report("2", r#"{"list":[1,{"a":null}],"deep":{"gone":null,"x":{"y":1}}}"#)).await;
    assert_eq!(message(&mut module).await.0, "$iothub/twin/res/204/?$rid=2&$version=3");

    let answer = hub.as_policy("service", "GET", path, "").await;
    let twin = answer.json();
    let tag = format!("\"{}\"", twin["etag"].as_str().unwrap());
    assert_eq!(answer.header("etag"), Some(tag.as_str()));
    assert_eq!((&twin["connectionState"], &twin["moduleId"]), (&json!("Connected"), &json!("mod")));
    assert_ne!(twin["lastActivityTime"], "0001-01-01T00:00:00Z");
    let reported = &twin["properties"]["reported"];
    assert_eq!(
        (&reported["list"], &reported["deep"]),
        (&json!([1, { "a": null }]), &json!({ "x": { "y": 1 } }))
    );
    assert!(reported["$metadata"]["deep"]["x"]["y"]["$lastUpdated"].is_string());
    assert_eq!(hub.twin(PATH).await["version"], 1);

    let body = json!({ "tags": { "site": "a" }, "properties": { "desired": { "rate": 1, "old": 2 } } });
    assert_eq!(hub.change("PATCH", path, Some(&tag), &body).await.status, 200);
    assert_eq!(message(&mut module).await.1, json!({ "rate": 1, "old": 2, "$version": 2 }));
    // As .NET's client replaces a twin: with all that it read.
    let mut whole = hub.twin(path).await;
    whole["properties"]["desired"].as_object_mut().unwrap().remove("old");
    let answer = hub.change("PUT", path, Some("\"*\""), &whole).await;
    let desired = &answer.json()["properties"]["desired"];
    assert_eq!((&desired["rate"], desired.get("old"), &desired["$version"]), (&json!(1), None, &json!(3)));
    assert_eq!(message(&mut module).await.1, json!({ "rate": 1, "$version": 3 }));
    assert_eq!(hub.change("PATCH", path, Some(&tag), &body).await.code(), 412_001);
    assert_eq!(hub.change("PATCH", path, None, &json!([])).await.code(), 400_004);
    drop(module);
}

#[tokio::test]
async fn requests_to_twins_can_fail() {
    let hub = Emulator::start("twin=429@2,retry-after=7");
    let mut device = hub.device("dev-1", None).await;
    device.subscribe(&[("$iothub/twin/res/#", 0)]).await;
    device.send(&report("1", r#"{"n":1}"#)).await;
    let (topic, problem) = message(&mut device).await;
    assert_eq!(topic, "$iothub/twin/res/429/?$rid=1");
    assert_eq!(problem["errorCode"], 429_001);
    let answer = hub.as_policy("service", "GET", PATH, "").await;
    assert_eq!((answer.status, answer.code(), answer.header("retry-after")), (429, 429_001, Some("7")));
    // The refused report is not stored.
    device.send(&request("$iothub/twin/GET/?$rid=2", "")).await;
    assert_eq!(message(&mut device).await.1["reported"], json!({ "$version": 1 }));

    let hub = Emulator::start("twin=drop@2");
    let mut device = hub.device("dev-1", None).await;
    device.send(&request("$iothub/twin/GET/?$rid=1", "")).await;
    assert_eq!(device.next().await, None);
    let token = hub.policy_token("service");
    assert!(hub.try_request("GET", PATH, &[("authorization", &token)], "").await.is_none());
    assert_eq!(hub.twin(PATH).await["version"], 1);

    let hub = Emulator::start("twin=silent@1");
    let mut device = hub.device("dev-1", None).await;
    device.subscribe(&[("$iothub/twin/res/#", 0)]).await;
    for id in ["1", "2"] {
        device.send(&request(&format!("$iothub/twin/GET/?$rid={id}"), "")).await;
    }
    assert_eq!(message(&mut device).await.0, "$iothub/twin/res/200/?$rid=2");

    let hub = Emulator::start("twin=refused@2");
    let mut device = hub.device("dev-1", None).await;
    assert_eq!(device.subscribe(&[("$iothub/twin/res/#", 0), (FILTERS[0], 0)]).await, [0x80, 0]);
    device.send(&request("$iothub/twin/GET/?$rid=1", "")).await;
    assert_eq!(device.next().await, None);
    let answer = hub.as_policy("service", "GET", PATH, "").await;
    assert_eq!((answer.status, answer.code()), (403, 403_010));
    let mut device = hub.device("dev-1", None).await;
    assert_eq!(device.subscribe(&[("$iothub/twin/res/#", 0)]).await, [0]);
}
