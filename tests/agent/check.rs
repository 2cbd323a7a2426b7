//! `iotstream agent --check`.

use crate::support::{DEVICE, Finished, Hub, LIMIT, Sandbox, Stdin, closed_port, run};

fn check(sandbox: &Sandbox, config: &str, args: &[&str]) -> Finished {
    let config = sandbox.write("agent.toml", config);
    run(
        sandbox.iotstream().args(["agent", "--check"]).args(args).arg("--config").arg(config),
        Stdin::Ends(b""),
        LIMIT,
    )
}

fn config(hub: &Hub, rest: &str) -> String {
    let (file, ca_file) = (hub.device_file(DEVICE), hub.dir.join("ca.pem"));
    format!("connection-string-file = {file:?}\nca-file = {ca_file:?}\n{rest}")
}

/// Each check's name and status, in order.
fn statuses(done: &Finished) -> Vec<(String, String)> {
    let findings: serde_json::Value = serde_json::from_slice(&done.stdout).unwrap();
    let field = |finding: &serde_json::Value, name: &str| finding[name].as_str().unwrap().to_owned();
    let findings = findings.as_array().unwrap().iter();
    findings.map(|finding| (field(finding, "check"), field(finding, "status"))).collect()
}

fn expected(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
    pairs.iter().map(|(check, status)| ((*check).to_owned(), (*status).to_owned())).collect()
}

#[test]
fn every_requirement_of_the_agent_is_checked() {
    let sandbox = Sandbox::new();
    let hub = Hub::start(&sandbox, &["--device", DEVICE]);
    let listening = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let good = format!(
        "[[target]]\nstream = \"web\"\nconnect = \"{}\"\n\
         [[target]]\nstream = \"cat\"\ncommand = [\"cat\"]\napprove = {{ command = [\"true\"] }}\n\
         [[target]]\nstream = \"echo\"\nbuiltin = \"echo\"\n",
        listening.local_addr().unwrap()
    );
    let done = check(&sandbox, &config(&hub, &good), &["--json"]).succeeded();
    let all = [
        "configuration",
        "dns",
        "tcp",
        "tls",
        "clock",
        "credential",
        "control",
        "target web",
        "target cat",
        "target echo",
    ];
    assert_eq!(statuses(&done), expected(&all.map(|check| (check, "pass"))));

    let bad = format!(
        "[[target]]\nstream = \"down\"\nconnect = \"127.0.0.1:{}\"\n\
         [[target]]\nstream = \"cat\"\ncommand = [\"no-such-program\"]\n",
        closed_port()
    );
    let done = check(&sandbox, &config(&hub, &bad), &[]);
    assert_eq!(done.status.code(), Some(69), "{}", done.stderr);
    for part in
        ["pass  credential", "fail  target down", "hint: start it", "there is no program no-such-program"]
    {
        assert!(done.text().contains(part), "{part}: {}", done.text());
    }
}

#[test]
fn the_failed_check_is_distinguished_from_the_skipped_ones() {
    let sandbox = Sandbox::new();
    let hub = Hub::start(&sandbox, &["--device", DEVICE, "--inject", "clock=-1h"]);
    let target = "[[target]]\nstream = \"echo\"\nbuiltin = \"echo\"\n";

    // The hub's clock is behind: it accepts the token, and the clock is still reported.
    let done = check(&sandbox, &config(&hub, target), &["--json"]);
    assert_eq!(done.status.code(), Some(77), "{}", done.text());
    assert!(statuses(&done).contains(&("clock".into(), "fail".into())), "{}", done.text());

    let unregistered = std::fs::read_to_string(hub.device_file(DEVICE)).unwrap().replace(DEVICE, "nobody");
    let unregistered = sandbox.write("nobody.conn", unregistered);
    let ca_file = hub.dir.join("ca.pem");
    let done = check(
        &sandbox,
        &format!("connection-string-file = {unregistered:?}\nca-file = {ca_file:?}\n{target}"),
        &[],
    );
    assert!(done.text().contains("fail  credential"), "{}", done.text());

    let untrusted = format!("connection-string-file = {:?}\n{target}", hub.device_file(DEVICE));
    let done = check(&sandbox, &untrusted, &["--json"]);
    assert_eq!(done.status.code(), Some(77), "{}", done.text());
    let found = [
        ("configuration", "pass"),
        ("dns", "pass"),
        ("tcp", "pass"),
        ("tls", "fail"),
        ("clock", "skip"),
        ("credential", "skip"),
        ("control", "pass"),
        ("target echo", "pass"),
    ];
    assert_eq!(statuses(&done), expected(&found));

    let behind_a_proxy = config(&hub, target).replacen(
        "connection-string-file",
        &format!("proxy = \"http://127.0.0.1:{}\"\nconnection-string-file", closed_port()),
        1,
    );
    let done = check(&sandbox, &behind_a_proxy, &["--json"]);
    let found = [("dns", "pass"), ("proxy", "fail"), ("tcp", "skip"), ("tls", "skip"), ("clock", "skip")];
    assert_eq!(statuses(&done)[1..6], expected(&found), "{}", done.text());

    let done = check(&sandbox, "nonsense", &["--json"]);
    assert_eq!(done.status.code(), Some(78), "{}", done.text());
    assert_eq!(statuses(&done)[..2], expected(&[("configuration", "fail"), ("dns", "skip")]));
}
