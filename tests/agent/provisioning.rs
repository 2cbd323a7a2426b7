//! The agent of a device that a Device Provisioning Service assigns to a hub.

use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};
use rustix::process::Signal;

use super::{ECHO, SOON, ask};
use crate::support::{
    DEVICE, Finished, Hub, LIMIT, Process, Sandbox, Stdin, Testbed, closed_port, echoes, finish, http_answer,
    http_request, in_service, iotstream, mode, run, serve_tls, timed,
};

const SCOPE: &str = "0ne00000001";

/// A hub with a provisioning service, and further arguments for it.
fn hub(sandbox: &Sandbox, args: &[&str]) -> Hub {
    Hub::start(sandbox, &[&["--dps-scope", SCOPE], args].concat())
}

/// The same that makes faults.
fn faulty(sandbox: &Sandbox, faults: &str) -> Hub {
    hub(sandbox, &["--inject", faults])
}

/// The derived key of a device.
fn key(sandbox: &Sandbox, hub: &Hub, id: &str) -> String {
    let group_key = fs::read(hub.dir.join("dps/group.key")).unwrap();
    let derived =
        run(sandbox.iotstream().args(["agent", "--derive-key", id]), Stdin::Ends(&group_key), LIMIT);
    derived.succeeded().text().trim().to_owned()
}

fn quoted(path: &Path) -> String {
    format!("{:?}", path.display().to_string())
}

/// A configuration with an echo stream; `keys` are those of `[provisioning]` beside the scope and the service.
fn config(sandbox: &Sandbox, ca_file: &Path, service: &str, keys: &str) -> PathBuf {
    let text = format!(
        "ca-file = {}\n{ECHO}[provisioning]\nid-scope = \"{SCOPE}\"\nendpoint = \"{service}\"\n{keys}\n",
        quoted(ca_file)
    );
    sandbox.write("agent.toml", text)
}

/// The configuration of [`DEVICE`] with its key in a file.
fn device_config(sandbox: &Sandbox, hub: &Hub) -> PathBuf {
    sandbox.write("device.key", key(sandbox, hub, DEVICE));
    let keys = format!("registration-id = \"{DEVICE}\"\nkey-file = \"device.key\"");
    config(sandbox, &hub.dir.join("ca.pem"), &hub.name(), &keys)
}

fn agent(sandbox: &Sandbox, config: &Path) -> Command {
    let mut command = sandbox.iotstream();
    command.args(["agent", "-vv", "--config"]).arg(config);
    command
}

fn check(sandbox: &Sandbox, config: &Path) -> Finished {
    finish(sandbox.iotstream().args(["agent", "--check", "--config"]).arg(config))
}

fn stop(agent: &mut Process) {
    agent.signal(Signal::TERM);
    assert!(agent.ends(LIMIT).success());
}

/// How often a hub has been asked to register a device.
fn registrations(hub: &Hub) -> usize {
    hub.process.stderr().matches(": register: ").count()
}

/// The directory of the assignment in the sandbox's home.
fn state(sandbox: &Sandbox) -> PathBuf {
    sandbox.path(".local/state/iotstream")
}

/// The stored assignment.
fn cache(directory: &Path) -> PathBuf {
    let files = fs::read_dir(directory).unwrap().map(|entry| entry.unwrap());
    let mut files = files.filter(|entry| entry.file_name().to_string_lossy().starts_with("assignment-"));
    let file = files.next().expect("an assignment is stored");
    assert!(files.next().is_none(), "there is one assignment");
    file.path()
}

