//! Socket units, with a real systemd.

use std::fs::DirBuilder;
use std::net::TcpStream;
use std::os::unix::fs::DirBuilderExt;
use std::process::Command;

use super::desktops::Display;
use super::recipe::{BEHIND, Recipe};
use super::servers::{listens, web};
use crate::support::{LIMIT, Process, eventually, finish, python_program};

/// Starts a systemd of the user's, or none where only root may make its cgroups. It finds the system's units as well, and
/// answers to `sudo systemctl`: the system's own systemd would have to be the machine's first process.
fn systemd(recipe: &mut Recipe) -> Option<Process> {
    if !rustix::process::getuid().is_root() {
        recipe.skips("only root can make cgroups for systemd");
        return None;
    }
    let sudo = "[ \"$1\" != systemctl ] || set -- \"$@\" --user\nexec \"$@\"";
    recipe.sandbox.write_script("bin/sudo", sudo);
    // Where this is missing, systemd believes that another program has booted the machine.
    DirBuilder::new().recursive(true).mode(0o755).create("/run/systemd/system").unwrap();
    let of_the_user = |program: &str| {
        let mut command = recipe.sandbox.command(program);
        command.env("XDG_RUNTIME_DIR", recipe.path("run"));
        command
    };
    let mut systemd = of_the_user("/lib/systemd/systemd");
    systemd.args(["--user", "--log-target=console"]).env("SYSTEMD_UNIT_PATH", "/etc/systemd/system:");
    let systemd = Process::start("systemd", &mut systemd);
    let mut is_there = of_the_user("systemctl");
    is_there.args(["--user", "show-environment"]);
    eventually(LIMIT, || {
        let done = finish(&mut is_there);
        if done.status.success() { Ok(()) } else { Err(done.stderr) }
    });
    Some(systemd)
}

pub fn web_server(recipe: &mut Recipe) {
    web("127.0.0.1:80", "the device's page\n");
    let Some(_systemd) = systemd(recipe) else { return };
    assert_eq!(recipe.runs().text().lines().last(), Some("the device's page"));
    recipe.runs();
    TcpStream::connect("127.0.1.7:8080").expect_err("nothing listens");
}

pub fn vnc_server(recipe: &mut Recipe) {
    let (device, user) = (Display::device(&recipe.sandbox), Display::user(&recipe.sandbox));
    let Some(_systemd) = systemd(recipe) else { return };
    assert_eq!(user.white(), 0);
    let _viewer = Process::start("viewer", recipe.block().env("DISPLAY", &user.name));
    user.shows_the_device();
    user.stop();
    device.stop();
}

pub fn plc(recipe: &mut Recipe) {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/recipes/plc.py");
    let python = |args: &[&str]| {
        let mut python: Command = recipe.sandbox.command(python_program("python"));
        python.arg(script).args(args);
        python
    };
    let (mut serve, mut read) = (python(&[BEHIND]), python(&["read", "127.0.1.7"]));
    let _plc = Process::start("PLC", &mut serve);
    for port in [102, 502] {
        listens(&format!("{BEHIND}:{port}"));
    }
    let Some(_systemd) = systemd(recipe) else { return };
    let name = finish(recipe.sandbox.command("id").arg("-un")).succeeded();
    finish(recipe.block().env("USER", name.text().trim())).succeeded();
    assert_eq!(finish(&mut read).succeeded().text(), "PUMP\n");
    let done = recipe.runs();
    let registers: Vec<_> = done.text().lines().filter(|line| line.starts_with('[')).collect();
    assert_eq!(registers, ["[1]: \t42", "[2]: \t7"], "{}", done.text());
}
