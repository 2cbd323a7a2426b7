//! An agent whose files other users can change.

use std::fs;
use std::path::{Path, PathBuf};

use crate::profiles::refused;
use crate::support::{
    DEVICE, Hub, LIMIT, OTHER_USER, Sandbox, Stdin, echoes, give, in_service, run, set_mode,
};

const CONFIG: i32 = 78;

/// The configuration of an agent with an echo target.
fn agent_config(sandbox: &Sandbox, hub: &Hub, file: &Path, more: &str) -> PathBuf {
    let ca_file = hub.dir.join("ca.pem");
    let target = "[[target]]\nstream = \"echo\"\nbuiltin = \"echo\"\n";
    sandbox.write(
        "agent.toml",
        format!("connection-string-file = {file:?}\nca-file = {ca_file:?}\n{more}\n{target}"),
    )
}

#[test]
fn insecure_permissions_fail_the_check_but_not_the_running_agent() {
    let sandbox = Sandbox::new();
    let hub = Hub::start(&sandbox, &["--device", DEVICE]);
    fs::create_dir_all(sandbox.path("above/own")).unwrap();
    let key = sandbox.write("above/own/dev.conn", fs::read(hub.device_file(DEVICE)).unwrap());
    let config = agent_config(&sandbox, &hub, &key, "audit-log = \"above/audit.log\"");
    let agent = |args: &[&str]| {
        let mut command = sandbox.iotstream();
        command.arg("agent").args(args).arg("--config").arg(&config);
        command
    };
    let check = || run(&mut agent(&["--check"]), Stdin::Ends(b""), LIMIT);
    check().succeeded();
    give(&key, Some(OTHER_USER), None);
    set_mode(&sandbox.path("above"), 0o777);
    let done = check();
    assert_eq!(done.status.code(), Some(CONFIG), "{}", done.text());
    for exposed in ["dev.conn belongs to another user", "above is writable by other users"] {
        assert!(done.text().contains(exposed), "{}", done.text());
    }
    let mut running = in_service(&mut agent(&["-vv"]));
    running.says("dev.conn belongs to another user", 1, LIMIT);
    running.says("above is writable by other users", 1, LIMIT);
    echoes(&mut hub.helper(&sandbox));
    drop(running);
    assert!(fs::read_to_string(sandbox.path("above/audit.log")).unwrap().contains("\"end\""));
    // A key that others can read is refused as before.
    set_mode(&key, 0o640);
    refused(&run(&mut agent(&[]), Stdin::Ends(b""), LIMIT), &format!("chmod 600 '{}'", key.display()));
    set_mode(&key, 0o600);
    set_mode(&sandbox.path("above/own"), 0o777);
    refused(&run(&mut agent(&[]), Stdin::Ends(b""), LIMIT), "own is writable by other users");
}
