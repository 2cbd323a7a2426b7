//! Files that other users can read or change: what is refused, and what works all the same.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::refused;
use crate::support::{DEVICE, Finished, LIMIT, OTHER_USER, Sandbox, Stdin, give, need, run, set_mode};

const TEMPORARY: i32 = 75;

const INLINE: &str = "[profile.x]\n\
    connection-string = \"HostName=localhost:1;SharedAccessKeyName=service;SharedAccessKey=aHVudGVyMg==\"\n";

const SOURCE: &str = "[profile.x]\nconnection-string-env = \"X\"\n";

fn list(sandbox: &Sandbox, config: &Path) -> Finished {
    run(sandbox.iotstream().args(["profile", "list", "--config"]).arg(config), Stdin::Ends(b""), LIMIT)
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

/// A copy of the program that another user can run.
fn shared_program(sandbox: &Sandbox) -> PathBuf {
    set_mode(&sandbox.path(""), 0o755);
    let program = sandbox.path("iotstream");
    sandbox.copy_program(&program);
    program
}

#[test]
fn a_profile_file_is_refused_for_its_owner_its_mode_and_its_directories() {
    let sandbox = Sandbox::new();
    fs::create_dir_all(sandbox.path("above/own")).unwrap();
    let file = sandbox.write("above/own/profiles.toml", INLINE);
    let directory = file.parent().unwrap();
    list(&sandbox, &file).succeeded();

    set_mode(&file, 0o644);
    refused(&list(&sandbox, &file), &format!("chmod 600 '{}'", file.display()));
    // A file without a secret may be readable by others, but not writable.
    fs::write(&file, SOURCE).unwrap();
    list(&sandbox, &file).succeeded();
    set_mode(&file, 0o666);
    refused(&list(&sandbox, &file), "is writable by other users (mode 0666)");
    sandbox.write("above/own/profiles.toml", INLINE);

    give(&file, Some(OTHER_USER), None);
    refused(&list(&sandbox, &file), "belongs to another user (uid 54321, not to root)");
    give(&file, Some(0), None);

    for (path, open, says) in [
        (directory.to_owned(), 0o777, "(mode 0777)"),
        (sandbox.path("above"), 0o757, "above is writable by other users (mode 0757)"),
    ] {
        set_mode(&path, open);
        refused(&list(&sandbox, &file), says);
        set_mode(&path, 0o755);
    }
    give(&sandbox.path("above"), Some(OTHER_USER), None);
    refused(&list(&sandbox, &file), "above belongs to another user");
    give(&sandbox.path("above"), Some(0), None);

    // Links as dotfile managers make them, to the file and to its directory.
    symlink("above/own", sandbox.path("linked")).unwrap();
    symlink(sandbox.path("linked/profiles.toml"), sandbox.path("link.toml")).unwrap();
    list(&sandbox, &sandbox.path("link.toml")).succeeded();
    set_mode(&sandbox.path("above"), 0o777);
    refused(&list(&sandbox, &sandbox.path("link.toml")), "above is writable by other users");
    set_mode(&sandbox.path("above"), 0o755);
    rustix::fs::chownat(
        rustix::fs::CWD,
        sandbox.path("linked"),
        Some(rustix::fs::Uid::from_raw(OTHER_USER)),
        None,
        rustix::fs::AtFlags::SYMLINK_NOFOLLOW,
    )
    .unwrap();
    refused(&list(&sandbox, &sandbox.path("link.toml")), "linked belongs to another user");
    list(&sandbox, &file).succeeded();
}

#[test]
fn profile_add_refuses_what_the_next_command_would_refuse() {
    let sandbox = Sandbox::new();
    let directory = sandbox.path("shared");
    fs::create_dir(&directory).unwrap();
    give(&directory, None, Some(OTHER_USER));
    set_mode(&directory, 0o775);
    let file = directory.join("profiles.toml");
    let string = "HostName=h;SharedAccessKeyName=service;SharedAccessKey=aHVudGVyMg==\n";
    let add = |name: &str| {
        let mut add = sandbox.iotstream();
        run(add.args(["profile", "add", name, "--config"]).arg(&file), Stdin::Ends(string.as_bytes()), LIMIT)
    };
    refused(&add("x"), &format!("chmod go-w '{}'", directory.display()));
    assert!(!file.exists());
    set_mode(&directory, 0o755);
    add("x").succeeded();
    set_mode(&directory, 0o775);
    refused(&list(&sandbox, &file), &format!("chmod go-w '{}'", directory.display()));
    refused(&add("y"), &format!("chmod go-w '{}'", directory.display()));

    // A group with the owner as its only member is accepted.
    for path in [&directory, &file] {
        give(path, Some(OTHER_USER), Some(OTHER_USER));
    }
    let program = shared_program(&sandbox);
    let mut other = sandbox.command(&program);
    other.args(["profile", "list", "--config"]).arg(&file);
    run(&mut as_other(&other), Stdin::Ends(b""), LIMIT).succeeded();
}

#[test]
fn secrets_from_kubernetes_systemd_and_namespaces_work() {
    let sandbox = Sandbox::new();
    let program = shared_program(&sandbox);
    // As the kubelet lays them out: a sticky directory, links, and a file of root's for the pod's group.
    let (secrets, data) = (sandbox.path("secrets"), sandbox.path("secrets/..2026_01"));
    fs::create_dir_all(&data).unwrap();
    set_mode(&secrets, 0o1777);
    fs::write(data.join("hub"), "HostName=localhost:1;SharedAccessKeyName=s;SharedAccessKey=aHVudGVyMg==")
        .unwrap();
    set_mode(&data.join("hub"), 0o440);
    give(&data.join("hub"), Some(0), Some(OTHER_USER));
    symlink("..2026_01", secrets.join("..data")).unwrap();
    symlink("..data/hub", secrets.join("hub")).unwrap();
    let config = sandbox.path("profiles.toml");
    let helper = |source: &str| {
        fs::write(&config, format!("default = \"x\"\n[profile.x]\n{source}\n")).unwrap();
        let mut helper = sandbox.command(&program);
        helper.arg("--config").arg(&config).args([DEVICE, "5901"]);
        helper
    };
    // The files are accepted if the error is that the hub is unreachable.
    let reaches = |command: &mut Command| {
        let done = run(command, Stdin::Ends(b""), LIMIT);
        assert_eq!(done.status.code(), Some(TEMPORARY), "{}", done.stderr);
    };
    let from_file = format!("connection-string-file = {:?}", secrets.join("hub"));
    reaches(&mut as_other(&helper(&from_file)));
    // The same in a user namespace, where root and all others appear as nobody.
    let mut namespace = sandbox.command(need("unshare"));
    namespace.args(["--user", "--map-current-user"]).arg(&program).args(helper(&from_file).get_args());
    reaches(&mut as_other(&namespace));
    let mut credential = helper("connection-string-credential = \"hub\"");
    reaches(&mut as_other(credential.env("CREDENTIALS_DIRECTORY", &secrets)));
    // A secret that all can read is refused, with the fix for Kubernetes.
    set_mode(&data.join("hub"), 0o444);
    let done = run(&mut as_other(&helper(&from_file)), Stdin::Ends(b""), LIMIT);
    refused(&done, "is accessible to other users (mode 0444)");
    refused(&done, "set defaultMode: 0400 on the volume");
}

#[test]
fn a_missing_home_directory_is_not_created() {
    let sandbox = Sandbox::new();
    let home = sandbox.path("no/such/home");
    let string = b"HostName=h;SharedAccessKeyName=service;SharedAccessKey=aHVudGVyMg==\n";
    let mut add = sandbox.iotstream();
    let done = run(add.args(["profile", "add", "x"]).env("HOME", &home), Stdin::Ends(string), LIMIT);
    assert_eq!(done.status.code(), Some(74), "{}", done.stderr);
    assert!(done.stderr.contains("the home directory") && !sandbox.path("no").exists(), "{}", done.stderr);
    // A relative HOME is ignored.
    fs::create_dir(sandbox.path("work")).unwrap();
    let mut path = sandbox.iotstream();
    path.args(["profile", "path"]).env("HOME", "work");
    let path = run(&mut path, Stdin::Ends(b""), LIMIT).succeeded();
    assert!(path.text().starts_with('/') && !path.text().contains("work"), "{}", path.text());
}
