//! The lines that `ssh-config` prints reach iotstream.exe whole, from CreateProcessW and from sh.

use std::fs;
use std::path::{Path, PathBuf};

use windows_tests::command_line::{arguments, attempts};

use crate::support::{
    Background, Host, Hub, Iotstream, LIMIT, LinuxProgram, Sandbox, agent, echo, exe, linux_path,
};

/// A user with a profile, and a device with an echo target.
struct User {
    _agent: Background,
    _hub: Hub,
    sandbox: Sandbox,
}

impl User {
    fn new() -> Self {
        let sandbox = Sandbox::new();
        let hub = Hub::start(Host::Linux, &sandbox, &["--device", "GW-07"]);
        let targets = [format!("ssh=127.0.0.1:{}", echo())];
        let agent = agent(Host::Linux, &sandbox, &hub, "GW-07", &targets);
        let add = ["profile", "add", "factory", "--hosts", "*.factory", "--ca-file", &hub.ca_file()];
        Iotstream::new(&sandbox, &add).finish(&hub.service_connection_string()).succeeded();
        Self { _agent: agent, _hub: hub, sandbox }
    }

    /// A copy of the program in `directory`.
    fn program(&self, directory: &str) -> PathBuf {
        let directory = self.sandbox.path(directory);
        fs::create_dir_all(&directory).unwrap();
        let program = directory.join("iotstream.exe");
        fs::copy(exe(), &program).unwrap();
        program
    }

    /// Runs that copy.
    fn runs(&self, program: &Path, arguments: &str) -> Iotstream {
        Iotstream::of_line(&self.sandbox, format!("\"{}\" {arguments}", program.display()))
    }

    /// The arguments that sh makes of a line.
    fn sh(&self, line: &str) -> Vec<String> {
        let script = format!("printf '%s\\n' {line}");
        let sh = LinuxProgram::start(&self.sandbox, &["sh".into(), "-c".into(), script]);
        let (status, said) = sh.finish(LIMIT);
        assert_eq!(status, 0, "{said}");
        said.lines().map(str::to_owned).collect()
    }
}

/// The value of an option in ssh's configuration, with the tokens that ssh replaces.
fn option(config: &str, name: &str, host: &str) -> String {
    let mut values = config.lines().filter_map(|line| line.trim().strip_prefix(name)?.strip_prefix(' '));
    let value = values.next().unwrap_or_else(|| panic!("no {name} in {config}"));
    let percent = "\0";
    let value = value.replace("%%", percent).replace("%n", host).replace("%h", &host.to_lowercase());
    value.replace("%p", "22").replace(percent, "%")
}

#[test]
fn every_caller_runs_a_program_with_an_odd_path() {
    let user = User::new();
    for directory in ["bin", "Program Files (x86)/iot stream", "100% o'clock & more", "a.exe b"] {
        let program = user.program(directory);
        let printed = user.runs(&program, "ssh-config").finish("").succeeded();
        let config = printed.text();
        for unix in ["ControlMaster", "ControlPath", "ControlPersist"] {
            assert!(!config.contains(unix), "{config}");
        }
        let line = option(config, "ProxyCommand", "GW-07.factory");
        let path = program.to_str().unwrap().replace('\\', "/");
        let expected = [&*path, "--profile=factory", "--name=GW-07.factory", "--", "gw-07.factory", "22"]
            .map(str::to_owned);
        assert_eq!(arguments(&attempts(&line)[0]).unwrap(), expected, "{line}");
        assert_eq!(user.sh(&line), expected, "{line}");
        // The name's case is kept by --name alone.
        let echoed = Iotstream::of_line(&user.sandbox, line).finish("echoed").succeeded();
        assert_eq!(echoed.text(), "echoed", "{directory}");
    }
}

#[test]
fn a_line_without_quotes_or_extension_finds_the_program_in_path() {
    let user = User::new();
    let directory = user.program("in path").parent().unwrap().to_owned();
    for line in ["iotstream GW-07.factory 22", r#"iotstream "--name=GW-07.factory" -- "gw-07.factory" "22""#]
    {
        // CreateProcessW searches in the caller's own PATH.
        let caller = format!("\"{}\" {}", env!("CARGO_BIN_EXE_caller"), quoted(line));
        let command = Iotstream::of_line(&user.sandbox, caller).env("PATH", &directory);
        assert_eq!(command.finish("echoed").succeeded().text(), "echoed", "{line}");
    }
}

/// One argument, as Windows programs parse it.
fn quoted(argument: &str) -> String {
    format!("\"{}\"", argument.replace('"', "\\\""))
}

#[test]
fn the_configuration_is_kept_in_the_user_s_own_directory() {
    let user = User::new();
    let program = user.program("Program Files/iotstream");
    let ssh = user.sandbox.home(r".ssh");
    fs::create_dir_all(&ssh).unwrap();
    fs::write(ssh.join("config"), "Host other\r\n  User me\r\n").unwrap();
    user.runs(&program, "ssh-config --write").finish("").succeeded();
    let own = fs::read_to_string(ssh.join("iotstream.conf")).unwrap();
    let line = option(&own, "ProxyCommand", "GW-07.factory");
    assert_eq!(Iotstream::of_line(&user.sandbox, line).finish("echoed").succeeded().text(), "echoed");
    let config = fs::read_to_string(ssh.join("config")).unwrap();
    assert!(config.contains("iotstream.conf") && config.ends_with("Host other\r\n  User me\r\n"), "{config}");
    // ssh opens the included file.
    let config = ssh.join("config");
    let seen = LinuxProgram::start(
        &user.sandbox,
        &["ssh", "-G", "-F", &linux_path(&config), "GW-07.factory"].map(str::to_owned),
    );
    let (status, said) = seen.finish(LIMIT);
    assert_eq!(status, 0, "{said}");

    user.runs(&program, "ssh-config --remove").finish("").succeeded();
    assert_eq!(fs::read_to_string(&config).unwrap(), "Host other\r\n  User me\r\n");
    assert!(!ssh.join("iotstream.conf").exists());
}

#[test]
fn host_keys_are_asked_with_a_line_that_every_caller_runs() {
    let user = User::new();
    let program = user.program("Program Files/iotstream");
    let profiles = user.sandbox.home(r"AppData\Local\iotstream\profiles.toml");
    let text = fs::read_to_string(&profiles).unwrap();
    fs::write(&profiles, text.replace("[profile.factory]", "[profile.factory]\nhost-keys = \"pin\""))
        .unwrap();
    fs::copy(env!("CARGO_BIN_EXE_caller"), program.with_file_name("ssh.exe")).unwrap();
    let printed = |version: &str| {
        let command = user.runs(&program, "ssh-config").env("PATH", program.parent().unwrap());
        command.env("CALLER_VERSION", Path::new(version)).finish("").succeeded()
    };
    let inbox = printed("7.7p1, LibreSSL 2.6.5");
    assert!(!inbox.text().contains("KnownHostsCommand") && inbox.stderr.contains("7.7"), "{inbox:?}");
    let printed = printed("9.8p2 Win32-OpenSSH-GitHub, LibreSSL 4.0.0");
    let line = option(printed.text(), "KnownHostsCommand", "GW-07.factory");
    let seen = arguments(&attempts(&line)[0]).unwrap();
    assert_eq!(seen[0], program.to_str().unwrap().replace('\\', "/"), "{line}");
    assert_eq!(seen[1], "host-keys", "{line}");
    assert_eq!(user.sh(&line), seen, "{line}");
}
