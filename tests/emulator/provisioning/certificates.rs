//! Registrations with certificates.

use rustls::pki_types::PrivateKeyDer;

use super::super::mqtt_client::{Mqtt, packet, publish, text};
use super::{Dps, SCOPE};
use crate::support::hub_client::{Answer, HubClient};
use crate::support::{Ca, Hub, Leaf, Sandbox, named};

fn showing(hub: &Hub, leaf: &Leaf, intermediates: &[&Ca]) -> HubClient {
    let chain = intermediates.iter().map(|ca| ca.der());
    let key = PrivateKeyDer::try_from(leaf.key.serialize_der()).unwrap();
    HubClient::with_certificate(hub, Some(([leaf.der.clone()].into_iter().chain(chain).collect(), key)))
}

async fn register(client: &HubClient, id: &str) -> Answer {
    client.request("PUT", &super::register_path(id), &[], "{}").await
}

/// Registers and polls; the `registrationState`.
async fn assigned(client: &HubClient, id: &str) -> serde_json::Value {
    let answer = register(client, id).await;
    assert_eq!(answer.status, 202, "{:?}", answer.body);
    let operation = answer.json()["operationId"].as_str().unwrap().to_owned();
    let path = format!("/{SCOPE}/registrations/{id}/operations/{operation}?api-version=x");
    let answer = client.request("GET", &path, &[], "").await;
    assert_eq!(answer.status, 200, "{:?}", answer.body);
    answer.json()["registrationState"].clone()
}

/// A CONNECT without a password.
fn connect(client_id: &str, username: &str) -> Vec<u8> {
    let flags = [4, 0x82, 0, 60];
    packet(0x10, &[&text("MQTT")[..], &flags, &text(client_id), &text(username)].concat())
}

/// The code of the CONNACK at the hub.
async fn log_in(client: &HubClient, device: &str) -> u8 {
    let mut mqtt = Mqtt { io: client.tls(client.mqtts).await };
    mqtt.send(&connect(device, &format!("localhost/{device}/?api-version=2020-09-30"))).await;
    mqtt.next().await.unwrap().1[1]
}

fn start(ca: &Ca, args: &[&str]) -> Dps {
    let sandbox = Sandbox::new();
    let other = Ca::root("another root");
    sandbox.write("roots.pem", other.pem() + &ca.pem());
    let hub = Hub::start(&sandbox, &[&["--dps-scope", SCOPE, "--dps-ca", "roots.pem"], args].concat());
    Dps { client: HubClient::new(&hub), hub, sandbox }
}

#[tokio::test]
async fn a_device_registers_with_a_chain_of_certificates() {
    let root = Ca::root("root");
    let first = root.intermediate("first");
    let second = first.intermediate("second");
    let leaf = second.sign(&named("GW-07"));
    let dps = start(&root, &[]);
    let client = showing(&dps.hub, &leaf, &[&second, &first]);
    let state = assigned(&client, "gw-07").await;
    assert_eq!((&state["status"], &state["deviceId"]), (&"assigned".into(), &"gw-07".into()));
    assert_eq!(state.get("symmetricKey"), None);
    let info = &state["x509"]["certificateInfo"];
    assert_eq!(info["subjectName"], "CN=GW-07");
    assert_eq!(info["sha256Thumbprint"], leaf.thumbprint().to_uppercase());
    assert!(!state["x509"]["enrollmentGroupId"].as_str().unwrap().is_empty());
    assert!(dps.connection_string("devices/gw-07.conn").trim_end().ends_with(";x509=true"));
    assert_eq!(dps.connection_string("devices/gw-07.sha256").trim(), leaf.thumbprint());

    // The same certificate logs in at the hub, and no other.
    assert_eq!(log_in(&client, "gw-07").await, 0);
    let other = second.sign(&named("gw-07"));
    assert_eq!(log_in(&showing(&dps.hub, &other, &[&second, &first]), "gw-07").await, 5);
    // A renewed certificate registers anew, and replaces the first.
    let renewed = showing(&dps.hub, &other, &[&second, &first]);
    assigned(&renewed, "gw-07").await;
    assert_eq!((log_in(&renewed, "gw-07").await, log_in(&client, "gw-07").await), (0, 5));

    // The group with a key takes the id, too.
    assert_eq!(dps.assigned("gw-07").await.status, 200);
    assert_eq!(dps.log_in("gw-07").await, 0);
}