#[test]
fn a_derived_key_and_an_id_scope_are_enough_for_ssh() {
    let _timed = timed();
    let id = "gw-07";
    let testbed = Testbed::make(&["--dps-scope", SCOPE], |sandbox, hub, _, port| {
        sandbox.write("device.key", key(sandbox, hub, id));
        let text = format!(
            "ca-file = {}\n[[target]]\nstream = \"ssh\"\nconnect = \"127.0.0.1:{port}\"\n\
             [provisioning]\nid-scope = \"{SCOPE}\"\nendpoint = \"{}\"\nregistration-id = \"{id}\"\nkey-file = \"device.key\"\n",
            quoted(&hub.dir.join("ca.pem")),
            hub.name(),
        );
        let config = sandbox.write("agent.toml", text);
        let mut agent = Process::start("agent", &mut agent(sandbox, &config));
        agent.says("is assigned to", 1, LIMIT);
        let assigned = Instant::now();
        agent.says("in service", 1, LIMIT);
        assert!(assigned.elapsed() < Duration::from_secs(3), "{:?}", assigned.elapsed());
        agent
    });
    let done = finish(testbed.openssh("ssh").args([id, "echo", "there"])).succeeded();
    assert_eq!(done.text(), "there\n");
}

#[test]
fn a_restart_needs_no_service() {
    let sandbox = Sandbox::new();
    let hub = hub(&sandbox, &[]);
    let config = device_config(&sandbox, &hub);
    let mut first = in_service(&mut agent(&sandbox, &config));
    echoes(&mut hub.helper(&sandbox));
    stop(&mut first);
    let mut second = in_service(&mut agent(&sandbox, &config));
    stop(&mut second);
    assert_eq!(registrations(&hub), 1);

    // Another registration has an assignment of its own.
    sandbox.write("device.key", key(&sandbox, &hub, "gw-08"));
    let keys = "registration-id = \"gw-08\"\nkey-file = \"device.key\"";
    let config = self::config(&sandbox, &hub.dir.join("ca.pem"), &hub.name(), keys);
    let _third = in_service(&mut agent(&sandbox, &config));
    assert_eq!(registrations(&hub), 2);
}

#[test]
fn a_hub_that_has_forgotten_the_device_makes_it_register_once() {
    let sandbox = Sandbox::new();
    let mut hub = hub(&sandbox, &[]);
    let config = device_config(&sandbox, &hub);
    let mut agent = in_service(&mut agent(&sandbox, &config));
    // The hub finds its devices by their files.
    fs::remove_file(hub.device_file(DEVICE)).unwrap();
    hub.restart(&sandbox);
    agent.says("registering dev-1 again", 1, SOON);
    agent.says("in service", 2, SOON);
    assert_eq!(registrations(&hub), 1);
    echoes(&mut hub.helper(&sandbox));
}

#[test]
fn a_service_that_decides_nothing_is_asked_again_soon() {
    let _timed = timed();
    let sandbox = Sandbox::new();
    let mut hub = hub(&sandbox, &[]);
    let config = device_config(&sandbox, &hub);
    let mut agent = in_service(&mut agent(&sandbox, &config));
    fs::remove_file(hub.device_file(DEVICE)).unwrap();
    hub.restart_with(&sandbox, &["--inject", "dps-status=503@1"]);
    agent.says("the agent keeps its assignment", 1, SOON);
    // Not after ten minutes, as after a decision.
    agent.says("registering dev-1 again", 2, LIMIT);
    agent.says("in service", 2, SOON);
}

#[test]
fn a_hub_that_keeps_refusing_is_not_asked_about_in_a_loop() {
    let sandbox = Sandbox::new();
    let hub = faulty(&sandbox, "mqtt=401");
    let config = device_config(&sandbox, &hub);
    let refused = "refused the agent's WebSocket with 401; trying again";
    let mut first = Process::start("agent", &mut agent(&sandbox, &config));
    first.says(refused, 4, SOON);
    assert_eq!(registrations(&hub), 2, "one at the start, one for the refusals");
    first.kill();
    // A restart does not forget it.
    let mut second = Process::start("agent", &mut agent(&sandbox, &config));
    second.says(refused, 3, SOON);
    assert_eq!(registrations(&hub), 2);
}

