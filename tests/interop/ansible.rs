//! Ansible at many devices at once, through a hub with the service's quota and the generated ssh configuration.

use std::env;
use std::fs;
use std::io::{self, Write};
use std::time::{Duration, Instant};

use crate::recipes::{ANSIBLE, blocks};
use crate::support::{
    Hub, LIMIT, Process, Sandbox, SshFiles, Sshd, Stdin, agent_command, heavy, python_program, run,
    ssh_config,
};

/// The limit within which nothing of a run is left; ansible's control masters stay for two seconds.
const GONE: Duration = Duration::from_secs(20);

/// A block of iotstream-recipes(7): without these settings, devices fail at such a hub.
fn block(how: &str) -> String {
    let blocks = blocks(ANSIBLE).into_iter().filter(|block| block.how == how);
    blocks.map(|block| block.text).collect()
}

/// Runs Ansible in a shell for `count` devices, 50 at once, and expects `says` for each of them.
#[track_caller]
fn ansible_reaches(count: usize, line: &str, says: &str, limit: Duration) {
    let sandbox = Sandbox::new();
    let files = SshFiles::make(&sandbox);
    let devices: Vec<String> = (0..count).map(|at| format!("press-{at:03}")).collect();
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
    let profile = fs::read_to_string(&profiles).unwrap();
    let header = "[profile.emulator]\n";
    assert!(profile.contains(header), "{profile}");
    fs::write(&profiles, profile.replace(header, &format!("{header}{}", block("toml profile")))).unwrap();
    let mut generate = sandbox.iotstream();
    let generated = run(generate.args(["ssh-config", "--config"]).arg(&profiles), Stdin::Ends(b""), LIMIT);
    let others = fs::read_to_string(ssh_config(&sandbox, &files, "others", "none")).unwrap();
    let config = sandbox.write("ssh_config", format!("{}\n{others}", generated.succeeded().text()));
    let hosts: String = devices.iter().map(|device| format!("{device}.emulator\n")).collect();
    sandbox.write("inventory", hosts);
    sandbox.write("ansible.cfg", block("ini ansible.cfg"));
    let ansible = python_program("ansible");
    let mut path = ansible.parent().unwrap().as_os_str().to_owned();
    path.push(":");
    path.push(env::var_os("PATH").unwrap_or_default());
    let mut command = sandbox.command("sh");
    command.args(["-e", "-u", "-c", line]).env("PATH", path).current_dir(sandbox.path(""));
    command.env("ANSIBLE_SSH_COMMON_ARGS", format!("-F {}", config.display()));
    command.env("ANSIBLE_PYTHON_INTERPRETER", python_program("python")).env("LC_ALL", "C.UTF-8");
    let since = Instant::now();
    let done = run(&mut command, Stdin::Ends(b""), limit);
    // Directly to stderr, which the test runner does not capture.
    let _ =
        writeln!(io::stderr(), "ansible reached {count} devices in {:.1} s", since.elapsed().as_secs_f64());
    for device in &devices {
        let success = format!("{device}.emulator | {says}");
        assert!(done.text().contains(&success), "{success} in {} {}", done.text(), done.stderr);
    }
    done.succeeded();
    let residents: Vec<&Process> = agents.iter().chain([&sshd.process, &hub.process]).collect();
    sandbox.leaves_only(GONE, &residents);
}

#[test]
fn ansible_reaches_twenty_devices_at_once_and_leaves_nothing_behind() {
    let _turn = heavy();
    ansible_reaches(20, &block("sh"), "CHANGED", 2 * LIMIT);
}

#[test]
#[ignore = "it takes minutes: tests/fleet runs it before a release"]
fn ansible_reaches_two_hundred_devices_and_leaves_nothing_behind() {
    ansible_reaches(200, &block("sh"), "CHANGED", Duration::from_secs(600));
}

#[test]
#[ignore = "it takes a minute: tests/fleet runs it before a release"]
fn ansible_reaches_fifty_devices_at_once_and_leaves_nothing_behind() {
    ansible_reaches(50, "ansible all -i inventory -m ping", "SUCCESS", Duration::from_secs(300));
}
