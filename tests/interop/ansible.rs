//! Ansible at many devices at once, through a hub with the service's quota and the generated ssh configuration.

use std::fs;
use std::time::Duration;

use crate::support::{
    Hub, LIMIT, Process, Sandbox, SshFiles, Sshd, Stdin, agent_command, heavy, python_program, run,
    ssh_config,
};

/// The limit within which nothing of a run is left; ansible's control masters stay for a second.
const GONE: Duration = Duration::from_secs(20);

/// Runs a module on `count` devices at once, and expects `says` for each of them.
#[track_caller]
fn ansible_reaches(count: usize, args: &[&str], says: &str, limit: Duration) {
    let sandbox = Sandbox::new();
    let files = SshFiles::make(&sandbox);
    let devices: Vec<String> = (0..count).map(|at| format!("press-{at:02}")).collect();
    let mut hub_args = vec!["--quota", "5/s,50", "--device"];
    hub_args.extend(devices.iter().map(String::as_str));
    let hub = Hub::start(&sandbox, &hub_args);
    let sshd = Sshd::start(&sandbox, &files);
    let start = |device: &String| {
        let mut command = agent_command(&sandbox, &hub, device, &[("ssh", sshd.port)]);
        Process::start("agent", &mut command)
    };
    let mut agents: Vec<Process> = devices.iter().map(start).collect();
    for agent in &mut agents {
        agent.says("in service", 1, limit);
    }

    let profiles = hub.dir.join("profiles.toml");
    let mut generate = sandbox.iotstream();
    let generated = run(generate.args(["ssh-config", "--config"]).arg(&profiles), Stdin::Ends(b""), LIMIT);
    let others = fs::read_to_string(ssh_config(&sandbox, &files, "others", "none")).unwrap();
    let config = sandbox.write("ssh_config", format!("{}\n{others}", generated.succeeded().text()));
    let hosts: String = devices.iter().map(|device| format!("{device}.emulator\n")).collect();
    let inventory = sandbox.write("inventory", hosts);
    let mut command = sandbox.command(python_program("ansible"));
    command.arg("all").args(args).args(["-f", &count.to_string(), "-i"]).arg(inventory);
    command.env("ANSIBLE_SSH_COMMON_ARGS", format!("-F {}", config.display()));
    // By default the control masters would stay for a minute.
    command.env("ANSIBLE_SSH_ARGS", "-C -o ControlMaster=auto -o ControlPersist=1s");
    command.env("ANSIBLE_PYTHON_INTERPRETER", python_program("python")).env("LC_ALL", "C.UTF-8");
    let done = run(&mut command, Stdin::Ends(b""), limit);
    for device in &devices {
        let success = format!("{device}.emulator | {says}");
        assert!(done.text().contains(&success), "{success} in {} {}", done.text(), done.stderr);
    }
    done.succeeded();
    let residents: Vec<&Process> = agents.iter().chain([&sshd.process, &hub.process]).collect();
    sandbox.leaves_only(GONE, &residents);
}

#[test]
fn ansible_reaches_ten_devices_at_once_and_leaves_nothing_behind() {
    let _turn = heavy();
    // The raw module makes one connection for each device, which is what this tests.
    ansible_reaches(10, &["-m", "raw", "-a", "true"], "CHANGED", 2 * LIMIT);
}

#[test]
#[ignore = "it takes a minute: tests/fleet runs it before a release"]
fn ansible_reaches_fifty_devices_at_once_and_leaves_nothing_behind() {
    ansible_reaches(50, &["-m", "ping", "--timeout", "30"], "SUCCESS", Duration::from_secs(300));
}
