//! Which device a host name means, and which stream a port means. Device ids are case-sensitive, often numeric, and may
//! hold what ssh refuses in a name.

use std::path::PathBuf;
use std::process::Command;

use crate::support::{
    DEVICE, Finished, Hub, LIMIT, Process, Sandbox, SshFiles, Stdin, Testbed, agent_with_config, finish,
    iotstream, need, run, ssh_config,
};

/// Device ids and their percent-encoded forms.
const IDS: [(&str, &str); 6] = [
    ("Dev-01", "Dev-01"),
    ("DEV-01", "DEV-01"),
    ("Press-7", "Press-7"),
    ("1234", "1234"),
    ("0x10", "0x10"),
    ("Line(3),Press", "Line%283%29%2CPress"),
];

/// The arguments that pass on every name.
const RIGHT_FOR_ALL: &str = "iotstream \"--name=%n\" -- \"%h\" \"%p\"";

/// A hub whose devices each print their id.
struct Names {
    config: PathBuf,
    profiles: PathBuf,
    _agents: Vec<Process>,
    _hub: Hub,
    sandbox: Sandbox,
}

impl Names {
    /// With `arguments` for the helper in the ssh configuration.
    fn start(arguments: &str) -> Self {
        let sandbox = Sandbox::new();
        let files = SshFiles::make(&sandbox);
        let hub = Hub::start(&sandbox, &[&["--device"], &IDS.map(|(id, _)| id)[..], &[DEVICE]].concat());
        let agents = IDS.iter().map(|(id, encoded)| {
            let target = format!(
                "[[target]]\nstream = \"ssh\"\ncommand = [{:?}, \"-i\", \"-f\", {:?}, \"-o\", 'SetEnv=\"DEVICE={id}\" {}']\n",
                files.sshd, files.config, sandbox.mark()
            );
            agent_with_config(&sandbox, &hub, encoded, &target)
        });
        let agents = agents.collect();
        let profiles = sandbox.write(
            "own.toml",
            format!(
                "default = \"own\"\n[profile.own]\nconnection-string = {:?}\nca-file = {:?}\n\
                 [profile.own.devices]\npress = \"Line(3),Press\"\n",
                hub.service_connection_string(),
                hub.dir.join("ca.pem")
            ),
        );
        let iotstream = iotstream();
        let helper = format!("{iotstream} --config {} --connect-timeout 1s {arguments}", profiles.display());
        let config = ssh_config(&sandbox, &files, "ssh_config", &helper);
        Self { config, profiles, _agents: agents, _hub: hub, sandbox }
    }

    fn ssh(&self, name: &str) -> Finished {
        let mut ssh: Command = self.sandbox.command(need("ssh"));
        run(ssh.arg("-F").arg(&self.config).args([name, "echo $DEVICE"]), Stdin::Ends(b""), LIMIT)
    }
}

#[test]
fn the_name_as_typed_selects_each_device() {
    let names = Names::start("\"--name=%n\" -- \"%h\" \"%p\"");
    for (typed, id) in [
        ("Dev-01", "Dev-01"),
        // Differs from the first only in case.
        ("DEV-01", "DEV-01"),
        ("1234", "1234"),
        ("0x10", "0x10"),
        ("press", "Line(3),Press"),
        ("Press", "Line(3),Press"),
    ] {
        assert_eq!(names.ssh(typed).succeeded().text().trim_end(), id, "{typed}");
    }
}

#[test]
fn the_host_alone_selects_an_alias_and_otherwise_the_error_shows_the_name_option() {
    let names = Names::start("%h");
    assert_eq!(names.ssh("press").succeeded().text().trim_end(), "Line(3),Press");
    assert_eq!(names.ssh("Press").succeeded().text().trim_end(), "Line(3),Press");
    for (typed, address) in [("1234", "0.0.4.210"), ("0x10", "0.0.0.16")] {
        let done = names.ssh(typed);
        let said = in_band(&done);
        assert!(said.contains(address) && said.contains(RIGHT_FOR_ALL), "{said}");
    }
    // No device has this id.
    let done = names.ssh("Dev-02");
    let said = in_band(&done);
    assert!(said.contains("404001") && said.contains("--name"), "{said}");
}

#[test]
fn the_host_alone_matches_a_cached_id_ignoring_case() {
    let names = Names::start("%h");
    let mut devices = names.sandbox.iotstream();
    run(devices.args(["devices", "--config"]).arg(&names.profiles), Stdin::Ends(b""), LIMIT).succeeded();
    assert_eq!(names.ssh("Press-7").succeeded().text().trim_end(), "Press-7");
    let done = names.ssh("Dev-01");
    let said = in_band(&done);
    for candidate in ["Dev-01", "DEV-01", RIGHT_FOR_ALL] {
        assert!(said.contains(candidate), "{said}");
    }
    // An address that ssh made of a number is not an id, cached or not.
    let done = names.ssh("1234");
    assert!(in_band(&done).contains("0.0.4.210"), "{}", done.stderr);
}

/// The line in which ssh reports the reason.
#[track_caller]
fn in_band(done: &Finished) -> &str {
    assert_eq!(done.status.code(), Some(255));
    let line = done.stderr.lines().find(|line| line.starts_with("Received disconnect from "));
    line.unwrap_or_else(|| panic!("no reason in band: {}", done.stderr))
}

#[test]
fn a_host_pattern_in_a_profile_selects_the_device() {
    let testbed = Testbed::start();
    let profiles = testbed.sandbox.write(
        "mine.toml",
        format!(
            "[profile.factory]\nconnection-string = \"{}\"\nca-file = \"{}\"\nhosts = [\"*.factory\"]\n",
            testbed.hub.service_connection_string(),
            testbed.hub.dir.join("ca.pem").display(),
        ),
    );
    let helper = format!("\"{}\" --config {} \"%h\"", iotstream(), profiles.display());
    let config = ssh_config(&testbed.sandbox, &testbed.files, "factory_config", &helper);
    let mut ssh = testbed.sandbox.command(need("ssh"));
    let done = finish(ssh.arg("-F").arg(config).args(["dev-1.factory", "echo reached"])).succeeded();
    assert_eq!(done.text(), "reached\n");
}

#[test]
fn each_port_requests_its_own_stream() {
    let testbed = Testbed::start();
    finish(testbed.openssh("ssh").args(["-p", "2222", DEVICE, "true"])).succeeded();
    let done = finish(testbed.openssh("ssh").args(["-p", "2223", DEVICE, "true"]));
    assert_eq!(done.status.code(), Some(255));
    assert!(done.stderr.contains("tcp-2223"), "{}", done.stderr);
}

#[test]
fn ports_in_a_profile_map_to_streams() {
    let sandbox = Sandbox::new();
    let hub = Hub::start(&sandbox, &["--device", DEVICE]);
    let profiles = format!(
        "default = \"x\"\n[profile.x]\nca-file = {:?}\nconnection-string = {:?}\nports = {{ 2222 = \"hmi\" }}\n",
        hub.dir.join("ca.pem"),
        hub.service_connection_string()
    );
    let profiles = sandbox.write("ports.toml", profiles);
    for (port, stream) in [("2222", "'hmi'"), ("22", "'ssh'"), ("80", "'tcp-80'")] {
        let mut helper = sandbox.iotstream();
        helper.args(["-vv", "--connect-timeout", "1", "--config"]).arg(&profiles).args([DEVICE, port]);
        let done = run(&mut helper, Stdin::Stays(b"hello"), LIMIT);
        assert!(done.stderr.contains(&format!("stream {stream}")), "{}", done.stderr);
    }
}
