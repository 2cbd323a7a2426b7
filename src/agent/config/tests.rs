use super::*;
use std::os::unix::fs::PermissionsExt;

const DEVICE: &str = "HostName=localhost:8443;DeviceId=dev-1;SharedAccessKey=c2VjcmV0";

fn written(text: &str) -> (tempfile::TempDir, PathBuf) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("agent.toml");
    std::fs::write(&path, text).unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
    (directory, path)
}

#[test]
fn reads_the_documented_file() {
    let (_directory, path) = written(&format!(
        r#"
connection-string = "{DEVICE}"
transport = "mqtt"
mqtt-port = 18883
ca-file = "ca.pem"

[[target]]
stream = "ssh"
connect = "127.0.0.1:22"

[[target]]
stream = "console"
command = ["/usr/sbin/sshd", "-i"]
"#
    ));
    let config = Config::read(&path).unwrap();
    assert_eq!(
        (config.listeners[0].device(), config.listeners[0].service()),
        ("dev-1".into(), "localhost:8443".into())
    );
    let listener = format!("{:?}", config.listeners);
    assert!(listener.contains("transport: Mqtt, mqtt_port: 18883"), "{listener}");
    assert_eq!(config.ca_file, Some(path.with_file_name("ca.pem")));
    assert_eq!(config.target("ssh").unwrap().address, Address::parse("127.0.0.1:22").unwrap());
    assert!(
        matches!(&config.target("console").unwrap().address, Address::Command(words) if words.len() == 2)
    );
    assert!(config.target("other").is_none());
    assert!(!format!("{config:?}").contains("c2VjcmV0"));
}

#[test]
fn errors_name_the_problem() {
    for (text, part) in [
        ("", "no [[target]]"),
        ("[[target]]\nstream=\"a\"\nconnect=\"b:1\"", "no connection-string"),
        ("connection-string = \"x\"", "no [[target]]"),
        (
            "connection-string = \"HostName=h;SharedAccessKeyName=service;SharedAccessKey=AAAA\"\n[[target]]\nstream=\"a\"\nconnect=\"b:1\"",
            "policy's",
        ),
        ("conection-string = \"x\"", "there is no key 'conection-string'"),
        ("bandwidth = 0", "nonzero"),
        (
            "[[target]]\nstream = \"a\"\nconnect = \"b:1\"\napprove = \"maybe\"",
            "approve is \"always\", \"never\"",
        ),
        ("[[target]]\nstream = \"a\"\nbuiltin = \"echo\"\nconnect = \"b:1\"", "needs one of connect"),
        ("[[target]]\nstream = \"a\"\nbuiltin = \"echo\"\napprove = { command = [] }", "names no program"),
        (
            "[[target]]\nstream = \"a\"\nbuiltin = \"echo\"\napprove = { ask = true, command = [\"x\"] }",
            "needs one of ask = true",
        ),
        (
            "[[target]]\nstream = \"a\"\nbuiltin = \"echo\"\napprove = { for = \"2h\" }",
            "needs one of ask = true",
        ),
        (
            "metrics = \"0.0.0.0:9110\"\n[[target]]\nstream = \"a\"\nbuiltin = \"echo\"",
            "metrics: 0.0.0.0:9110 is reachable",
        ),
        ("connection-string = \"x\"\n[[target]]\nstream = \"a\"\nconnect = \"b\"\n", "'b' is neither"),
        ("connection-string = \"x\"\n[[target]]\nstream = \"a\"\n", "needs one of connect"),
        ("transport = \"carrier-pigeon\"", "unknown variant"),
        (
            "connection-string-env = \"KEY\"\n[[target]]\nstream = \"a\"\nconnect = \"b:1\"\npass-environment = [\"KEY\"]",
            "KEY holds the device's key",
        ),
        (
            "[[target]]\nstream = \"a\"\nconnect = \"b:1\"\npass-environment = [\"A=b\"]",
            "'A=b' cannot be a variable's name",
        ),
    ] {
        let (_directory, path) = written(text);
        let problem = Config::read(&path).unwrap_err().to_string();
        assert!(problem.contains(part), "{text}: {problem}");
    }
}

