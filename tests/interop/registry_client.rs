//! Microsoft's Python clients of a hub's registry and of twins against the emulator: `azure-iot-hub` as a service, and
//! `azure-iot-device` as the device and as its module.

use std::fs;

use serde_json::json;

use crate::support::{Hub, LIMIT, Sandbox, Stdin, python_program, run};

/// The service's client imports a client of AMQP, which Python's newer versions have no package of, and uses it for messages
/// alone.
const SERVICE: &str = r#"
import base64, json, sys
from unittest import mock
sys.modules["uamqp"] = mock.MagicMock()
from azure.iot.hub import IoTHubRegistryManager
from azure.iot.hub.models import QuerySpecification, Twin, TwinProperties
from msrest.exceptions import HttpOperationError

args = json.load(sys.stdin)
registry = IoTHubRegistryManager.from_connection_string(args["owner"])
keys = [base64.b64encode(bytes([letter]) * 32).decode() for letter in b"abcd"]

def refused(action, *args):
    try:
        action(*args)
    except HttpOperationError as error:
        return error.response.status_code

def desired(**properties):
    return Twin(properties=TwinProperties(desired=properties))

def query(text, page=None):
    items, token = [], None
    while True:
        result = registry.query_iot_hub(QuerySpecification(query=text), token, page)
        items.append(result.items)
        token = result.continuation_token
        if not token:
            return result.type, items
"#;

const REGISTRY: &str = r#"
device = registry.create_device_with_sas("gw-08", keys[0], keys[1], "enabled", status_reason="new")
assert device.authentication.symmetric_key.primary_key == keys[0] and device.status_reason == "new", device
assert refused(registry.create_device_with_sas, "gw-08", *keys[:2], "enabled") == 409
changed = registry.update_device_with_sas("gw-08", device.etag, *keys[2:], "disabled")
assert changed.authentication.symmetric_key.secondary_key == keys[3] and changed.status == "disabled", changed
assert changed.generation_id == device.generation_id
assert refused(registry.update_device_with_sas, "gw-08", device.etag, *keys[2:], "enabled") == 412
assert refused(registry.update_device_with_sas, "gw-09", None, *keys[2:], "enabled") == 404
registry.create_device_with_x509("gw-09", "ab" * 32, None, "enabled")
assert registry.get_device("gw-09").authentication.type == "selfSigned"

module = registry.create_module_with_sas("gw-08", "camera", "me", *keys[:2])
assert module.authentication.symmetric_key.primary_key == keys[0] and module.managed_by == "me", module
registry.update_module_with_sas("gw-08", "camera", "you", module.etag, *keys[2:])
module = registry.get_module("gw-08", "camera")
assert module.authentication.symmetric_key.primary_key == keys[2] and module.managed_by == "you", module
assert [module.module_id for module in registry.get_modules("gw-08")] == ["camera"]
assert [device.device_id for device in registry.get_devices(2)] == ["gw-07", "gw-08"]
assert registry.get_device_registry_statistics().disabled_device_count == 1

twin = registry.get_twin("gw-08")
assert twin.device_etag == changed.etag and twin.authentication_type == "sas" and twin.tags == {}, twin
twin = registry.update_twin("gw-08", Twin(tags={"site": "a"}, properties=TwinProperties(desired={"rate": 5})), twin.etag)
assert twin.tags == {"site": "a"} and twin.properties.desired["rate"] == 5 and twin.version == 2, twin
assert refused(registry.update_twin, "gw-08", desired(rate=6), "AAAAAAAAAAE=") == 412
twin = registry.replace_twin("gw-08", desired(only={"x": 1}), twin.etag)
assert "rate" not in twin.properties.desired and twin.properties.desired["$version"] == 3, twin
twin = registry.update_module_twin("gw-08", "camera", desired(zoom={"level": 2}))
assert twin.module_id == "camera" and twin.properties.desired["zoom"] == {"level": 2}, twin

