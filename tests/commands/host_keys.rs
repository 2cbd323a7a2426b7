//! `iotstream host-keys`, as ssh runs it: it ends with status 0, in time, and prints nothing but known_hosts lines.

use std::fs;
use std::time::{Duration, Instant};

use crate::support::{DEVICE, Finished, HOST_KEY, Hub, Sandbox, finish, report, timed};

fn config(sandbox: &Sandbox, profile: &str) {
    fs::create_dir_all(sandbox.path(".config/iotstream")).unwrap();
    sandbox
        .write(".config/iotstream/profiles.toml", format!("[profile.factory]\nhosts = [\"*\"]\n{profile}\n"));
}

fn host_keys(sandbox: &Sandbox, args: &[&str]) -> Finished {
    finish(sandbox.iotstream().arg("host-keys").args(args))
}

/// The two calls of a connection to a server with this key.
fn calls(sandbox: &Sandbox, host: &str) -> [Finished; 2] {
    let (key_type, key) = HOST_KEY.split_once(' ').unwrap();
    [["NONE", "NONE"], [key_type, key]]
        .map(|[key_type, key]| host_keys(sandbox, &["--presented", key_type, key, "--", DEVICE, host, "22"]))
}

/// Nothing is printed, and this is said once.
#[track_caller]
fn tells_nothing(sandbox: &Sandbox, host: &str, reason: &str) {
    let [first, second] = calls(sandbox, host);
    for done in [&first, &second] {
        assert_eq!((done.text(), done.status.code()), ("", Some(0)), "{}", done.stderr);
    }
    assert_eq!(first.stderr, "");
    assert!(
        second.stderr.contains(reason) && second.stderr.lines().count() <= 2,
        "{reason}: {}",
        second.stderr
    );
}

#[test]
fn an_error_of_the_configuration_is_told_once_and_is_none_for_ssh() {
    let sandbox = Sandbox::new();
    tells_nothing(&sandbox, DEVICE, "there is no profile file at ");
    for (profile, reason) in [
        ("host-keys = \"trust\"", "unknown variant `trust`, expected one of `pin`, `follow`, `off`"),
        ("host-ca = \"ssh-ed25519 AAAA\"", "a public key is expected"),
        ("", "none is set"),
        ("connection-string-file = \"none\"", "No such file or directory"),
        ("connection-string-command = \"false\"", "false failed"),
        ("connection-string = \"garbage\"", "credential from "),
    ] {
        config(&sandbox, profile);
        tells_nothing(&sandbox, DEVICE, reason);
    }
    for host in ["a,b", "*", "@revoked", "#", "|1|", "a b", "a\nb", "a?", "!a"] {
        tells_nothing(&sandbox, host, "cannot stand in front of a key in known_hosts");
    }
    for args in [&[][..], &["a", "b", "99999"], &["a", "b", "22", "c"], &["--presented", "x"], &["--nothing"]]
    {
        let done = host_keys(&sandbox, args);
        assert_eq!((done.text(), done.status.code()), ("", Some(0)), "{args:?}");
        assert!(done.stderr.starts_with("iotstream: error: "), "{}", done.stderr);
    }
    // People see the ordinary statuses.
    config(&sandbox, "");
    for (args, status) in
        [(&["--show", "a", "b", "0"][..], 2), (&["--show", "a"], 78), (&["a", "--accept"], 78)]
    {
        assert_eq!(host_keys(&sandbox, args).status.code(), Some(status), "{args:?}");
    }
}

#[test]
fn a_signed_key_or_none_needs_no_credential() {
    let sandbox = Sandbox::new();
    config(&sandbox, "connection-string-command = \"touch asked\"\nhost-keys = \"off\"");
    for done in calls(&sandbox, DEVICE) {
        assert_eq!((done.text(), &*done.stderr, done.status.code()), ("", "", Some(0)));
    }
    for policy in ["", "host-keys = \"pin\"", "host-keys = \"follow\""] {
        config(
            &sandbox,
            &format!("connection-string-command = \"touch asked\"\nhost-ca = {HOST_KEY:?}\n{policy}"),
        );
        for done in calls(&sandbox, "[dev-1]:2222") {
            let line = format!("@cert-authority [dev-1]:2222 {HOST_KEY}\n");
            assert_eq!((done.text(), &*done.stderr), (&*line, ""));
        }
    }
    assert!(!sandbox.path("asked").exists());
}

