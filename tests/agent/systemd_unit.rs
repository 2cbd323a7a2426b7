//! `iotstream agent --install`.

use std::fs;

use super::SOON;
use crate::support::{
    DEVICE, LIMIT, Sandbox, Stdin, Testbed, agent_with_config, finish, in_service, iotstream, mode, need, run,
};

const TCP: &str = "[[target]]\nstream = \"ssh\"\nconnect = \"127.0.0.1:22\"\n";
const SSHD: &str = "[[target]]\nstream = \"ssh\"\ncommand = [\"/usr/sbin/sshd\", \"-i\"]\n";
const AZIOT: &str = "identity = \"aziot\"\n";

/// The highest exposure that `systemd-analyze security` may report, in tenths of a point. systemd calls up to 50 "OK".
const EXPOSED: [(&str, &str, &str); 4] =
    [("", TCP, "20"), ("", SSHD, "48"), (AZIOT, TCP, "20"), (AZIOT, SSHD, "48")];

fn printed(sandbox: &Sandbox, config: &str) -> String {
    let config = sandbox.write("agent.toml", config);
    let mut command = sandbox.iotstream();
    let printed = run(command.args(["agent", "--install", "--config"]).arg(config), Stdin::Ends(b""), LIMIT);
    printed.succeeded().text().to_owned()
}

#[test]
fn the_unit_is_as_hardened_as_its_targets_allow() {
    let sandbox = Sandbox::new();
    for (identity, targets, most) in EXPOSED {
        let unit = printed(&sandbox, &format!("{identity}{targets}"));
        let unit = sandbox.write("iotstream-agent.service", unit);
        let mut verify = sandbox.command(need("systemd-analyze"));
        let verified = run(verify.arg("verify").arg(&unit), Stdin::Ends(b""), LIMIT).succeeded();
        assert!(!verified.stderr.contains("iotstream"), "{}", verified.stderr);
        let mut security = sandbox.command(need("systemd-analyze"));
        security.args(["security", "--offline=true", "--no-pager", "--threshold", most]).arg(&unit);
        run(&mut security, Stdin::Ends(b""), LIMIT).succeeded();
    }
}

/// With the capabilities that the unit leaves, a session logs in, copies files, and runs another user's shell. The rest
/// of the unit can only be tested with a running systemd.
#[test]
fn a_command_target_keeps_the_capabilities_that_sshd_needs() {
    if !rustix::process::getuid().is_root() {
        eprintln!("only root has capabilities to lose");
        return;
    }
    let unit = printed(&Sandbox::new(), SSHD);
    let lines = unit.lines().filter_map(|line| line.strip_prefix("CapabilityBoundingSet="));
    let kept: Vec<_> = lines.flat_map(str::split_whitespace).map(str::to_ascii_lowercase).collect();
    assert!(kept.contains(&"cap_setuid".into()) && !kept.contains(&"cap_sys_admin".into()), "{unit}");
    let bounding =
        kept.iter().fold("-all".to_owned(), |set, name| format!("{set},+{}", &name["cap_".len()..]));
    let testbed = Testbed::start_with(|sandbox, hub, files, _| {
        let target = format!(
            "[[target]]\nstream = \"ssh\"\ncommand = [{:?}, \"-i\", \"-f\", {:?}]\n",
            files.sshd, files.config
        );
        // This writes the configuration, and shows that it is valid.
        drop(agent_with_config(sandbox, hub, DEVICE, &target));
        let mut command = sandbox.command(need("setpriv"));
        command.arg("--bounding-set").arg(bounding).arg("--inh-caps=-all");
        command.arg(iotstream()).args(["agent", "-vv", "--config"]);
        in_service(command.arg(sandbox.path("agent.toml")))
    });
    let shell = |line: &str| {
        let mut ssh = testbed.sandbox.command(need("ssh"));
        ssh.arg("-F").arg(testbed.sandbox.path("ssh_config")).args([DEVICE, line]);
        run(&mut ssh, Stdin::Ends(b""), LIMIT).succeeded().text().trim().to_owned()
    };
    assert!(shell("grep CapBnd /proc/self/status") != own_bounding_set(), "nothing was taken away");
    assert_eq!(shell("su -s /bin/sh nobody -c 'id -un'"), "nobody");
    let terminal = shell("true; setsid -w script -qec 'test -w $(tty) && echo it is mine' /dev/null");
    assert_eq!(terminal, "it is mine");
    let file = testbed.sandbox.write("file", "content");
    let mut scp = testbed.sandbox.command(need("scp"));
    scp.arg("-p").arg("-F").arg(testbed.sandbox.path("ssh_config")).arg(file);
    scp.arg(format!("{DEVICE}:{}", testbed.sandbox.path("copy").display()));
    run(&mut scp, Stdin::Ends(b""), LIMIT).succeeded();
    assert_eq!(fs::read_to_string(testbed.sandbox.path("copy")).unwrap(), "content");
    let copy = testbed.sandbox.path("copy").display().to_string();
    assert_eq!(
        shell(&format!("chown nobody {copy} && chmod 4750 {copy} && stat -c %U:%a {copy}")),
        "nobody:4750"
    );
    testbed.sandbox.leaves_only(SOON, &[&testbed.hub.process, &testbed.agent, &testbed.sshd.process]);
}