#[test]
fn a_target_of_many_ports_names_them() {
    let target = |keys: &str| format!("connection-string = \"{DEVICE}\"\n\n[[target]]\n{keys}\n");
    let (_directory, path) = written(&format!(
        "{}\n[[target]]\nstream = 'tcp-*'\nconnect = ['127.0.0.1:1', '/run/x.sock']\n",
        target("stream = '*'\nports = ['22', '8000-8999']\nconnect = ['127.0.0.1:{port}', '[::1]:{port}']")
    ));
    let config = Config::read(&path).unwrap();
    for (stream, address) in [
        ("ssh", Some("127.0.0.1:22, [::1]:22")),
        ("tcp-8080", Some("127.0.0.1:8080, [::1]:8080")),
        ("tcp-80", Some("127.0.0.1:1, /run/x.sock")),
        ("console", None),
    ] {
        let target = config.target(stream);
        let found = target.map(|target| target.address.for_stream(stream).to_string());
        assert_eq!(found.as_deref(), address, "{stream}");
    }
    assert_eq!(config.host_keys, [""; 0], "one for each port");
    for (keys, line, part) in [
        ("stream = 'x'\nconnect = 'b'", 5, "connect: 'b' is neither host:port nor the path"),
        ("stream = 'x'\nconnect = ['b:1',\n 'c']", 5, "connect: 'c' is neither"),
        ("stream = 'x'\nconnect = []", 5, "connect: the list is empty"),
        ("stream = 'x'\nconnect = 22", 5, "expected connect to be \"host:port\", the path"),
        ("stream = 'tcp-*'\nconnect = 'b:{port}'", 3, "{port} in connect requires ports"),
        ("stream = 'tcp-*'\nconnect = ['b:1', 'b:{port}']", 3, "{port} in connect requires ports"),
        ("stream = 'tcp-*'\nports = ['90-80']\nconnect = 'b:{port}'", 5, "ports: '90-80' is neither"),
        ("stream = 'tcp-*'\nports = []\nconnect = 'b:{port}'", 5, "ports: the list is empty"),
        ("stream = 'tcp-*'\nports = [80]\nconnect = 'b:{port}'", 5, "expected a string"),
        ("stream = 'web'\nports = ['80']\nconnect = 'b:{port}'", 3, "no stream of the ports 80 has a name"),
        ("stream = 'ssh'\nports = ['80']\nconnect = 'b:{port}'", 3, "no stream of the ports 80 has a name"),
    ] {
        let (_directory, path) = written(&target(keys));
        let problem = Config::read(&path).unwrap_err().to_string();
        let place = format!("{}:{line}: ", path.display());
        assert!(problem.starts_with(&place) && problem.contains(part), "{keys}: {problem}");
    }
    let keys = "stream = 'tcp-*'\nports = ['22']\nconnect = 'b:{port}'";
    let (_directory, path) = written(&format!("host-keys = ['tcp-*']\n{}", target(keys)));
    assert!(Config::read(&path).unwrap_err().to_string().contains("for each port"));
}

const RELAY: &str =
    "Endpoint=sb://ns.example.net/;SharedAccessKeyName=r;SharedAccessKey=c2VjcmV0;EntityPath=site/gw";
const TARGET: &str = "[[target]]\nstream = \"a\"\nconnect = \"b:1\"\n";

/// The device and service of each listener, or the error.
fn services(text: &str) -> std::result::Result<Vec<String>, String> {
    let (_directory, path) = written(&format!("{text}\n{TARGET}"));
    let config = Config::read(&path).map_err(|error| error.to_string())?;
    let listeners = config.listeners.iter();
    Ok(listeners.map(|listener| format!("{} at {}", listener.device(), listener.service())).collect())
}

#[test]
fn one_agent_serves_each_service_that_it_has_a_credential_for() {
    let hub = format!("connection-string = '{DEVICE}'");
    let relay = format!("connection-string = '{RELAY}'");
    let (hubs, relays) = ("dev-1 at localhost:8443".to_owned(), "gw at ns.example.net".to_owned());
    for (text, expected) in [
        (relay.clone(), vec![relays.clone()]),
        (format!("{relay}\ndevice = 'GW 7'\nshared = true"), vec!["GW 7 at ns.example.net".into()]),
        (format!("{relay}\n[relay]\ndevice = 'x'"), vec!["x at ns.example.net".into()]),
        (format!("[relay]\n{relay}"), vec![relays.clone()]),
        (format!("{hub}\n[relay]\n{relay}"), vec![hubs.clone(), relays.clone()]),
        (
            format!("{hub}\n[relay]\nrelay = 'ns'\ntoken-command = 'az'\nentity = 'gw'"),
            vec![hubs.clone(), "gw at ns.servicebus.windows.net".into()],
        ),
        (
            "[relay]\nrelay = 'ns'\nrelay-suffix = '.example'\ntoken-command = 'az'\nentity = 'gw'".into(),
            vec!["gw at ns.example".into()],
        ),
    ] {
        assert_eq!(services(&text), Ok(expected), "{text}");
    }
}

