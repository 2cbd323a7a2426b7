//! A computer whose clock is wrong: nothing panics, and the error names the clock.

use std::process::Command;

use crate::support::{DEVICE, Hub, LIMIT, Process, Sandbox, Stdin, need, run};

/// A command that sees another time. Its /dev/shm is its own: a faketime that is killed leaves a semaphore behind, and a
/// later one with the same process id would not start.
fn at(sandbox: &Sandbox, time: &str, args: &[&str]) -> Command {
    let mut command = sandbox.command(need("unshare"));
    if !rustix::process::getuid().is_root() {
        command.arg("--map-root-user");
    }
    command.args(["--mount", "sh", "-c", "mount -t tmpfs shm /dev/shm && exec \"$@\"", "sh"]);
    // -m supports threads; the monotonic clock stays real. Always cargo's build: a static program sees the real time.
    command.arg(need("faketime")).args(["-m", time, env!("CARGO_BIN_EXE_iotstream")]).args(args);
    command.env("FAKETIME_DONT_FAKE_MONOTONIC", "1");
    command
}

#[test]
fn a_wrong_clock_is_reported_instead_of_the_ca() {
    let sandbox = Sandbox::new();
    let hub = Hub::start(&sandbox, &["--device", DEVICE]);
    let (profiles, device) = (hub.dir.join("profiles.toml"), hub.device_file(DEVICE));
    let ca = hub.dir.join("ca.pem");
    let check = ["check", "--config", profiles.to_str().unwrap(), DEVICE];
    let device = device.to_str().unwrap();
    let agent = ["agent", "--check", "--connection-string-file", device, "--ca-file", ca.to_str().unwrap()];
    for (time, problem, hint) in [
        (
            "1960-01-01 00:00:00",
            "the clock here says 1970-01-01T00:00:0",
            "set the clock here: it is earlier than the build",
        ),
        (
            "2019-06-01 00:00:00",
            "the clock here says 2019-06-01T",
            "set the clock here: it is earlier than the build",
        ),
        ("2095-06-01 00:00:00", "the clock here says 2095-06-01T", "set the clock here if it is ahead"),
    ] {
        for args in [&check[..], &agent] {
            let done = run(&mut at(&sandbox, time, args), Stdin::Ends(b""), LIMIT);
            assert_eq!(done.status.code(), Some(77), "{time} {args:?}: {}", done.text());
            let text = done.text();
            assert!(text.contains(problem) && text.contains(hint) && !text.contains("--ca-file"), "{text}");
        }
    }
}

#[test]
fn an_emulator_serves_clients_with_the_same_wrong_clock() {
    for time in ["1971-01-01 00:00:00", "2095-06-01 00:00:00", "9999-06-01 00:00:00"] {
        let sandbox = Sandbox::new();
        let dir = sandbox.path("hub");
        let dir = dir.to_str().unwrap();
        let any = "127.0.0.1:0";
        let args = ["emulator", "--dir", dir, "--listen", any, "--mqtt-listen", any, "--device", DEVICE];
        let mut hub = Process::start("emulator", &mut at(&sandbox, time, &args));
        hub.says("ready https=", 1, LIMIT);
        let profiles = format!("{dir}/profiles.toml");
        let check = ["check", "--connect-timeout", "1s", "--config", &profiles, DEVICE];
        let done = run(&mut at(&sandbox, time, &check), Stdin::Ends(b""), LIMIT);
        // The device is offline: every step before that passes.
        assert_eq!(done.status.code(), Some(69), "{time}: {}", done.text());
        assert!(done.text().contains("pass  credential"), "{time}: {}", done.text());
    }
}

#[test]
fn an_emulator_refuses_to_start_before_1970() {
    let sandbox = Sandbox::new();
    let any = "127.0.0.1:0";
    let args = ["emulator", "--dir", "hub", "--listen", any, "--mqtt-listen", any];
    let done = run(&mut at(&sandbox, "1960-01-01 00:00:00", &args), Stdin::Ends(b""), LIMIT);
    assert_eq!((done.status.code(), done.text()), (Some(74), ""));
    assert!(done.stderr.contains("between 1970 and 9999: set it"), "{}", done.stderr);
}