fn own_bounding_set() -> String {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    status.lines().find(|line| line.starts_with("CapBnd")).unwrap().to_owned()
}

#[test]
fn the_unit_is_printed_or_written() {
    let sandbox = Sandbox::new();
    let config = sandbox.write("agent.toml", TCP);
    let install = |more: &[&str]| {
        let mut command = sandbox.iotstream();
        command.args(["agent", "--install"]).args(more).arg("--config").arg(&config);
        run(&mut command, Stdin::Ends(b""), LIMIT).succeeded()
    };
    let printed = install(&[]).text().to_owned();
    let directory = sandbox.path("units");
    fs::create_dir(&directory).unwrap();
    let said = install(&["--write", directory.to_str().unwrap()]);
    assert!(said.text().contains("systemctl enable --now iotstream-agent.service"), "{}", said.text());
    let unit = directory.join("iotstream-agent.service");
    assert_eq!(fs::read_to_string(&unit).unwrap(), printed);
}

/// The commands are run with stand-ins of those that change the system.
#[test]
fn pasted_commands_make_the_user_and_its_principal() {
    let sandbox = Sandbox::new();
    let config = sandbox.write("agent.toml", format!("{AZIOT}{TCP}"));
    for directory in ["units", "bin", "config.d"] {
        fs::create_dir(sandbox.path(directory)).unwrap();
    }
    let mut command = sandbox.iotstream();
    command.args(["agent", "--install", "--aziot", "--config"]).arg(config);
    let said = finish(command.arg("--write").arg(sandbox.path("units"))).succeeded();
    let (_, commands) = said.text().split_once('\n').unwrap();
    let unit = fs::read_to_string(sandbox.path("units/iotstream-agent.service")).unwrap();
    for line in commands.lines().take_while(|line| !line.starts_with("systemctl")) {
        assert!(unit.contains(&format!("#   {line}\n")), "{line} is not in {unit}");
    }
    for (program, script) in [
        ("getent", "exit 2"),
        ("useradd", "echo useradd \"$@\" >>log"),
        ("id", "echo 987"),
        ("aziotctl", "echo aziotctl \"$@\" >>log"),
        ("systemctl", "echo systemctl \"$@\" >>log"),
    ] {
        sandbox.write_script(&format!("bin/{program}"), script);
    }
    let directory = sandbox.path("config.d").display().to_string();
    let commands =
        commands.replace("-o aziotid -g aziotid ", "").replace("/etc/aziot/identityd/config.d", &directory);
    let mut shell = sandbox.command("sh");
    shell.env("PATH", format!("{}:/usr/bin:/bin", sandbox.path("bin").display())).args(["-ec", &commands]);
    finish(&mut shell).succeeded();
    let principal = sandbox.path("config.d/iotstream.toml");
    assert_eq!(mode(&principal), 0o600);
    let principal = fs::read_to_string(principal).unwrap();
    assert_eq!(principal, "[[principal]]\nuid = 987\nname = \"iotstream\"\nidtype = [\"module\"]\n");
    let log = fs::read_to_string(sandbox.path("log")).unwrap();
    assert!(
        log.starts_with("useradd --system --user-group") && log.contains("\naziotctl system restart\n"),
        "{log}"
    );
    assert!(log.ends_with("systemctl enable --now iotstream-agent.service\n"), "{log}");
}

#[test]
fn another_credential_is_no_identity_of_the_service() {
    let sandbox = Sandbox::new();
    let config = sandbox.write("agent.toml", TCP);
    let mut command = sandbox.iotstream();
    let done = finish(command.args(["agent", "--install", "--aziot", "--config"]).arg(config));
    assert_eq!(done.status.code(), Some(78), "{}", done.stderr);
    assert!(done.stderr.contains("set identity = \"aziot\""), "{}", done.stderr);
}