#[test]
fn each_service_has_one_credential_and_its_own_keys() {
    let hub = format!("connection-string = '{DEVICE}'");
    let relay = format!("connection-string = '{RELAY}'");
    let namespace = relay.replace(";EntityPath=site/gw", "");
    for (text, parts) in [
        (
            format!("{relay}\n[relay]\n{relay}"),
            vec![
                "two credentials for Azure Relay",
                "connection-string in ",
                "connection-string in [relay] of",
            ],
        ),
        (
            format!("{hub}\n[relay]\n{hub}"),
            vec!["two credentials for IoT Hub", "connection-string in [relay] of"],
        ),
        (format!("[relay]\n{hub}"), vec!["is a connection string of IoT Hub"]),
        (format!("{hub}\ndevice = 'x'"), vec!["device is for Azure Relay"]),
        (format!("{relay}\ntransport = 'mqtt'"), vec!["transport is for IoT Hub"]),
        (format!("{relay}\nshared = true\n[relay]\nshared = true"), vec!["shared is both"]),
        (format!("{hub}\n[relay]\nentity = 'x'"), vec!["[relay] has no credential"]),
        (namespace.clone(), vec!["nothing names the hybrid connection"]),
        (
            format!("{relay}\n[relay]\nentity = 'other'"),
            vec!["EntityPath is 'site/gw', and entity says 'other'"],
        ),
        ("[relay]\nrelay = 'ns'\ntoken-command = 'az'".into(), vec!["nothing names the hybrid connection"]),
        ("[relay]\nrelay = 'ns'".into(), vec!["relay but no token-command"]),
        ("[relay]\ntoken-command = 'az'".into(), vec!["token-command but no relay"]),
        (
            format!("[relay]\n{relay}\nrelay = 'ns'\ntoken-command = 'az'"),
            vec!["both connection-string and token-command"],
        ),
        (format!("{relay}\n[relay]\nrelay-suffix = 'x'"), vec!["relay-suffix"]),
        (format!("{relay}\n[relay]\npreamble = 'aztunnel'"), vec!["unknown variant"]),
    ] {
        let problem = services(&text).unwrap_err();
        assert!(parts.iter().all(|part| problem.contains(part)), "{text}: {problem}");
        assert!(!problem.contains("c2VjcmV0"), "{problem}");
    }
    assert_eq!(
        services(&format!("{namespace}\n[relay]\nentity = 'a/b'")),
        Ok(vec!["b at ns.example.net".into()])
    );
}

#[test]
fn a_file_with_a_relay_key_is_secret() {
    let (_directory, path) = written(&format!("[relay]\nconnection-string = 'Endpoint=x'\n{TARGET}"));
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).unwrap();
    assert!(matches!(Config::read(&path), Err(Error::Permissions(_))));
}

#[test]
fn reads_a_configuration_from_options() {
    let (_directory, path) = written(DEVICE);
    let config = Config::from_options(Some(&path), &[]).unwrap();
    assert_eq!(config.target("ssh").unwrap().address, Address::parse("127.0.0.1:22").unwrap());
    let (_other, relay) = written(RELAY);
    assert_eq!(Config::from_options(Some(&relay), &[]).unwrap().listeners[0].device(), "gw");
    let config =
        Config::from_options(Some(&path), &["echo=[::1]:7".into(), "db=/run/db.sock".into()]).unwrap();
    assert_eq!(config.targets.len(), 2);
    let config =
        Config::from_options(Some(&path), &["e=builtin:echo".into(), "b=builtin:22".into()]).unwrap();
    assert_eq!(config.targets[0].address, Address::Builtin(Builtin::Echo));
    assert_eq!(config.targets[1].address, Address::parse("builtin:22").unwrap(), "a host may have that name");
    for wrong in ["ssh", "=a:1", "ssh=22", "echo=builtin:nothing", "tcp-*=a:{port}"] {
        assert!(
            matches!(Config::from_options(Some(&path), &[wrong.into()]), Err(Error::Usage { .. })),
            "{wrong}"
        );
    }
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).unwrap();
    assert!(matches!(Config::from_options(Some(&path), &[]), Err(Error::Permissions(_))));
}