#[test]
fn a_changed_assignment_is_logged_and_checked() {
    let (sandbox, elsewhere) = (Sandbox::new(), Sandbox::new());
    let hub = hub(&sandbox, &[]);
    let other = Hub::start(&elsewhere, &[]);
    let config = device_config(&sandbox, &hub);
    let both = [&hub, &other].map(|hub| fs::read_to_string(hub.dir.join("ca.pem")).unwrap()).concat();
    let text = fs::read_to_string(&config).unwrap();
    let ca_file = sandbox.write("both.pem", both);
    sandbox.write("agent.toml", text.replace(&quoted(&hub.dir.join("ca.pem")), &quoted(&ca_file)));

    let done = check(&sandbox, &config).succeeded();
    let found = format!("assigned {DEVICE} at {} (registered now)", hub.name());
    assert!(done.text().contains(&found), "{}", done.text());
    let done = check(&sandbox, &config).succeeded();
    let found = format!("assigned {DEVICE} at {} (cached since 20", hub.name());
    assert!(done.text().contains(&found), "{}", done.text());
    assert_eq!(registrations(&hub), 1);

    let move_away = || {
        let file = cache(&state(&sandbox));
        let text = fs::read_to_string(&file).unwrap();
        let moved =
            text.replace(&format!("\"hub\": \"{}\"", hub.name()), &format!("\"hub\": \"{}\"", other.name()));
        assert_ne!(text, moved);
        fs::write(file, moved).unwrap();
    };
    move_away();
    let done = check(&sandbox, &config).succeeded();
    let found =
        format!("at {} (registered now), because {} refuses device {DEVICE}", hub.name(), other.name());
    assert!(done.text().contains(&found), "{}", done.text());
    assert!(done.text().contains(&format!("{} accepts device {DEVICE}", hub.name())), "{}", done.text());

    move_away();
    let mut agent = in_service(&mut agent(&sandbox, &config));
    let (new, old) = (hub.name(), other.name());
    agent.says(&format!("assigned to {new} as device {DEVICE}, was {old} as device {DEVICE}"), 1, SOON);
    assert_eq!(registrations(&hub), 3);
}

#[test]
fn an_assignment_is_kept_while_neither_service_answers() {
    let sandbox = Sandbox::new();
    let mut hub = hub(&sandbox, &[]);
    let config = device_config(&sandbox, &hub);
    let mut first = in_service(&mut agent(&sandbox, &config));
    stop(&mut first);
    let before = fs::read(cache(&state(&sandbox))).unwrap();
    hub.stop();
    let mut second = Process::start("agent", &mut agent(&sandbox, &config));
    second.says("trying again", 3, SOON);
    assert_eq!(fs::read(cache(&state(&sandbox))).unwrap(), before);
    assert!(!second.stderr().contains("provisioning"), "{}", second.stderr());
}

/// A leaf with this common name below an intermediate. Returns the files of the chain and of the leaf alone; the root is in
/// root.pem and the key in leaf.key.
fn certificates(sandbox: &Sandbox, name: &str) -> (PathBuf, PathBuf) {
    let named = |name: &str, is_ca: bool| {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, name);
        if is_ca {
            params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        }
        params
    };
    let root = CertifiedIssuer::self_signed(named("root", true), KeyPair::generate().unwrap()).unwrap();
    let intermediate = named("intermediate", true);
    let intermediate = CertifiedIssuer::signed_by(intermediate, KeyPair::generate().unwrap(), &root).unwrap();
    let key = KeyPair::generate().unwrap();
    let leaf = named(name, false).signed_by(&key, &intermediate).unwrap();
    sandbox.write("root.pem", root.pem());
    sandbox.write("leaf.key", key.serialize_pem());
    (sandbox.write("chain.pem", leaf.pem() + &intermediate.pem()), sandbox.write("leaf.pem", leaf.pem()))
}

