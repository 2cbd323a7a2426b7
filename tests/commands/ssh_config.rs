//! `iotstream ssh-config`, and what ssh makes of it.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::support::{
    Finished, Hub, LIMIT, Process, Sandbox, SshFiles, Sshd, Stdin, agent, finish, need, python_program, run,
};

const SHELLS: [&str; 7] = ["sh", "dash", "bash", "ksh", "zsh", "fish", "tcsh"];

/// A hub with the device GW-07 in service, and a new user: an empty home, and the program in another directory.
struct NewUser {
    _agent: Process,
    _sshd: Sshd,
    hub: Hub,
    home: PathBuf,
    program: PathBuf,
    sandbox: Sandbox,
}

impl NewUser {
    /// With the program in `directory`.
    fn new(directory: &str) -> Self {
        let sandbox = Sandbox::new();
        let files = SshFiles::make(&sandbox);
        let hub = Hub::start(&sandbox, &["--device", "GW-07"]);
        let sshd = Sshd::start(&sandbox, &files);
        let agent = agent(&sandbox, &hub, "GW-07", &[("ssh", sshd.port)]);
        let (home, directory) = (sandbox.path("home"), sandbox.path(directory));
        fs::create_dir(&home).unwrap();
        fs::create_dir_all(&directory).unwrap();
        let program = directory.join("iotstream");
        sandbox.copy_program(&program);
        let host_key = fs::read_to_string(sandbox.path("host_key.pub")).unwrap();
        sandbox.write("known", format!("gw-07.factory {host_key}"));
        Self { _agent: agent, _sshd: sshd, hub, home, program, sandbox }
    }

    fn iotstream(&self, args: &[&str]) -> Command {
        let mut command = self.sandbox.command(&self.program);
        command.args(args).env("HOME", &self.home);
        command
    }

    /// ssh with the configuration in this home; by itself it takes the home from the system's list of users.
    fn ssh(&self, shell: &Path) -> Command {
        let mut ssh = self.sandbox.command(need("ssh"));
        ssh.env("HOME", &self.home).env("SHELL", shell);
        ssh.arg("-F").arg(self.home.join(".ssh/config")).arg("-i").arg(self.sandbox.path("user_key"));
        ssh.arg("-o").arg(format!("UserKnownHostsFile={}", self.sandbox.path("known").display()));
        for option in
            ["GlobalKnownHostsFile=none", "StrictHostKeyChecking=yes", "BatchMode=yes", "IdentityAgent=none"]
        {
            ssh.args(["-o", option]);
        }
        ssh
    }

    /// The name's case is kept by `--name` alone, which shows that the shell removed its quotes.
    #[track_caller]
    fn reaches_the_device_from(&self, shell: &Path) {
        let done = finish(self.ssh(shell).args(["GW-07.factory", "echo reached"]));
        assert_eq!(done.text(), "reached\n", "{}: {}", shell.display(), done.stderr);
    }

    fn three_commands(&self, shell: &Path) -> Finished {
        let ca_file = self.hub.dir.join("ca.pem");
        let mut add = self.iotstream(&["profile", "add", "factory", "--hosts", "*.factory", "--ca-file"]);
        let string = self.hub.service_connection_string();
        run(add.arg(ca_file), Stdin::Ends(string.as_bytes()), LIMIT).succeeded();
        finish(&mut self.iotstream(&["ssh-config", "--write"])).succeeded();
        finish(self.ssh(shell).args(["GW-07.factory", "echo reached"]))
    }
}

#[test]
fn a_new_user_reaches_a_device_with_three_commands() {
    let user = NewUser::new("bin");
    let done = user.three_commands(Path::new("/bin/sh")).succeeded();
    assert_eq!(done.text(), "reached\n");
    let mode = |path: &str| fs::metadata(user.home.join(path)).unwrap().permissions().mode() & 0o777;
    assert_eq!(
        [
            mode(".ssh"),
            mode(".ssh/config"),
            mode(".ssh/iotstream.conf"),
            mode(".config/iotstream/profiles.toml")
        ],
        [0o700, 0o600, 0o600, 0o600]
    );
    let key = user.hub.service_connection_string();
    let key = key.split_once("SharedAccessKey=").unwrap().1;
    for file in [".ssh/config", ".ssh/iotstream.conf"] {
        let text = fs::read_to_string(user.home.join(file)).unwrap();
        assert!(!text.contains(key) && !text.contains("StrictHostKeyChecking"), "{text}");
    }
}

#[test]
fn every_login_shell_runs_a_program_with_an_odd_path() {
    let user = NewUser::new("my tools/100% o'clock $HOME #1 (x)");
    user.three_commands(Path::new("/bin/sh")).succeeded();
    for shell in SHELLS {
        user.reaches_the_device_from(&need(shell));
    }
}

#[test]
fn xonsh_and_the_others_run_a_program_with_an_odd_path() {
    let user = NewUser::new("my tools/100% o'clock #1 (x)");
    user.three_commands(Path::new("/bin/sh")).succeeded();
    for shell in SHELLS.map(need).into_iter().chain([python_program("xonsh")]) {
        user.reaches_the_device_from(&shell);
    }
}

