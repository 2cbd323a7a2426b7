//! A profile's default module: it is asked first, and a device without it itself.

use std::fs;
use std::io;
use std::path::PathBuf;
use std::process::Command;

use crate::support::sas::unix_seconds;
use crate::support::{
    DEVICE, Finished, Hub, LIMIT, Process, Sandbox, Stdin, Testbed, agent, finish, run, serve, set_mode,
};

const MODULE: &str = "iotstream";

/// The device whose agent is its module. The agent of [`DEVICE`] is the device itself.
const MODERN: &str = "modern";

/// A hub, its devices, and a profile file with the default module.
struct Fleet {
    agents: Vec<Process>,
    hub: Hub,
    config: PathBuf,
    sandbox: Sandbox,
}

impl Fleet {
    fn start() -> Self {
        Self::with(&[DEVICE, "modern%2Fiotstream"])
    }

    /// With agents that log in with these files.
    fn with(agents: &[&str]) -> Self {
        let sandbox = Sandbox::new();
        let hub = Hub::start(&sandbox, &["--device", DEVICE, "modern/iotstream"]);
        let echo = serve(|stream| drop(io::copy(&mut &stream, &mut &stream)));
        let agents = agents.iter().map(|file| agent(&sandbox, &hub, file, &[("echo", echo)])).collect();
        let profiles = fs::read_to_string(hub.dir.join("profiles.toml")).unwrap();
        let fleet = profiles.replace("hosts = [", &format!("module = \"{MODULE}\"\nhosts = ["));
        assert!(fleet.contains(MODULE));
        let config = sandbox.write("fleet.toml", fleet);
        Self { agents, hub, config, sandbox }
    }

    fn command(&self, command: &str) -> Command {
        let mut program = self.sandbox.iotstream();
        if !command.is_empty() {
            program.arg(command);
        }
        program.arg("--config").arg(&self.config);
        program
    }

    /// Opens an echo stream to `device`.
    fn ask(&self, device: &str, options: &[&str]) -> Finished {
        let mut helper = self.command("");
        helper.args(["-v", "--stream", "echo", "--connect-timeout", "1s"]).args(options).arg(device);
        run(&mut helper, Stdin::Ends(b"there and back"), LIMIT)
    }

    /// The requests that opening an echo stream to `device` took.
    #[track_caller]
    fn requests(&self, device: &str) -> usize {
        let done = self.ask(device, &[]).succeeded();
        assert_eq!(done.text(), "there and back", "{}", done.stderr);
        1 + done.stderr.matches("; trying ").count()
    }

    fn memory(&self) -> PathBuf {
        self.sandbox.path(".local/state/iotstream/without-module")
    }

    /// What is remembered, without the time.
    fn remembered(&self) -> Vec<String> {
        let text = fs::read_to_string(self.memory()).unwrap_or_default();
        text.lines().map(|line| line.split_once(' ').unwrap().1.to_owned()).collect()
    }

    fn remember(&self, device: &str, seconds_ago: u64) {
        fs::create_dir_all(self.memory().parent().unwrap()).unwrap();
        set_mode(self.memory().parent().unwrap(), 0o700);
        let line = format!("{} {}\n", unix_seconds() - seconds_ago, self.line(device));
        self.sandbox.write(".local/state/iotstream/without-module", line);
    }

    fn line(&self, device: &str) -> String {
        format!("{} {device}/{MODULE}", self.hub.name())
    }
}

#[test]
fn a_fleet_may_have_devices_with_the_module_and_devices_without_it() {
    let fleet = Fleet::start();
    assert_eq!(fleet.requests(MODERN), 1);
    assert_eq!(fleet.remembered(), Vec::<String>::new());
    assert_eq!(fleet.requests(DEVICE), 2);
    assert_eq!(fleet.remembered(), [fleet.line(DEVICE)]);
    assert_eq!((fleet.requests(DEVICE), fleet.requests(MODERN)), (1, 1));
    // The list of devices and this do not overwrite each other.
    let listed = finish(&mut fleet.command("devices")).succeeded();
    assert!(listed.text().contains(DEVICE), "{}", listed.text());
    assert_eq!(fleet.requests(DEVICE), 1);
    let state = fleet.sandbox.path(".local/state/iotstream");
    let names = fs::read_dir(&state).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    assert!(names.into_iter().any(|name| name.starts_with("devices-emulator-")));
}