#[test]
fn a_certificate_below_an_intermediate_registers_and_logs_in() {
    let sandbox = Sandbox::new();
    let (chain, leaf) = certificates(&sandbox, DEVICE);
    let hub = hub(&sandbox, &["--dps-ca", &sandbox.path("root.pem").display().to_string()]);
    let with = |certificate: &Path, more: &str| {
        let keys = format!("certificate = {}\nprivate-key = \"leaf.key\"\n{more}", quoted(certificate));
        config(&sandbox, &hub.dir.join("ca.pem"), &hub.name(), &keys)
    };
    let refused = check(&sandbox, &with(&leaf, ""));
    assert_eq!(refused.status.code(), Some(77), "{}", refused.text());
    assert!(refused.text().contains("holds the intermediates too"), "{}", refused.text());

    let wrong = check(&sandbox, &with(&chain, "registration-id = \"gw-08\""));
    assert_eq!(wrong.status.code(), Some(78), "{}", wrong.text());
    assert!(wrong.text().contains("it is 'gw-08', and the common name"), "{}", wrong.text());

    let mut agent = in_service(&mut agent(&sandbox, &with(&chain, "")));
    agent.says(&format!("in service as device {DEVICE}"), 1, LIMIT);
    echoes(&mut hub.helper(&sandbox));
}

#[test]
fn every_refusal_of_the_service_has_its_sentence() {
    for (faults, exit, parts) in [
        ("dps-status=429", 69, &["throttles registrations", "hint: the agent tries again after 1 s"][..]),
        ("dps-status=503,dps-retry-after=7", 75, &["answered 503", "the agent tries again after 7 s"]),
        ("dps-status=500", 75, &["answered 500", "the agent keeps trying"]),
        ("dps=garbage", 76, &["broke the protocol: its answer is not JSON"]),
        ("dps=drop", 75, &["closed the connection without an answer"]),
        ("dps=disabled", 69, &["the enrolment of dev-1 at localhost", "enable the enrolment"]),
        ("dps=unassigned", 69, &["assigns dev-1 to no hub"]),
        ("dps=unknown-status", 76, &["unknown status 'awaitingApproval'"]),
        (
            "dps-failed=401002",
            69,
            &["cannot register dev-1: Unauthorized (401002, tracking id", "link the hub"],
        ),
        ("dps-failed=400208", 69, &["400208", "link a hub to the provisioning service"]),
        ("dps-mode=mqttV5", 69, &["connection profile 'mqttV5'", "MQTT 3.1.1"]),
        ("dps-hub=https://h/", 76, &["assignedHub \"https://h/\": it is neither HOST nor HOST:PORT"]),
        ("clock=+2h", 77, &["refuses the registration of dev-1", "behind the service's", "set the clock"]),
    ] {
        let sandbox = Sandbox::new();
        let hub = faulty(&sandbox, faults);
        let config = device_config(&sandbox, &hub);
        let done = check(&sandbox, &config);
        assert_eq!(done.status.code(), Some(exit), "{faults}: {}", done.text());
        assert!(done.text().contains("fail  provisioning"), "{faults}: {}", done.text());
        for part in parts {
            assert!(done.text().contains(part), "{faults}: {part}: {}", done.text());
        }
        assert!(!state(&sandbox).exists(), "{faults}: nothing is stored");
    }
}

#[test]
fn wrong_keys_and_ids_are_explained() {
    let sandbox = Sandbox::new();
    let hub = hub(&sandbox, &[]);
    let config = device_config(&sandbox, &hub);
    let text = fs::read_to_string(&config).unwrap();
    for (from, to, exit, parts) in [
        ("\"dev-1\"", "\"DEV-1\"", 77, &["check that the key belongs to 'DEV-1'", "the case of"][..]),
        (SCOPE, "0ne00000002", 78, &["no id scope 0ne00000002", "compare id-scope"]),
        (SCOPE, "0ne/1", 78, &["\"0ne/1\" is no id scope"]),
        ("\"dev-1\"", "\"dev 1\"", 78, &["' ' cannot be part of a registration id"]),
        ("\"dev-1\"", "\"{host}\"", 78, &["{host} is unknown", "{hostname}, {mac} and {serial}"]),
        ("endpoint = \"localhost", "endpoint = \"https://localhost", 78, &["endpoint in [provisioning]"]),
    ] {
        sandbox.write("agent.toml", text.replace(from, to));
        let done = check(&sandbox, &config);
        assert_eq!(done.status.code(), Some(exit), "{to}: {}", done.text());
        for part in parts {
            assert!(done.text().contains(part), "{to}: {part}: {}", done.text());
        }
    }
    sandbox.write("agent.toml", text);
    sandbox.write("device.key", "hunter2!");
    let done = check(&sandbox, &config);
    assert_eq!(done.status.code(), Some(78), "{}", done.text());
    assert!(
        done.text().contains("the key is not base64") && !done.text().contains("hunter2"),
        "{}",
        done.text()
    );
}

