//! Microsoft's Python client of the Device Provisioning Service, `azure-iot-device`, against the emulator: it registers, and
//! logs in at the hub as the device that it is assigned.

use std::fs;

use data_encoding::BASE64;
use hmac::{Hmac, KeyInit, Mac};
use serde_json::json;
use sha2::Sha256;

use crate::support::{Ca, Hub, LIMIT, Sandbox, Stdin, named, python_program, run};

const SCOPE: &str = "0ne00000001";

/// The client knows the service's ports alone.
const CLIENT: &str = r#"
import json, sys
from azure.iot.device import IoTHubDeviceClient, ProvisioningDeviceClient, X509
from paho.mqtt import client as paho

args = json.load(sys.stdin)
ports, connect = {443: args["https"], 8883: args["mqtts"]}, paho.Client.connect
paho.Client.connect = lambda self, host, port=0, *rest, **more: connect(self, host, ports[port], *rest, **more)

more = dict(websockets=args["websockets"])
if "key" in args:
    provisioning = ProvisioningDeviceClient.create_from_symmetric_key(
        provisioning_host="localhost", registration_id=args["id"], id_scope=args["scope"],
        symmetric_key=args["key"], **more)
else:
    x509 = X509(args["certificate"], args["private-key"])
    provisioning = ProvisioningDeviceClient.create_from_x509_certificate(
        provisioning_host="localhost", registration_id=args["id"], id_scope=args["scope"], x509=x509, **more)
try:
    result = provisioning.register()
except Exception as error:
    print(type(error).__name__, "failed registration status" in str(error.__cause__))
    sys.exit(0)
state = result.registration_state
print(result.status, getattr(state, "assigned_hub", None), getattr(state, "device_id", None))
if result.status != "assigned":
    sys.exit(0)
hub = state.assigned_hub.split(":")[0]
if "key" in args:
    device = IoTHubDeviceClient.create_from_symmetric_key(args["key"], hub, state.device_id, **more)
else:
    device = IoTHubDeviceClient.create_from_x509_certificate(x509, hub, state.device_id, **more)
device.connect()
print(sorted(device.get_twin()))
device.shutdown()
"#;

/// Runs the client over MQTT and over MQTT over WebSocket; it prints `expected`.
#[track_caller]
fn registers(sandbox: &Sandbox, hub: &Hub, identity: &serde_json::Value, expected: &str) {
    for websockets in [false, true] {
        let port = |address: &str| address.rsplit_once(':').unwrap().1.parse::<u16>().unwrap();
        let mut args = identity.clone();
        args["scope"] = SCOPE.into();
        args["websockets"] = websockets.into();
        args["https"] = port(&hub.https).into();
        args["mqtts"] = port(&hub.mqtts).into();
        let mut client = sandbox.command(python_program("python"));
        client.args(["-c", CLIENT]).env("SSL_CERT_FILE", hub.dir.join("ca.pem"));
        let done = run(&mut client, Stdin::Ends(args.to_string().as_bytes()), LIMIT).succeeded();
        assert_eq!(done.text(), expected, "websockets: {websockets}: {}", done.stderr);
    }
}

fn assigned(hub: &Hub, device: &str) -> String {
    format!("assigned {} {device}\n['desired', 'reported']\n", hub.name())
}

#[test]
fn a_key_of_the_group_and_one_of_its_own_are_served() {
    let sandbox = Sandbox::new();
    let hub = Hub::start(&sandbox, &["--dps-scope", SCOPE, "--dps-device", "gw:08=Press"]);
    let key = |file: &str| fs::read_to_string(hub.dir.join("dps").join(file)).unwrap().trim().to_owned();
    let group_key = BASE64.decode(key("group.key").as_bytes()).unwrap();
    let mut mac = Hmac::<Sha256>::new_from_slice(&group_key).unwrap();
    mac.update(b"gw-07");
    let derived = BASE64.encode(&mac.finalize().into_bytes());
    registers(&sandbox, &hub, &json!({ "id": "gw-07", "key": derived }), &assigned(&hub, "gw-07"));
    let own = key("devices/gw%3A08.key");
    registers(&sandbox, &hub, &json!({ "id": "gw:08", "key": own }), &assigned(&hub, "Press"));
    registers(&sandbox, &hub, &json!({ "id": "gw-09", "key": own }), "CredentialError False\n");
}

#[test]
fn a_chain_of_certificates_is_served() {
    let sandbox = Sandbox::new();
    let root = Ca::root("root");
    let intermediate = root.intermediate("intermediate");
    let leaf = intermediate.sign(&named("gw-07"));
    sandbox.write("root.pem", root.pem());
    let hub = Hub::start(&sandbox, &["--dps-scope", SCOPE, "--dps-ca", "root.pem"]);
    let identity = |certificate: String| {
        let private_key = sandbox.write("leaf.key", leaf.key.serialize_pem());
        json!({ "id": "gw-07", "certificate": certificate, "private-key": private_key })
    };
    let chain = sandbox.write("chain.pem", leaf.pem().to_owned() + &intermediate.pem());
    registers(&sandbox, &hub, &identity(chain.display().to_string()), &assigned(&hub, "gw-07"));
    let alone = sandbox.write("leaf.pem", leaf.pem());
    registers(&sandbox, &hub, &identity(alone.display().to_string()), "CredentialError False\n");
}

#[test]
fn a_registration_that_takes_long_or_fails_is_understood() {
    let sandbox = Sandbox::new();
    let key = "MDEyMzQ1Njc4OWFiY2RlZg==";
    for (faults, expected) in [
        ("dps-assigning=2", None),
        ("dps-status=503@1", None),
        ("dps-assigning=none", None),
        ("dps-failed=401002", Some("ClientError True\n")),
    ] {
        let args = ["--dps-scope", SCOPE, "--dps-device", "gw-07", "--inject", faults];
        fs::create_dir_all(sandbox.path("hub/dps/devices")).unwrap();
        sandbox.write("hub/dps/devices/gw-07.key", key);
        let hub = Hub::start(&sandbox, &args);
        let expected = expected.map_or_else(|| assigned(&hub, "gw-07"), str::to_owned);
        registers(&sandbox, &hub, &json!({ "id": "gw-07", "key": key }), &expected);
    }
}