#[test]
fn what_is_remembered_lasts_for_a_day_and_no_longer_than_it_is_true() {
    let fleet = Fleet::start();
    fleet.remember(DEVICE, 86_300);
    assert_eq!(fleet.requests(DEVICE), 1);
    fleet.remember(DEVICE, 86_500);
    assert_eq!(fleet.requests(DEVICE), 2);
    // The device has a module by now: it is asked in the same attempt, and first next time.
    fleet.remember(MODERN, 1);
    assert_eq!(fleet.requests(MODERN), 2);
    assert_eq!(fleet.remembered(), Vec::<String>::new());
    assert_eq!(fleet.requests(MODERN), 1);
    // A helper that waits for the device comes to the same.
    fleet.remember(MODERN, 1);
    let waited = fleet.ask(MODERN, &["--wait", "10s"]).succeeded();
    assert_eq!(waited.text(), "there and back");
}

#[test]
fn an_unusable_memory_costs_a_request_and_no_more() {
    let fleet = Fleet::start();
    for text in ["garbage", "\0\n\n", "1 2 3 4\n", "99999999999999999999 x y/z\n"] {
        fleet.remember(DEVICE, 0);
        fs::write(fleet.memory(), text).unwrap();
        assert_eq!((fleet.requests(DEVICE), fleet.requests(DEVICE)), (2, 1), "{text:?}");
        assert_eq!(fleet.remembered(), [fleet.line(DEVICE)]);
    }
    fs::remove_file(fleet.memory()).unwrap();
    fs::create_dir(fleet.memory()).unwrap();
    assert_eq!((fleet.requests(DEVICE), fleet.requests(DEVICE)), (2, 2));
    let state = fleet.sandbox.path(".local/state/iotstream");
    set_mode(&state, 0o777);
    assert_eq!((fleet.requests(DEVICE), fleet.requests(MODERN)), (2, 1));
}

#[test]
fn helpers_at_the_same_time_remember_all_devices() {
    let sandbox = Sandbox::new();
    let devices: Vec<String> = (0..6).map(|at| format!("d{at}")).collect();
    let names: Vec<&str> = ["--device"].into_iter().chain(devices.iter().map(String::as_str)).collect();
    let hub = Hub::start(&sandbox, &names);
    let profiles = fs::read_to_string(hub.dir.join("profiles.toml")).unwrap();
    let config = sandbox.write("fleet.toml", profiles.replace("hosts = [", "module = \"m\"\nhosts = ["));
    // The agents reject the stream, which shows that they are there.
    let _agents: Vec<Process> = devices.iter().map(|device| agent(&sandbox, &hub, device, &[])).collect();
    let helpers: Vec<Process> = devices
        .iter()
        .map(|device| {
            let mut helper = sandbox.iotstream();
            Process::start(device, helper.arg("--config").arg(&config).args(["--stream", "x", device]))
        })
        .collect();
    for mut helper in helpers {
        assert_eq!(helper.ends(LIMIT).code(), Some(69), "{}", helper.stderr());
    }
    let text = fs::read_to_string(sandbox.path(".local/state/iotstream/without-module")).unwrap();
    let mut found: Vec<&str> =
        text.lines().filter_map(|line| line.rsplit_once(' ')).map(|(_, id)| id).collect();
    found.sort_unstable();
    assert_eq!(found, ["d0/m", "d1/m", "d2/m", "d3/m", "d4/m", "d5/m"]);
}

#[test]
fn only_the_default_falls_back() {
    let fleet = Fleet::start();
    let absent = format!("module {DEVICE}/other is not registered at");
    let option = fleet.ask(DEVICE, &["--module", "other"]);
    let mut text = fs::read_to_string(&fleet.config).unwrap();
    text += "\n[profile.emulator.devices]\nalias = { id = \"dev-1\", module = \"other\" }\n";
    text += "plain = { id = \"modern\", stream = \"echo\" }\n";
    fs::write(&fleet.config, text).unwrap();
    for done in [option, fleet.ask("alias", &[])] {
        assert_eq!(done.status.code(), Some(69), "{}", done.stderr);
        assert!(done.stderr.contains(&absent) && !done.stderr.contains("trying"), "{}", done.stderr);
    }
    // An option takes precedence over the table, and the default is for a table that names no module.
    let both = fleet.ask("alias", &["--module", "another"]);
    assert!(both.stderr.contains("module dev-1/another is not registered at"), "{}", both.stderr);
    assert_eq!(fleet.requests("plain"), 1);
}