#[test]
fn the_service_is_polled_as_it_asks() {
    let sandbox = Sandbox::new();
    let hub = faulty(&sandbox, "dps-assigning=2,dps-retry-after=2");
    let config = device_config(&sandbox, &hub);
    let since = Instant::now();
    check(&sandbox, &config).succeeded();
    // Two polls that are told to come back, and the last one.
    assert!(since.elapsed() >= Duration::from_secs(6), "{:?}", since.elapsed());
    assert_eq!((registrations(&hub), hub.process.stderr().matches(": poll: ").count()), (1, 3));
}

#[test]
fn an_agent_outlasts_a_service_that_fails() {
    for faults in ["dps-status=503@2,dps-retry-after=1", "dps=garbage@2", "dps=drop@2", "dps-failed=401002@1"]
    {
        let sandbox = Sandbox::new();
        let hub = faulty(&sandbox, faults);
        let config = device_config(&sandbox, &hub);
        in_service(&mut agent(&sandbox, &config));
    }
}

#[test]
fn a_silent_service_is_given_up() {
    let sandbox = Sandbox::new();
    let hub = faulty(&sandbox, "dps=silent@1");
    let config = device_config(&sandbox, &hub);
    let mut agent = in_service(&mut agent(&sandbox, &config));
    agent.says("provisioning: no answer from localhost", 1, LIMIT);
}