#[tokio::test]
async fn chains_that_do_not_fit_are_refused() {
    let root = Ca::root("root");
    let ca = root.intermediate("intermediate");
    let (foreign, of_same_name) = (Ca::root("foreign"), Ca::root("root"));
    let dps = start(&root, &[]);
    let mut expired = named("gw-07");
    expired.not_after = rcgen::date_time_ymd(2020, 1, 1);
    let mut server = named("gw-07");
    server.extended_key_usages = vec![rcgen::ExtendedKeyUsagePurpose::ServerAuth];
    for (leaf, intermediates, reason) in [
        (ca.sign(&named("gw-07")), &[][..], "intermediate"),
        (foreign.sign(&named("gw-07")), &[&ca], "known authority"),
        (of_same_name.sign(&named("gw-07")), &[], "known authority"),
        (ca.sign(&named("gw-08")), &[&ca], "common name"),
        (ca.sign(&named("")), &[&ca], "no common name"),
        (ca.sign(&expired), &[&ca], "expired"),
        (ca.sign(&server), &[&ca], "chain of certificates is invalid"),
    ] {
        let client = showing(&dps.hub, &leaf, intermediates);
        let answer = register(&client, "gw-07").await;
        assert_eq!((answer.status, &answer.json()["errorCode"]), (401, &401_002.into()), "{reason}");
        let message = answer.json()["message"].as_str().unwrap().to_owned();
        assert!(message.contains(reason), "{reason}: {message}");
        // Over MQTT the same is a refused login.
        let mut mqtt = Mqtt { io: client.tls(client.mqtts).await };
        mqtt.send(&connect("gw-07", &format!("{SCOPE}/registrations/gw-07/api-version=x"))).await;
        assert_eq!(mqtt.next().await, Some((0x20, vec![0, 5])), "{reason}");
    }
    // Without a certificate.
    assert_eq!(register(&dps.client, "gw-07").await.status, 401);
    // Without --dps-ca.
    let dps = Dps::start(&[]);
    let answer = register(&showing(&dps.hub, &ca.sign(&named("gw-07")), &[&ca]), "gw-07").await;
    assert_eq!(answer.status, 401);
    assert!(answer.json()["message"].as_str().unwrap().contains("--dps-ca"));
}

#[tokio::test]
async fn a_device_registers_with_a_certificate_over_mqtt() {
    let root = Ca::root("root");
    let ca = root.intermediate("intermediate");
    let dps = start(&root, &[]);
    let client = showing(&dps.hub, &ca.sign(&named("gw-07")), &[&ca]);
    let mut mqtt = Mqtt { io: client.tls(client.mqtts).await };
    mqtt.send(&connect("gw-07", &format!("{SCOPE}/registrations/gw-07/api-version=2019-03-31"))).await;
    assert_eq!(mqtt.next().await, Some((0x20, vec![0, 0])));
    assert_eq!(mqtt.subscribe(&[("$dps/registrations/res/#", 0)]).await, [0]);
    mqtt.send(&publish("$dps/registrations/PUT/iotdps-register/?$rid=1")).await;
    let (_, body) = mqtt.next().await.unwrap();
    assert!(String::from_utf8_lossy(&body).contains("res/202/?$rid=1&"), "{body:?}");
    assert_eq!(log_in(&client, "gw-07").await, 0);
}

#[tokio::test]
async fn an_individual_enrolment_names_one_certificate() {
    // Who has signed it does not matter.
    let unknown = Ca::root("unknown");
    let leaf = unknown.sign(&named("some name"));
    let root = Ca::root("root");
    let enrolment = format!("gw-07={}", leaf.thumbprint());
    let dps = start(&root, &["--dps-x509-device", &enrolment]);
    let client = showing(&dps.hub, &leaf, &[]);
    let state = assigned(&client, "gw-07").await;
    assert_eq!(state["deviceId"], "gw-07");
    assert_eq!(state["x509"].get("enrollmentGroupId"), None);
    assert_eq!(log_in(&client, "gw-07").await, 0);
    // It takes precedence over both groups.
    let of_group = root.sign(&named("gw-07"));
    assert_eq!(register(&showing(&dps.hub, &of_group, &[]), "gw-07").await.status, 401);
    assert_eq!(dps.register("gw-07", &dps.token("gw-07"), "").await.status, 401);
    assert_eq!(register(&showing(&dps.hub, &root.sign(&named("gw-09")), &[]), "gw-09").await.status, 202);
}