kind, pages = query("SELECT * FROM devices", 2)
assert kind == "Twin" and [[twin.device_id for twin in page] for page in pages] == [["gw-07", "gw-08"], ["gw-09"]]
kind, [[row]] = query("SELECT deviceId, moduleId, properties.desired.zoom AS tags FROM devices.modules"
                      " WHERE is_defined(properties.desired.zoom) AND deviceId != 'gw-07'")
assert (kind, row.device_id, row.module_id, row.tags) == ("Raw", "gw-08", "camera", {"level": 2}), row

registry.delete_module("gw-08", "camera")
assert refused(registry.get_module, "gw-08", "camera") == 404
assert refused(registry.delete_device, "gw-08", device.etag) == 412
registry.delete_device("gw-08", registry.get_device("gw-08").etag)
assert refused(registry.get_twin, "gw-08") == 404
print("done")
"#;

/// The device's client knows the service's ports alone.
const TWINS: &str = r#"
import queue
from azure.iot.device import IoTHubDeviceClient, IoTHubModuleClient
from paho.mqtt import client as paho

ports, connect = {443: args["https"], 8883: args["mqtts"]}, paho.Client.connect
paho.Client.connect = lambda self, host, port=0, *rest, **more: connect(self, host, ports[port], *rest, **more)

for kind, string, *module in (IoTHubDeviceClient, args["device"]), (IoTHubModuleClient, args["module"], "camera"):
    for version, websockets in enumerate((False, True), start=1):
        client = kind.create_from_connection_string(string, websockets=websockets)
        client.connect()
        patches = queue.Queue()
        client.on_twin_desired_properties_patch_received = patches.put
        assert client.get_twin()["desired"]["$version"] == version
        client.patch_twin_reported_properties({"iotstream": {"agent": "0.2.0", "gone": None}, "list": [websockets]})
        reported = client.get_twin()["reported"]
        assert reported == {"iotstream": {"agent": "0.2.0"}, "list": [websockets], "$version": version + 1}, reported
        get, update = registry.get_twin, registry.update_twin
        if module:
            get, update = registry.get_module_twin, registry.update_module_twin
        update("gw-07", *module, desired(rate=version, gone=None))
        patch = patches.get(timeout=20)
        assert patch == {"rate": version, "gone": None, "$version": version + 1}, patch
        twin = get("gw-07", *module)
        assert twin.connection_state == "Connected" and twin.properties.reported["list"] == [websockets], twin
        assert twin.properties.reported["$metadata"]["iotstream"]["agent"]["$lastUpdated"].endswith("Z")
        try:
            client.patch_twin_reported_properties({"a.b": 1})
        except Exception as error:
            assert "400" in str(error.__cause__ or error), error
        else:
            raise AssertionError("a wrong key is taken")
        client.shutdown()
print("done")
"#;

#[track_caller]
fn succeeds(script: &str) {
    let sandbox = Sandbox::new();
    let hub = Hub::start(&sandbox, &["--device", "gw-07", "gw-07/camera"]);
    let port = |address: &str| address.rsplit_once(':').unwrap().1.parse::<u16>().unwrap();
    let string = |file: &str| fs::read_to_string(hub.dir.join(file)).unwrap().trim().to_owned();
    // The device's client takes no port in a host name.
    let device = |file: &str| string(file).replace(&format!(":{}", hub.port()), "");
    let args = json!({
        "https": port(&hub.https),
        "mqtts": port(&hub.mqtts),
        "owner": string("policies/iothubowner.conn"),
        "device": device("devices/gw-07.conn"),
        "module": device("devices/gw-07%2Fcamera.conn"),
    });
    let ca = hub.dir.join("ca.pem");
    let mut client = sandbox.command(python_program("python"));
    client.args(["-c", &[SERVICE, script].concat()]).env("SSL_CERT_FILE", &ca).env("REQUESTS_CA_BUNDLE", &ca);
    let done = run(&mut client, Stdin::Ends(args.to_string().as_bytes()), LIMIT).succeeded();
    assert_eq!(done.text(), "done\n", "{}", done.stderr);
}

#[test]
fn a_service_manages_devices_and_modules_and_queries_their_twins() {
    succeeds(REGISTRY);
}

#[test]
fn devices_and_modules_report_and_receive_properties() {
    succeeds(TWINS);
}