/// Answers that the emulator does not give.
#[test]
fn foreign_answers_are_explained() {
    let challenge = r#"{"authenticationKey":"AAAA","keyName":"registration"}"#;
    let state = r#"{"status":"blacklisted","registrationState":{"status":"blacklisted"}}"#;
    for (status, headers, body, exit, part) in [
        ("401 Unauthorized", "", challenge, 78, "with a TPM, which the agent does not support"),
        ("404 Not Found", "", "", 78, "no enrolment for dev-1"),
        (
            "400 Bad Request",
            "",
            r#"{"code":400004,"message":"bad\u001b id"}"#,
            76,
            "answered 400: bad\\u{1b} id (400004)",
        ),
        ("502 Bad Gateway", "Content-Type: text/html\r\n", "<html>", 75, "answered 502"),
        ("302 Found", "Location: http://portal.example/\r\n", "", 76, "does not redirect"),
        ("511 Network Authentication Required", "", "", 75, "a captive portal answers"),
        ("200 OK", "", state, 69, "is disabled"),
        ("202 Accepted", "", r#"{"status":"assigning"}"#, 76, "its answer has no operationId"),
    ] {
        let sandbox = Sandbox::new();
        let (port, ca_file) = serve_tls(&sandbox, move |mut stream| {
            let Some(head) = http_request(&mut stream) else { return };
            assert!(head.starts_with("PUT /0ne00000001/registrations/dev-1/register?api-version="), "{head}");
            http_answer(&mut stream, status, headers, body);
            // The client ends the connection.
            let _ = stream.read_to_end(&mut Vec::new());
        });
        let keys = "registration-id = \"dev-1\"\nkey = \"MDEyMzQ1Njc4OWFiY2RlZg==\"";
        let done = check(&sandbox, &config(&sandbox, &ca_file, &format!("localhost:{port}"), keys));
        assert_eq!(done.status.code(), Some(exit), "{status}: {}", done.text());
        assert!(done.text().contains(part), "{status}: {part}: {}", done.text());
    }
}

#[test]
fn the_key_is_read_from_any_source_and_shown_nowhere() {
    let sandbox = Sandbox::new();
    let hub = hub(&sandbox, &[]);
    let key = key(&sandbox, &hub, DEVICE);
    sandbox.write("device.key", format!("{key}\n"));
    let environment = "[[target]]\nstream = \"env\"\ncommand = [\"env\"]\n";
    for keys in [
        "key-file = \"device.key\"".to_owned(),
        "key-env = \"DEVICE_KEY\"".to_owned(),
        "key-command = \"cat device.key\"".to_owned(),
        format!("key = \"{key}\""),
    ] {
        let keys = format!("registration-id = \"{DEVICE}\"\n{keys}\n{environment}");
        let config = config(&sandbox, &hub.dir.join("ca.pem"), &hub.name(), &keys);
        let mut agent = in_service(agent(&sandbox, &config).env("DEVICE_KEY", &key));
        let variables = ask(&sandbox, &hub, "env", "").succeeded();
        assert!(variables.text().contains("IOTSTREAM_STREAM=env"), "{}", variables.text());
        let arguments = fs::read_to_string(format!("/proc/{}/cmdline", agent.pid())).unwrap();
        let stored = fs::read_to_string(cache(&state(&sandbox))).unwrap();
        stop(&mut agent);
        for text in [&agent.stderr(), &agent.stdout(), &arguments, &stored, variables.text()] {
            assert!(!text.contains(&key) && !text.contains("SharedAccessSignature"), "{keys}: {text}");
        }
    }
}

#[test]
fn a_variable_with_the_key_is_not_passed_on() {
    let sandbox = Sandbox::new();
    let keys = "registration-id = \"dev-1\"\nkey-env = \"DEVICE_KEY\"\n\
                [[target]]\nstream = \"env\"\ncommand = [\"env\"]\npass-environment = [\"DEVICE_KEY\"]";
    let done = check(&sandbox, &config(&sandbox, Path::new("/none"), "localhost", keys));
    assert_eq!(done.status.code(), Some(78), "{}", done.text());
    assert!(done.text().contains("DEVICE_KEY holds the device's key"), "{}", done.text());
}

#[test]
fn only_its_owner_can_read_the_assignment() {
    let sandbox = Sandbox::new();
    let hub = hub(&sandbox, &[]);
    let config = device_config(&sandbox, &hub);
    let mut open = sandbox.command("sh");
    open.args(["-c", "umask 000; exec \"$0\" agent -v --config \"$1\"", iotstream()]);
    open.arg(&config);
    let mut agent = in_service(&mut open);
    stop(&mut agent);
    assert_eq!((mode(&cache(&state(&sandbox))), mode(&state(&sandbox))), (0o600, 0o700));

    // systemd's directory comes first, and the first of several.
    let (provided, second) = (sandbox.path("provided"), sandbox.path("second"));
    for directory in [&provided, &second] {
        fs::create_dir(directory).unwrap();
    }
    let both = format!("{}:{}", provided.display(), second.display());
    let mut agent = in_service(self::agent(&sandbox, &config).env("STATE_DIRECTORY", both));
    stop(&mut agent);
    assert_eq!(mode(&cache(&provided)), 0o600);
    assert_eq!(fs::read_dir(second).unwrap().count(), 0);
    assert_eq!(registrations(&hub), 2);
}

#[test]
fn an_unusable_state_directory_costs_a_registration() {
    let sandbox = Sandbox::new();
    let hub = hub(&sandbox, &[]);
    let config = device_config(&sandbox, &hub);
    let file = sandbox.write("file", "");
    for start in 1..=2 {
        let mut agent = in_service(agent(&sandbox, &config).env("STATE_DIRECTORY", &file));
        agent.says("the assignment is not stored", 1, SOON);
        // A reload keeps it.
        agent.signal(Signal::HUP);
        agent.says("in service", 2, SOON);
        stop(&mut agent);
        assert_eq!(agent.stderr().matches("the assignment is not stored").count(), 1, "{}", agent.stderr());
        assert_eq!(registrations(&hub), start);
    }
    let mut agent = in_service(&mut agent(&sandbox, &config));
    stop(&mut agent);
    let stored = cache(&state(&sandbox));
    fs::write(&stored, "{").unwrap();
    let mut agent = in_service(&mut self::agent(&sandbox, &config));
    agent.says("is not used: it is damaged", 1, SOON);
    assert_eq!(registrations(&hub), 4);
}

#[test]
fn the_host_name_is_the_default_registration_id() {
    let sandbox = Sandbox::new();
    let hub = hub(&sandbox, &[]);
    let name = finish(sandbox.command("uname").arg("-n")).succeeded().text().trim().to_owned();
    sandbox.write("device.key", key(&sandbox, &hub, &name));
    let config = config(&sandbox, &hub.dir.join("ca.pem"), &hub.name(), "key-file = \"device.key\"");
    let mut agent = in_service(&mut agent(&sandbox, &config));
    agent.says(&format!("in service as device {name} at"), 1, SOON);
}

#[test]
fn two_sources_of_an_identity_are_an_error() {
    let sandbox = Sandbox::new();
    let keys = "registration-id = \"dev-1\"\nkey = \"AAAA\"";
    let config = config(&sandbox, Path::new("/none"), "localhost", keys);
    let text = fs::read_to_string(&config).unwrap();
    for second in
        ["connection-string = \"HostName=h;DeviceId=d;SharedAccessKey=AAAA\"", "identity = \"aziot\""]
    {
        sandbox.write("agent.toml", format!("{second}\n{text}"));
        let done = check(&sandbox, &config);
        assert_eq!(done.status.code(), Some(78), "{}", done.text());
        let key = second.split_once(' ').unwrap().0;
        assert!(done.text().contains("[provisioning]") && done.text().contains(key), "{}", done.text());
    }
}

#[test]
fn an_unreachable_service_is_named() {
    let sandbox = Sandbox::new();
    let keys = "registration-id = \"dev-1\"\nkey = \"AAAA\"";
    let (_, ca_file) = serve_tls(&sandbox, drop);
    let service = format!("localhost:{}", closed_port());
    let done = check(&sandbox, &config(&sandbox, &ca_file, &service, keys));
    assert_eq!(done.status.code(), Some(75), "{}", done.text());
    assert!(done.text().contains("fail  provisioning"), "{}", done.text());
    assert!(done.text().contains(&format!("tcp: {service}: ")), "{}", done.text());
}

#[test]
fn keys_are_derived_from_stdin() {
    let sandbox = Sandbox::new();
    let derive = |group_key: &str, id: &str| {
        let mut command = sandbox.iotstream();
        run(command.args(["agent", "--derive-key", id]), Stdin::Ends(group_key.as_bytes()), LIMIT)
    };
    // Microsoft's own example.
    let group_key =
        "8isrFI1sGsIlvvFSSFRiMfCNzv21fjbE/+ah/lSh3lF8e2YG1Te7w1KpZhJFFXJrqYKi9yegxkqIChbqOS9Egw==\n";
    let done = derive(group_key, "sn-007-888-abc-mac-a1-b2-c3-d4-e5-f6").succeeded();
    assert_eq!(done.text(), "Jsm0lyGpjaVYVP2g3FnmnmG9dI/9qU24wNoykUmermc=\n");
    for (group_key, id, exit, part) in [
        ("hunter2!", "gw-07", 78, "the key is not base64"),
        ("", "gw-07", 2, "there is no group key on stdin"),
        ("AAAA", "gw 07", 2, "\"gw 07\" is no registration id"),
    ] {
        let done = derive(group_key, id);
        assert_eq!(done.status.code(), Some(exit), "{}", done.stderr);
        assert!(done.stderr.contains(part) && !done.stderr.contains("hunter2"), "{}", done.stderr);
        assert_eq!(done.text(), "");
    }
    let both = finish(sandbox.iotstream().args(["agent", "--derive-key", "gw-07", "--check"]));
    assert_eq!(both.status.code(), Some(2), "{}", both.stderr);
}