#[test]
fn each_device_gets_its_own_host_key_alias() {
    let user = NewUser::new("bin");
    user.three_commands(Path::new("/bin/sh")).succeeded();
    finish(&mut user.iotstream(&["ssh-config", "--write", "--devices"])).succeeded();
    let own = fs::read_to_string(user.home.join(".ssh/iotstream.conf")).unwrap();
    assert!(own.contains("\nHost GW-07.factory\n    HostKeyAlias GW-07.factory\n"), "{own}");
    let seen = finish(user.ssh(Path::new("/bin/sh")).args(["-G", "GW-07.factory"])).succeeded();
    let settings: Vec<&str> = seen.text().lines().collect();
    assert!(settings.contains(&"hostkeyalias gw-07.factory"), "{settings:?}");
    assert!(settings.contains(&"serveraliveinterval 30"), "{settings:?}");
    let done = finish(user.ssh(Path::new("/bin/sh")).args(["GW-07.factory", "echo reached"])).succeeded();
    assert_eq!(done.text(), "reached\n");
}

#[test]
fn diff_previews_write_applies_once_and_remove_undoes() {
    let user = NewUser::new("bin");
    let ssh = user.home.join(".ssh");
    fs::create_dir(&ssh).unwrap();
    let config = ssh.join("config");
    let original = "Host other\n  User me"; // No line feed at the end.
    fs::write(&config, original).unwrap();
    fs::set_permissions(&config, fs::Permissions::from_mode(0o640)).unwrap();
    let string = user.hub.service_connection_string();
    let mut add = user.iotstream(&["profile", "add", "factory", "--hosts", "*.factory"]);
    run(&mut add, Stdin::Ends(string.as_bytes()), LIMIT).succeeded();

    let printed = finish(&mut user.iotstream(&["ssh-config"])).succeeded();
    assert!(printed.text().starts_with("Host *.factory\n    ProxyCommand /"), "{}", printed.text());
    let diff = finish(&mut user.iotstream(&["ssh-config", "--diff"])).succeeded();
    assert!(diff.text().contains("\n+Include \""), "{}", diff.text());
    assert_eq!(fs::read_to_string(&config).unwrap(), original, "--diff writes nothing");

    finish(&mut user.iotstream(&["ssh-config", "--write"])).succeeded();
    let written = fs::read_to_string(&config).unwrap();
    assert!(written.ends_with(&format!("\n{original}")), "{written}");
    assert_eq!(fs::metadata(&config).unwrap().permissions().mode() & 0o777, 0o640);
    let backup = ssh.join("config.iotstream-backup");
    assert_eq!(fs::read_to_string(&backup).unwrap(), original);
    let again = finish(&mut user.iotstream(&["ssh-config", "--write"])).succeeded();
    assert_eq!(again.text(), "nothing to change\n");
    assert_eq!(fs::read_to_string(&config).unwrap(), written);
    assert_eq!(finish(&mut user.iotstream(&["ssh-config", "--diff"])).succeeded().text(), "");
    // What follows the Include still applies to the other host alone.
    let seen = finish(user.ssh(Path::new("/bin/sh")).args(["-G", "other"])).succeeded();
    assert!(seen.text().contains("user me\n") && !seen.text().contains("proxycommand"), "{}", seen.text());

    finish(&mut user.iotstream(&["ssh-config", "--remove"])).succeeded();
    let left: Vec<_> = fs::read_dir(&ssh).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!((fs::read_to_string(&config).unwrap(), left), (original.into(), vec!["config".into()]));
}

#[test]
fn an_old_ssh_or_none_gets_no_known_hosts_command() {
    let sandbox = Sandbox::new();
    let key = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIIVtFrHytwaZL3m9OUD8cc+0fKjIcD9TeQjPH4JYN4pf";
    let text = format!(
        "[profile.a]\nhosts = [\"*.a\"]\nhost-keys = \"pin\"\n\n[profile.b]\nhosts = [\"*.b\"]\n\n[profile.c]\nhosts = [\"*.c\"]\nhost-ca = \"{key}\"\n"
    );
    let profiles = sandbox.write("profiles.toml", text);
    let bin = sandbox.path("bin");
    fs::create_dir(&bin).unwrap();
    let blocks = |version: Option<&str>| {
        if let Some(version) = version {
            sandbox.write_script("bin/ssh", &format!("echo {version} >&2"));
        }
        let mut command = sandbox.iotstream();
        finish(command.arg("ssh-config").arg("--config").arg(&profiles).env("PATH", &bin)).succeeded()
    };
    let problem = |name: &str, why: &str| {
        format!("iotstream: no KnownHostsCommand is written for profile '{name}': {why}\n")
    };
    for (version, why) in [
        (None, "`ssh -V` does not run: No such file or directory (os error 2)"),
        (Some("OpenSSH_8.4p1"), "ssh is OpenSSH 8.4, and OpenSSH 8.5 is the first that has it"),
        (Some("Dropbear"), "`ssh -V` names no version of OpenSSH"),
    ] {
        let done = blocks(version);
        assert!(
            !done.text().contains("KnownHostsCommand") && !done.text().contains("Strict"),
            "{}",
            done.text()
        );
        assert_eq!(done.stderr, problem("a", why) + &problem("c", why));
    }
    let done = blocks(Some("OpenSSH_for_Windows_9.5p1, LibreSSL"));
    let lines = "KnownHostsCommand \"";
    let parts: Vec<&str> = done.text().split("Host *.").skip(1).collect();
    let has: Vec<bool> =
        parts.iter().map(|part| part.contains(lines) && part.contains("StrictHostKeyChecking yes")).collect();
    assert_eq!((has, &*done.stderr), (vec![true, false, true], ""), "{}", done.text());
}
