//! OpenSSH of this machine, whose ProxyCommand is iotstream.exe on the pipes of Win32-OpenSSH.

use std::fs;
use std::io::Read;
use std::net::TcpListener;

use crate::support::{Background, DEVICE, Host, Hub, LIMIT, LinuxProgram, Pattern, Sandbox, agent, exe};

/// More than all the windows and buffers on the path together.
const SIZE: usize = 32 << 20;

fn run(sandbox: &Sandbox, program: &[&str]) -> (i32, String) {
    let program: Vec<String> = program.iter().map(|&word| word.to_owned()).collect();
    LinuxProgram::start(sandbox, &program).finish(LIMIT)
}

#[track_caller]
fn succeeds(sandbox: &Sandbox, program: &[&str]) -> String {
    let (status, said) = run(sandbox, program);
    assert_eq!(status, 0, "{program:?}: {said}");
    said
}

/// A device with an SSH server, and a user of this machine's ssh.
struct Device {
    _agent: Option<Background>,
    _sshd: LinuxProgram,
    hub: Hub,
    config: String,
    sandbox: Sandbox,
}

impl Device {
    fn new(agent_runs: bool) -> Self {
        let sandbox = Sandbox::new();
        let hub = Hub::start(Host::Linux, &sandbox, &["--device", DEVICE]);
        for key in ["host_key", "user_key"] {
            succeeds(&sandbox, &["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", &sandbox.linux(key)]);
        }
        let (sshd, port) = sshd(&sandbox);
        let target = format!("ssh=127.0.0.1:{port}");
        let agent = agent_runs.then(|| agent(Host::Linux, &sandbox, &hub, DEVICE, &[target]));
        let host_key = fs::read_to_string(sandbox.path("host_key.pub")).unwrap();
        sandbox.write("known_hosts", format!("{DEVICE} {host_key}"));
        let line = format!("\"{}\" \"--config={}\" \"--name=%n\" -- \"%h\" \"%p\"", exe(), hub.profiles());
        let config = format!(
            "ProxyCommand wine '{}' '{line}'\nIdentityFile {}\nIdentitiesOnly yes\nIdentityAgent none\n\
             UserKnownHostsFile {}\nGlobalKnownHostsFile none\nStrictHostKeyChecking yes\nBatchMode yes\n",
            env!("CARGO_BIN_EXE_caller"),
            sandbox.linux("user_key"),
            sandbox.linux("known_hosts"),
        );
        sandbox.write("ssh_config", config);
        let config = sandbox.linux("ssh_config");
        Self { _agent: agent, _sshd: sshd, hub, config, sandbox }
    }

    /// ssh, scp or sftp with this user's configuration.
    fn openssh(&self, program: &str, arguments: &[&str]) -> (i32, String) {
        run(&self.sandbox, &[&[program, "-F", &self.config], arguments].concat())
    }
}

/// A server on a loopback port.
fn sshd(sandbox: &Sandbox) -> (LinuxProgram, u16) {
    // Its directory for privilege separation, which root's alone needs.
    succeeds(sandbox, &["sh", "-c", "[ $(id -u) != 0 ] || mkdir -p -m 755 /run/sshd"]);
    let config = format!(
        "HostKey {}\nAuthorizedKeysFile {}\nUsePAM no\nStrictModes no\nPermitRootLogin prohibit-password\n\
         PasswordAuthentication no\nKbdInteractiveAuthentication no\nPidFile none\nSubsystem sftp internal-sftp\n",
        sandbox.linux("host_key"),
        sandbox.linux("user_key.pub"),
    );
    sandbox.write("sshd_config", config);
    for _ in 0..20 {
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let address = format!("ListenAddress=127.0.0.1:{port}");
        let line = ["/usr/sbin/sshd", "-D", "-e", "-f", &sandbox.linux("sshd_config"), "-o", &address];
        let sshd = LinuxProgram::start(sandbox, &line.map(str::to_owned));
        // Another program may have taken the port.
        let said = sshd.output.says_one_of(&["Server listening on", "Cannot bind"], LIMIT);
        if said.contains("Server listening on") {
            return (sshd, port);
        }
    }
    panic!("no free port for sshd");
}

#[test]
fn a_session_runs_a_command() {
    let device = Device::new(true);
    assert_eq!(device.openssh("ssh", &[DEVICE, "echo reached; exit 7"]), (7, "reached\n".into()));
    let piped = format!("printf 'from stdin' | ssh -F {} {DEVICE} cat", device.config);
    assert_eq!(succeeds(&device.sandbox, &["sh", "-c", &piped]), "from stdin");
}

#[test]
fn scp_and_sftp_copy_files_both_ways() {
    let device = Device::new(true);
    let mut content = Vec::new();
    Pattern::new(SIZE).read_to_end(&mut content).unwrap();
    device.sandbox.write("file", &content);
    let path = |name: &str| device.sandbox.linux(name);
    let there = |name: &str| format!("{DEVICE}:{}", path(name));
    let copied = |name: &str| assert!(fs::read(device.sandbox.path(name)).unwrap() == content, "{name}");
    for (program, arguments, copy) in [
        ("scp", [path("file"), there("scp-up")], "scp-up"),
        ("scp", [there("file"), path("scp-down")], "scp-down"),
        ("sftp", [there("file"), path("sftp-down")], "sftp-down"),
    ] {
        let (status, said) = device.openssh(program, &arguments.each_ref().map(String::as_str));
        assert_eq!(status, 0, "{program}: {said}");
        copied(copy);
    }
    device.sandbox.write("batch", format!("put {} {}\n", path("file"), path("sftp-up")));
    let (status, said) = device.openssh("sftp", &["-b", &path("batch"), DEVICE]);
    assert_eq!(status, 0, "{said}");
    copied("sftp-up");
}

#[test]
fn ssh_shows_why_the_device_is_not_reached() {
    let device = Device::new(false);
    let (status, said) = device.openssh("ssh", &[DEVICE, "true"]);
    assert_eq!(status, 255, "{said}");
    let shown = said.lines().find(|line| line.starts_with("Received disconnect from UNKNOWN port 65535:"));
    assert!(shown.is_some_and(|line| line.contains("404103")), "{said}");
}

#[test]
fn host_keys_come_from_the_device_s_report() {
    let device = Device::new(true);
    let exe = exe().replace('\\', "/");
    let profiles = device.hub.profiles();
    let text = fs::read_to_string(&profiles).unwrap();
    fs::write(&profiles, text.replace("[profile.emulator]", "[profile.emulator]\nhost-keys = \"pin\""))
        .unwrap();
    fs::write(device.sandbox.path("known_hosts"), "").unwrap();
    let (status, said) = device.openssh("ssh", &[DEVICE, "true"]);
    assert!(status == 255 && said.contains("verification failed"), "nothing is known yet: {said}");
    let command = format!(
        "KnownHostsCommand=/usr/bin/wine \"{exe}\" host-keys \"--config={}\" \"--host=%h\" --presented \"%t\" \"%K\" -- \
         \"%n\" \"%H\" \"%p\"",
        profiles.replace('\\', "/"),
    );
    let (status, said) = device.openssh("ssh", &["-o", &command, DEVICE, "echo reached"]);
    assert_eq!((status, said.lines().last()), (0, Some("reached")), "{said}");
}