#[test]
fn a_failure_names_both_and_so_does_the_record() {
    let fleet = Fleet::with(&[]);
    let failed = fleet.ask(DEVICE, &[]);
    assert_eq!(failed.status.code(), Some(69), "{}", failed.stderr);
    let error = failed.stderr.lines().find(|line| line.contains("error: ")).unwrap();
    for part in ["device dev-1 is not connected to", "and module dev-1/iotstream is not registered (404010)"]
    {
        assert!(error.contains(part), "{error}");
    }
    let last = finish(fleet.sandbox.iotstream().arg("last")).succeeded();
    assert!(last.text().contains("\ndevice: dev-1\n"), "{}", last.text());
    // A device that nobody has registered is called a device.
    let failed = fleet.ask("nobody", &[]);
    assert!(failed.stderr.contains("error: device nobody is not registered at"), "{}", failed.stderr);
    // Both exist, and neither is connected.
    fleet.remember(MODERN, 1);
    let failed = fleet.ask(MODERN, &[]);
    let parts =
        ["error: module modern/iotstream is not connected to", "and device modern is not connected (404103)"];
    assert!(parts.iter().all(|part| failed.stderr.contains(part)), "{}", failed.stderr);
    let last = finish(fleet.sandbox.iotstream().arg("last")).succeeded();
    assert!(last.text().contains("\ndevice: modern/iotstream\n"), "{}", last.text());
}

#[test]
fn a_device_that_comes_online_late_is_waited_for() {
    let mut fleet = Fleet::with(&[]);
    let mut helper = fleet.command("");
    helper.args(["-v", "--stream", "echo", "--connect-timeout", "1s", "--wait", "40s", DEVICE]);
    let mut helper = Process::start("helper", &mut helper);
    helper.says("is not registered (404010); waiting", 1, LIMIT);
    let echo = serve(|stream| drop(io::copy(&mut &stream, &mut &stream)));
    fleet.agents.push(agent(&fleet.sandbox, &fleet.hub, DEVICE, &[("echo", echo)]));
    helper.say("there and back\n");
    helper.says("there and back", 1, LIMIT);
}

#[test]
fn ping_and_bench_name_the_identity_that_answered() {
    let fleet = Fleet::with(&[]);
    let mut agents = Vec::new();
    for file in [DEVICE, "modern%2Fiotstream"] {
        let mut command = fleet.sandbox.iotstream();
        command.args(["agent", "--connection-string-file"]).arg(fleet.hub.device_file(file));
        command.arg("--ca-file").arg(fleet.hub.dir.join("ca.pem"));
        command.args(["--target", "echo=builtin:echo", "--target", "discard=builtin:discard"]);
        agents.push(crate::support::in_service(command.arg("-v")));
    }
    let json = |command: &str, options: &[&str], device: &str| -> serde_json::Value {
        let done = finish(fleet.command(command).args(options).args(["--json", device])).succeeded();
        serde_json::from_str(done.text()).unwrap()
    };
    let text = finish(fleet.command("ping").args(["-c", "1", DEVICE])).succeeded();
    assert!(text.text().starts_with("PING dev-1/iotstream (stream echo)"), "{}", text.text());
    assert!(text.text().contains("\nset up with dev-1 in "), "{}", text.text());
    assert!(text.text().contains("\n--- dev-1 ping statistics"), "{}", text.text());
    let text = finish(fleet.command("ping").args(["-c", "1", DEVICE])).succeeded();
    assert!(text.text().starts_with("PING dev-1 (stream echo)"), "{}", text.text());
    assert_eq!(json("ping", &["-c", "1"], DEVICE)["device"], "dev-1");
    assert_eq!(json("ping", &["-c", "1"], MODERN)["device"], "modern/iotstream");
    fs::remove_file(fleet.memory()).unwrap();
    let bench = ["--yes", "--size", "1K", "--direction", "up"];
    assert_eq!(json("bench", &bench, DEVICE)["device"], "dev-1");
    assert_eq!(json("bench", &bench, MODERN)["device"], "modern/iotstream");
}

#[test]
fn ssh_reaches_both_kinds_of_devices() {
    let testbed = Testbed::with_hub(&["--device", "modern/iotstream"]);
    let profiles = testbed.hub.dir.join("profiles.toml");
    let text = fs::read_to_string(&profiles).unwrap();
    fs::write(&profiles, text.replace("hosts = [", "module = \"iotstream\"\nhosts = [")).unwrap();
    let targets = [("ssh", testbed.sshd.port)];
    let _modern = agent(&testbed.sandbox, &testbed.hub, "modern%2Fiotstream", &targets);
    let ssh = |host: &str| {
        let done = finish(testbed.openssh("ssh").args([host, "echo reached"])).succeeded();
        assert_eq!(done.text(), "reached\n", "{}", done.stderr);
    };
    for _ in 0..2 {
        ssh(DEVICE);
        ssh(MODERN);
    }
    let memory = testbed.sandbox.path(".local/state/iotstream/without-module");
    assert_eq!(fs::read_to_string(memory).unwrap().matches("dev-1/iotstream").count(), 1);
}