#[test]
fn a_relay_knows_no_host_keys() {
    let sandbox = Sandbox::new();
    let hub = Hub::start(&sandbox, &["--relay-entity", DEVICE]);
    fs::create_dir_all(sandbox.path(".config/iotstream")).unwrap();
    let profiles = fs::read_to_string(hub.dir.join("profiles.toml")).unwrap();
    sandbox.write(
        ".config/iotstream/profiles.toml",
        profiles
            .replace("default = \"emulator\"", "default = \"relay\"")
            .replace("\"relay/", &format!("\"{}/relay/", hub.dir.display())),
    );
    tells_nothing(&sandbox, DEVICE, "keeps no reports of devices");
    let [_, second] = calls(&sandbox, DEVICE);
    assert!(second.stderr.contains("host-ca"), "{}", second.stderr);
    let shown = host_keys(&sandbox, &["--show", DEVICE]);
    assert_eq!(shown.status.code(), Some(78), "{}", shown.stderr);
}

#[test]
fn a_credential_s_command_that_hangs_delays_ssh_by_two_seconds_at_most() {
    let _turn = timed();
    let sandbox = Sandbox::new();
    for profile in [
        "connection-string-command = { shell = \"sleep 60 & wait\" }",
        "hub = \"localhost\"\ntoken-command = { shell = \"sleep 60 & wait\" }",
    ] {
        config(&sandbox, profile);
        let since = Instant::now();
        tells_nothing(&sandbox, DEVICE, "");
        assert!(since.elapsed() < Duration::from_millis(2200), "{:?}", since.elapsed());
    }
    sandbox.leaves_only(Duration::from_secs(5), &[]);
}

#[test]
fn a_silent_hub_delays_ssh_by_two_seconds_at_most() {
    let _turn = timed();
    for faults in ["twin=silent", "twin=drop", "twin=429", "latency=3s"] {
        let sandbox = Sandbox::new();
        let hub = Hub::start(&sandbox, &["--device", DEVICE, "--inject", faults]);
        fs::create_dir_all(sandbox.path(".config/iotstream")).unwrap();
        fs::copy(hub.dir.join("profiles.toml"), sandbox.path(".config/iotstream/profiles.toml")).unwrap();
        let since = Instant::now();
        tells_nothing(&sandbox, DEVICE, "iotstream: error: ");
        assert!(since.elapsed() < Duration::from_millis(2200), "{faults}: {:?}", since.elapsed());
    }
}

#[test]
fn keys_are_told_for_their_own_stream_alone() {
    let sandbox = Sandbox::new();
    let hub = Hub::start(&sandbox, &["--device", DEVICE]);
    fs::create_dir_all(sandbox.path(".config/iotstream")).unwrap();
    let profiles = fs::read_to_string(hub.dir.join("profiles.toml")).unwrap();
    let profiles = profiles
        + "\n[profile.emulator.ports]\n2200 = \"ssh\"\n\n[profile.emulator.devices]\ndoor = { id = \"dev-1\", stream = \"ssh\" }\n";
    sandbox.write(".config/iotstream/profiles.toml", profiles);
    let streams = serde_json::json!({ "s0": { "name": "ssh", "keys": { "k0": HOST_KEY } } });
    report(&hub, DEVICE, &serde_json::json!({ "iotstream": { "agent": "0.2.0", "streams": streams } }));
    let line = format!("h {HOST_KEY}\n");
    for (args, is_told) in [
        (&[DEVICE, "h"][..], true),
        (&[DEVICE, "h", "22"], true),
        (&[DEVICE, "h", "2222"], false),
        (&[DEVICE, "h", "2200"], true),
        (&["door", "h", "2222"], true),
        (&["--stream", "ssh", DEVICE, "h", "2222"], true),
        (&["--stream", "tcp-22", DEVICE, "h", "22"], false),
    ] {
        let done = host_keys(&sandbox, args);
        assert_eq!(done.text(), if is_told { &line } else { "" }, "{args:?}: {}", done.stderr);
        assert_eq!(done.stderr.is_empty(), is_told, "{args:?}: {}", done.stderr);
    }
}
