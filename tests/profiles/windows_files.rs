//! Files as Windows and the Azure portal write them.

use std::fs;

use super::refused;
use crate::support::{DEVICE, Hub, LIMIT, Process, Sandbox, Stdin, echoes, in_service, run};

#[test]
fn files_from_windows_and_the_portal_are_read_on_both_sides() {
    let sandbox = Sandbox::new();
    let hub = Hub::start(&sandbox, &["--device", DEVICE]);
    let wide = |text: &str| -> Vec<u8> {
        format!("\u{feff}{text}\r\n").encode_utf16().flat_map(u16::to_le_bytes).collect()
    };
    let string = fs::read_to_string(hub.device_file(DEVICE)).unwrap();
    let key = sandbox.write("dev.conn", wide(&format!("$env:X = \"{}\"", string.trim())));
    let ca = fs::read_to_string(hub.dir.join("ca.pem")).unwrap();
    let ca_file = sandbox.write("ca.pem", wide(&ca.replace('\n', "\r\n")));
    let mut agent = sandbox.iotstream();
    agent.args(["agent", "-vv", "--target", "echo=builtin:echo", "--connection-string-file"]).arg(&key);
    let _agent: Process = in_service(agent.arg("--ca-file").arg(&ca_file));

    let json = format!("{{\n  \"connectionString\": \"{}\"\n}}\n", hub.service_connection_string());
    let mut add = sandbox.iotstream();
    add.args(["profile", "add", "x", "--ca-file"]).arg(sandbox.write("bom.pem", format!("\u{feff}\n{ca}")));
    run(&mut add, Stdin::Ends(json.as_bytes()), LIMIT).succeeded();
    let kept = fs::read_to_string(sandbox.path(".config/iotstream/profiles.toml")).unwrap();
    assert!(kept.contains(&format!("connection-string = \"{}\"", hub.service_connection_string())), "{kept}");
    echoes(&mut sandbox.iotstream());
    // The output of az, over several lines, as that of a command.
    let config = format!(
        "default = \"x\"\n[profile.x]\nca-file = {ca_file:?}\nconnection-string-command = [\"cat\", {:?}]\n",
        sandbox.write("az.json", &json)
    );
    let config = sandbox.write("windows.toml", wide(&config));
    echoes(sandbox.iotstream().arg("--config").arg(config));

    sandbox.write("empty.conn", "\r\n");
    for (file, says) in [
        (sandbox.path("empty.conn"), "the connection string is empty"),
        (sandbox.path("ca.pem"), "it is a certificate, not a hub's connection string"),
    ] {
        let mut agent = sandbox.iotstream();
        refused(
            &run(agent.args(["agent", "--connection-string-file"]).arg(file), Stdin::Ends(b""), LIMIT),
            says,
        );
    }
    for (content, says) in [
        ("", "it is empty"),
        (&*string, "it is a connection string, and holds no certificate"),
        ("-----BEGIN CERTIFICATE-----\nMIIB", "the certificate in line 1 has no END"),
    ] {
        let mut helper = hub.helper(&sandbox);
        let file = sandbox.write("wrong.pem", content);
        refused(&run(helper.arg("--ca-file").arg(file).arg(DEVICE), Stdin::Ends(b""), LIMIT), says);
    }
}
