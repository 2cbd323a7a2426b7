//! The keys of profiles for Azure Relay.

use super::refused;
use crate::support::sas::unix_seconds;
use crate::support::{LIMIT, Sandbox, Stdin, run};

const KEY: &str = "aHVudGVyMg==";

#[test]
fn a_key_of_another_backend_is_refused_and_so_is_an_invalid_one() {
    let hub =
        format!("connection-string = \"HostName=localhost;SharedAccessKeyName=p;SharedAccessKey={KEY}\"");
    let relay = format!(
        "connection-string = \"Endpoint=sb://localhost/;SharedAccessKeyName=p;SharedAccessKey={KEY}\""
    );
    for (keys, says) in [
        (format!("{hub}\nentity = \"x\""), "entity is for Azure Relay, and this profile is for an IoT hub"),
        (format!("{hub}\npreamble = \"azbridge\""), "preamble is for Azure Relay"),
        (format!("{relay}\napi-version = \"x\""), "api-version is for an IoT hub"),
        (
            format!("{relay}\nentity = \"a//{{device}}\""),
            "entity: the hybrid connection's name has an empty part",
        ),
        (format!("{relay};EntityPath=x").replace("\";", ";") + "\"\nhub = \"x\"", "no token-command"),
        ("relay = \"a b\"\ntoken-command = \"echo x\"".into(), "relay is not a host name"),
        ("relay = \"x\"\nhub = \"y\"\ntoken-command = \"echo x\"".into(), "it has both hub and relay"),
        ("relay = \"x\"".into(), "it has relay but no token-command"),
        (
            "connection-string = \"Endpoint=sb://x/;SharedAccessKeyName=p\"".into(),
            "the connection string has no SharedAccessKey",
        ),
        (
            format!(
                "connection-string = \"Endpoint=sb://x/;SharedAccessSignature=SharedAccessSignature sr=x&sig=AAAA&se={}\"",
                unix_seconds() - 1
            ),
            "the shared access signature has expired",
        ),
    ] {
        let sandbox = Sandbox::new();
        sandbox.write("profiles.toml", format!("[profile.x]\n{keys}\n"));
        let mut helper = sandbox.iotstream();
        let helper = helper.args(["--config", "profiles.toml", "--profile", "x", "gw-07"]);
        refused(&run(helper, Stdin::Stays(b"x"), LIMIT), says);
    }
}

#[test]
fn a_command_that_prints_the_connection_string_runs_once() {
    let sandbox = Sandbox::new();
    let count = "echo x >> runs; echo 'Endpoint=sb://127.0.0.1:1/;SharedAccessKeyName=p;SharedAccessKey=k'";
    sandbox.write(
        "profiles.toml",
        format!("[profile.x]\nconnection-string-command = {{ shell = \"{count}\" }}\n"),
    );
    let mut helper = sandbox.iotstream();
    let helper = helper.args(["--config", "profiles.toml", "--profile", "x", "gw-07"]);
    let done = run(helper, Stdin::Stays(b"x"), LIMIT);
    assert_eq!(done.status.code(), Some(75), "{}", done.stderr);
    assert_eq!(std::fs::read_to_string(sandbox.path("runs")).unwrap(), "x\n");
}
