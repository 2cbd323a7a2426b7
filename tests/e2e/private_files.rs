//! Files that hold secrets and files that are written, where other users have a hand in them: what is refused, what works
//! all the same, and that no login fails for a file it can do without. Giving files to other users takes root.

use std::fs::{self, Permissions};
use std::io::Read;
use std::os::unix::fs::{PermissionsExt, chown, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::support::{
    Bench, DEVICE, Finished, Hub, LIMIT, Process, Stdin, echo_device, in_service, need, run,
};

const CONFIG: i32 = 78;
const TEMPORARY: i32 = 75;

/// A user, and a group of the same number, that no file of the system knows.
const OTHER: u32 = 54_321;

const INLINE: &str = "[profile.x]\n\
    connection-string = \"HostName=localhost:1;SharedAccessKeyName=service;SharedAccessKey=aHVudGVyMg==\"\n";
const SOURCE: &str = "[profile.x]\nconnection-string-env = \"X\"\n";

fn mode(path: &Path, mode: u32) {
    fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
}

fn mode_of(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o7777
}

fn give(path: &Path, user: Option<u32>, group: Option<u32>) {
    chown(path, user, group).expect("giving files to other users takes root");
}

fn list(bench: &Bench, config: &Path) -> Finished {
    run(bench.iotstream().args(["profile", "list", "--config"]).arg(config), Stdin::Ends(b""), LIMIT)
}

#[track_caller]
fn refused(done: &Finished, says: &str) {
    assert_eq!(done.status.code(), Some(CONFIG), "{}", done.stderr);
    assert!(done.stderr.contains(says), "{says} is not in: {}", done.stderr);
    assert!(!done.stderr.contains("aHVudGVyMg"), "{}", done.stderr);
}

/// The same command as another user, without the user's groups.
fn as_other(command: &Command) -> Command {
    let mut other = Command::new(need("setpriv"));
    other.args(["--reuid", "54321", "--regid", "54321", "--clear-groups"]).arg(command.get_program());
    other.args(command.get_args());
    for (name, value) in command.get_envs() {
        match value {
            Some(value) => other.env(name, value),
            None => other.env_remove(name),
        };
    }
    other
}

/// The test's binary where another user can run it.
fn shared_program(bench: &Bench) -> PathBuf {
    mode(&bench.path(""), 0o755);
    let program = bench.path("iotstream");
    fs::copy(env!("CARGO_BIN_EXE_iotstream"), &program).unwrap();
    program
}

#[test]
fn a_profile_file_is_refused_for_its_owner_its_mode_and_all_that_leads_to_it() {
    let bench = Bench::new();
    fs::create_dir_all(bench.path("above/own")).unwrap();
    let file = bench.write("above/own/profiles.toml", INLINE);
    let directory = file.parent().unwrap();
    list(&bench, &file).succeeded();

    mode(&file, 0o644);
    refused(&list(&bench, &file), &format!("chmod 600 '{}'", file.display()));
    // Without a secret in it, others may read it, and may not write to it.
    fs::write(&file, SOURCE).unwrap();
    list(&bench, &file).succeeded();
    mode(&file, 0o666);
    refused(&list(&bench, &file), "is writable by other users (mode 0666)");
    bench.write("above/own/profiles.toml", INLINE);

    give(&file, Some(OTHER), None);
    refused(&list(&bench, &file), "belongs to another user (uid 54321, not to root)");
    give(&file, Some(0), None);

    for (path, open, says) in [
        (directory.to_owned(), 0o777, "(mode 0777)"),
        (bench.path("above"), 0o757, "above is writable by other users (mode 0757)"),
    ] {
        mode(&path, open);
        refused(&list(&bench, &file), says);
        mode(&path, 0o755);
    }
    give(&bench.path("above"), Some(OTHER), None);
    refused(&list(&bench, &file), "above belongs to another user");
    give(&bench.path("above"), Some(0), None);

    // A dotfile manager's links, to the file and to its directory.
    symlink("above/own", bench.path("linked")).unwrap();
    symlink(bench.path("linked/profiles.toml"), bench.path("link.toml")).unwrap();
    list(&bench, &bench.path("link.toml")).succeeded();
    mode(&bench.path("above"), 0o777);
    refused(&list(&bench, &bench.path("link.toml")), "above is writable by other users");
    mode(&bench.path("above"), 0o755);
    rustix::fs::chownat(
        rustix::fs::CWD,
        bench.path("linked"),
        Some(rustix::fs::Uid::from_raw(OTHER)),
        None,
        rustix::fs::AtFlags::SYMLINK_NOFOLLOW,
    )
    .unwrap();
    refused(&list(&bench, &bench.path("link.toml")), "linked belongs to another user");
    list(&bench, &file).succeeded();
}

#[test]
fn what_the_next_command_would_refuse_is_not_added_to() {
    let bench = Bench::new();
    let directory = bench.path("shared");
    fs::create_dir(&directory).unwrap();
    give(&directory, None, Some(OTHER));
    mode(&directory, 0o775);
    let file = directory.join("profiles.toml");
    let string = "HostName=h;SharedAccessKeyName=service;SharedAccessKey=aHVudGVyMg==\n";
    let add = |name: &str| {
        let mut add = bench.iotstream();
        run(add.args(["profile", "add", name, "--config"]).arg(&file), Stdin::Ends(string.as_bytes()), LIMIT)
    };
    refused(&add("x"), &format!("chmod go-w '{}'", directory.display()));
    assert!(!file.exists());
    mode(&directory, 0o755);
    add("x").succeeded();
    mode(&directory, 0o775);
    refused(&list(&bench, &file), &format!("chmod go-w '{}'", directory.display()));
    refused(&add("y"), &format!("chmod go-w '{}'", directory.display()));

    // The group that has only the owner in it shuts nobody out.
    for path in [&directory, &file] {
        give(path, Some(OTHER), Some(OTHER));
    }
    let program = shared_program(&bench);
    let mut other = bench.command(&program);
    other.args(["profile", "list", "--config"]).arg(&file);
    run(&mut as_other(&other), Stdin::Ends(b""), LIMIT).succeeded();
}

#[test]
fn secrets_that_kubernetes_systemd_and_namespaces_hand_over_work() {
    let bench = Bench::new();
    let program = shared_program(&bench);
    // As the kubelet lays them out: a sticky directory, links, and a file of root's for the pod's group.
    let (secrets, data) = (bench.path("secrets"), bench.path("secrets/..2026_01"));
    fs::create_dir_all(&data).unwrap();
    mode(&secrets, 0o1777);
    fs::write(data.join("hub"), "HostName=localhost:1;SharedAccessKeyName=s;SharedAccessKey=aHVudGVyMg==")
        .unwrap();
    mode(&data.join("hub"), 0o440);
    give(&data.join("hub"), Some(0), Some(OTHER));
    symlink("..2026_01", secrets.join("..data")).unwrap();
    symlink("..data/hub", secrets.join("hub")).unwrap();
    let config = bench.path("profiles.toml");
    let helper = |source: &str| {
        fs::write(&config, format!("default = \"x\"\n[profile.x]\n{source}\n")).unwrap();
        let mut helper = bench.command(&program);
        helper.arg("--config").arg(&config).args([DEVICE, "5901"]);
        helper
    };
    // All is well with the files when the hub cannot be reached.
    let reaches = |command: &mut Command| {
        let done = run(command, Stdin::Ends(b""), LIMIT);
        assert_eq!(done.status.code(), Some(TEMPORARY), "{}", done.stderr);
    };
    let from_file = format!("connection-string-file = {:?}", secrets.join("hub"));
    reaches(&mut as_other(&helper(&from_file)));
    // The same where root and everybody else show as nobody.
    let mut namespace = bench.command(need("unshare"));
    namespace.args(["--user", "--map-current-user"]).arg(&program).args(helper(&from_file).get_args());
    reaches(&mut as_other(&namespace));
    let mut credential = helper("connection-string-credential = \"hub\"");
    reaches(&mut as_other(credential.env("CREDENTIALS_DIRECTORY", &secrets)));
    // One that all can read is refused as ever, with what closes it there.
    mode(&data.join("hub"), 0o444);
    let done = run(&mut as_other(&helper(&from_file)), Stdin::Ends(b""), LIMIT);
    refused(&done, "is accessible to other users (mode 0444)");
    refused(&done, "give the volume defaultMode: 0400");
}

/// A login that gives back what it is told.
#[track_caller]
fn echoes(helper: &mut Command) -> Finished {
    let done = run(helper.args(["--stream", "echo", DEVICE]), Stdin::Ends(b"there and back"), LIMIT);
    let done = done.succeeded();
    assert_eq!(done.text(), "there and back", "{}", done.stderr);
    done
}

fn fifo(path: &Path) {
    rustix::fs::mkfifoat(rustix::fs::CWD, path, rustix::fs::Mode::from_raw_mode(0o600)).unwrap();
}

#[test]
fn no_login_fails_for_its_state() {
    let (_agent, hub, bench) = echo_device("echo");
    echoes(&mut hub.helper(&bench));
    let state = bench.path(".local/state/iotstream");
    let kept: Vec<PathBuf> = fs::read_dir(&state).unwrap().map(|entry| entry.unwrap().path()).collect();
    assert!(!kept.is_empty(), "a login keeps the gateway");
    for file in &kept {
        fs::remove_file(file).unwrap();
        fifo(file);
    }
    echoes(&mut hub.helper(&bench));
    // What others have a hand in is neither read nor written.
    for file in &kept {
        fs::remove_file(file).unwrap();
    }
    mode(&state, 0o777);
    echoes(&mut hub.helper(&bench));
    assert_eq!(fs::read_dir(&state).unwrap().count(), 0);
    mode(&state, 0o700);
    give(&state, Some(OTHER), None);
    echoes(&mut hub.helper(&bench));
    assert_eq!(fs::read_dir(&state).unwrap().count(), 0);
    give(&state, Some(0), None);

    let absent = bench.path("no/such/home");
    echoes(hub.helper(&bench).env("HOME", &absent));
    assert!(!absent.exists(), "a missing home stays missing");
    fs::create_dir(bench.path("work")).unwrap();
    for home in ["relative", "./relative", ""] {
        echoes(hub.helper(&bench).env("HOME", home).current_dir(bench.path("work")));
        assert_eq!(fs::read_dir(bench.path("work")).unwrap().count(), 0, "HOME={home}");
    }
}

#[test]
fn a_home_that_is_missing_is_not_made_for_a_profile() {
    let bench = Bench::new();
    let home = bench.path("no/such/home");
    let string = b"HostName=h;SharedAccessKeyName=service;SharedAccessKey=aHVudGVyMg==\n";
    let mut add = bench.iotstream();
    let done = run(add.args(["profile", "add", "x"]).env("HOME", &home), Stdin::Ends(string), LIMIT);
    assert_eq!(done.status.code(), Some(74), "{}", done.stderr);
    assert!(done.stderr.contains("the home directory") && !bench.path("no").exists(), "{}", done.stderr);
    // The working directory is nobody's home.
    fs::create_dir(bench.path("work")).unwrap();
    let mut path = bench.iotstream();
    path.args(["profile", "path"]).env("HOME", "work");
    let path = run(&mut path, Stdin::Ends(b""), LIMIT).succeeded();
    assert!(path.text().starts_with('/') && !path.text().contains("work"), "{}", path.text());
}

#[test]
fn no_login_fails_for_its_log_and_others_have_no_hand_in_it() {
    let (_agent, hub, bench) = echo_device("echo");
    let log = bench.path("log");
    let said = |path: &Path| echoes(hub.helper(&bench).arg("--log-file").arg(path)).stderr;
    // Not even where the umask lets all in.
    let mut shell = bench.command("sh");
    shell.args(["-c", "umask 000; exec \"$0\" \"$@\"", env!("CARGO_BIN_EXE_iotstream"), "--config"]);
    echoes(shell.arg(hub.dir.join("profiles.toml")).arg("--log-file").arg(&log));
    assert_eq!(mode_of(&log), 0o600);
    mode(&log, 0o666);
    assert_eq!(said(&log), "");
    assert_eq!((mode_of(&log), fs::read_to_string(&log).unwrap().lines().count() > 1), (0o644, true));

    // A link of another user's is not followed.
    fs::create_dir(bench.path("sticky")).unwrap();
    mode(&bench.path("sticky"), 0o1777);
    let (planted, victim) = (bench.path("sticky/log"), bench.write("victim", "whole"));
    symlink(&victim, &planted).unwrap();
    rustix::fs::chownat(
        rustix::fs::CWD,
        &planted,
        Some(rustix::fs::Uid::from_raw(OTHER)),
        None,
        rustix::fs::AtFlags::SYMLINK_NOFOLLOW,
    )
    .unwrap();
    let warned = said(&planted);
    assert!(warned.contains("sticky/log belongs to another user"), "{warned}");
    assert_eq!(fs::read_to_string(&victim).unwrap(), "whole");
    // Nor one that others can replace, nor what is not there, nor a pipe that nobody reads.
    fs::create_dir(bench.path("open")).unwrap();
    mode(&bench.path("open"), 0o777);
    fifo(&bench.path("fifo"));
    for (path, says) in [
        ("open/log", "open is writable by other users"),
        ("none/log", "No such file or directory"),
        ("fifo", "No such device or address"),
        ("open", "Is a directory"),
    ] {
        let warned = said(&bench.path(path));
        assert!(warned.contains("log file") && warned.contains(says), "{path}: {warned}");
        assert_eq!(warned.lines().count(), 1, "{path}: {warned}");
    }
    assert!(!bench.path("open/log").exists());
    // A link of our own is, and so are devices and pipes.
    symlink("log", bench.path("own")).unwrap();
    for path in [bench.path("own"), "/dev/null".into()] {
        assert_eq!(said(&path), "", "{}", path.display());
    }
    let through = said(Path::new("/dev/stderr"));
    assert!(through.contains(" info: "), "{through}");
    let reader = {
        let path = bench.path("fifo");
        std::thread::spawn(move || {
            let mut text = String::new();
            fs::File::open(path).unwrap().read_to_string(&mut text).unwrap();
            text
        })
    };
    // The reader's opening waits for ours; until it does, ours fails.
    while !reader.is_finished() {
        said(&bench.path("fifo"));
    }
    assert!(reader.join().unwrap().contains(" info: "));
}

/// The configuration of an agent with an echo target.
fn agent_config(bench: &Bench, hub: &Hub, file: &Path, more: &str) -> PathBuf {
    let ca_file = hub.dir.join("ca.pem");
    let target = "[[target]]\nstream = \"echo\"\nbuiltin = \"echo\"\n";
    bench.write(
        "agent.toml",
        format!("connection-string-file = {file:?}\nca-file = {ca_file:?}\n{more}\n{target}"),
    )
}

#[test]
fn an_agent_stays_within_reach_for_what_was_never_looked_at_and_its_check_fails() {
    let bench = Bench::new();
    let hub = Hub::start(&bench, &["--device", DEVICE]);
    fs::create_dir_all(bench.path("above/own")).unwrap();
    let key = bench.write("above/own/dev.conn", fs::read(hub.device_file(DEVICE)).unwrap());
    let config = agent_config(&bench, &hub, &key, "audit-log = \"above/audit.log\"");
    let agent = |args: &[&str]| {
        let mut command = bench.iotstream();
        command.arg("agent").args(args).arg("--config").arg(&config);
        command
    };
    let check = || run(&mut agent(&["--check"]), Stdin::Ends(b""), LIMIT);
    check().succeeded();
    give(&key, Some(OTHER), None);
    mode(&bench.path("above"), 0o777);
    let done = check();
    assert_eq!(done.status.code(), Some(CONFIG), "{}", done.text());
    for exposed in ["dev.conn belongs to another user", "above is writable by other users"] {
        assert!(done.text().contains(exposed), "{}", done.text());
    }
    let mut running = in_service(&bench, &mut agent(&["-vv"]));
    running.says("dev.conn belongs to another user", 1, LIMIT);
    running.says("above is writable by other users", 1, LIMIT);
    echoes(&mut hub.helper(&bench));
    drop(running);
    assert!(fs::read_to_string(bench.path("above/audit.log")).unwrap().contains("\"end\""));
    // What was refused before is refused still.
    mode(&key, 0o640);
    refused(&run(&mut agent(&[]), Stdin::Ends(b""), LIMIT), &format!("chmod 600 '{}'", key.display()));
    mode(&key, 0o600);
    mode(&bench.path("above/own"), 0o777);
    refused(&run(&mut agent(&[]), Stdin::Ends(b""), LIMIT), "own is writable by other users");
}

#[test]
fn what_windows_and_portals_write_is_read_on_both_sides() {
    let bench = Bench::new();
    let hub = Hub::start(&bench, &["--device", DEVICE]);
    let wide = |text: &str| -> Vec<u8> {
        format!("\u{feff}{text}\r\n").encode_utf16().flat_map(u16::to_le_bytes).collect()
    };
    let string = fs::read_to_string(hub.device_file(DEVICE)).unwrap();
    let key = bench.write("dev.conn", wide(&format!("$env:X = \"{}\"", string.trim())));
    let ca = fs::read_to_string(hub.dir.join("ca.pem")).unwrap();
    let ca_file = bench.write("ca.pem", wide(&ca.replace('\n', "\r\n")));
    let mut agent = bench.iotstream();
    agent.args(["agent", "-vv", "--target", "echo=builtin:echo", "--connection-string-file"]).arg(&key);
    let _agent: Process = in_service(&bench, agent.arg("--ca-file").arg(&ca_file));

    let json = format!("{{\n  \"connectionString\": \"{}\"\n}}\n", hub.service_connection_string());
    let mut add = bench.iotstream();
    add.args(["profile", "add", "x", "--ca-file"]).arg(bench.write("bom.pem", format!("\u{feff}\n{ca}")));
    run(&mut add, Stdin::Ends(json.as_bytes()), LIMIT).succeeded();
    let kept = fs::read_to_string(bench.path(".config/iotstream/profiles.toml")).unwrap();
    assert!(kept.contains(&format!("connection-string = \"{}\"", hub.service_connection_string())), "{kept}");
    echoes(&mut bench.iotstream());
    // az's answer as a command's, over several lines.
    let config = format!(
        "default = \"x\"\n[profile.x]\nca-file = {ca_file:?}\nconnection-string-command = [\"cat\", {:?}]\n",
        bench.write("az.json", &json)
    );
    let config = bench.write("windows.toml", wide(&config));
    echoes(bench.iotstream().arg("--config").arg(config));

    bench.write("empty.conn", "\r\n");
    for (file, says) in [
        (bench.path("empty.conn"), "the connection string is empty"),
        (bench.path("ca.pem"), "it is a certificate, not a hub's connection string"),
    ] {
        let mut agent = bench.iotstream();
        refused(
            &run(agent.args(["agent", "--connection-string-file"]).arg(file), Stdin::Ends(b""), LIMIT),
            says,
        );
    }
    for (content, says) in [
        ("", "it is empty"),
        (&*string, "it is a connection string, and holds no certificate"),
        ("-----BEGIN CERTIFICATE-----\nMIIB", "the certificate in line 1 has no END"),
    ] {
        let mut helper = hub.helper(&bench);
        let file = bench.write("wrong.pem", content);
        refused(&run(helper.arg("--ca-file").arg(file).arg(DEVICE), Stdin::Ends(b""), LIMIT), says);
    }
}
