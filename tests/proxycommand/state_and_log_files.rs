//! A state directory or a log file that cannot be used fails no connection, and other users cannot misuse it.

use std::fs;
use std::io::Read;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use crate::support::{OTHER_USER, echo_device, echoes, give, iotstream, make_fifo, mode, set_mode};

#[test]
fn an_unusable_state_directory_fails_no_connection() {
    let (_agent, hub, sandbox) = echo_device("echo");
    echoes(&mut hub.helper(&sandbox));
    let state = sandbox.path(".local/state/iotstream");
    let kept: Vec<PathBuf> = fs::read_dir(&state).unwrap().map(|entry| entry.unwrap().path()).collect();
    assert!(!kept.is_empty(), "a connection caches the gateway");
    for file in &kept {
        if file.is_dir() {
            fs::remove_dir_all(file).unwrap();
        } else {
            fs::remove_file(file).unwrap();
        }
        make_fifo(file);
    }
    echoes(&mut hub.helper(&sandbox));
    // A directory that others can write is neither read nor written.
    for file in &kept {
        fs::remove_file(file).unwrap();
    }
    set_mode(&state, 0o777);
    echoes(&mut hub.helper(&sandbox));
    assert_eq!(fs::read_dir(&state).unwrap().count(), 0);
    set_mode(&state, 0o700);
    give(&state, Some(OTHER_USER), None);
    echoes(&mut hub.helper(&sandbox));
    assert_eq!(fs::read_dir(&state).unwrap().count(), 0);
    give(&state, Some(0), None);

    let absent = sandbox.path("no/such/home");
    echoes(hub.helper(&sandbox).env("HOME", &absent));
    assert!(!absent.exists(), "a missing home stays missing");
    fs::create_dir(sandbox.path("work")).unwrap();
    for home in ["relative", "./relative", ""] {
        echoes(hub.helper(&sandbox).env("HOME", home).current_dir(sandbox.path("work")));
        assert_eq!(fs::read_dir(sandbox.path("work")).unwrap().count(), 0, "HOME={home}");
    }
}

#[test]
fn an_unusable_log_file_fails_no_connection_and_other_users_cannot_write_it() {
    let (_agent, hub, sandbox) = echo_device("echo");
    let log = sandbox.path("log");
    let said = |path: &Path| echoes(hub.helper(&sandbox).arg("--log-file").arg(path)).stderr;
    // Even with a umask of 0.
    let mut shell = sandbox.command("sh");
    shell.args(["-c", "umask 000; exec \"$0\" \"$@\"", iotstream(), "--config"]);
    echoes(shell.arg(hub.dir.join("profiles.toml")).arg("--log-file").arg(&log));
    assert_eq!(mode(&log), 0o600);
    set_mode(&log, 0o666);
    assert_eq!(said(&log), "");
    assert_eq!((mode(&log), fs::read_to_string(&log).unwrap().lines().count() > 1), (0o644, true));

    // A symbolic link of another user's is not followed.
    fs::create_dir(sandbox.path("sticky")).unwrap();
    set_mode(&sandbox.path("sticky"), 0o1777);
    let (planted, victim) = (sandbox.path("sticky/log"), sandbox.write("victim", "whole"));
    symlink(&victim, &planted).unwrap();
    rustix::fs::chownat(
        rustix::fs::CWD,
        &planted,
        Some(rustix::fs::Uid::from_raw(OTHER_USER)),
        None,
        rustix::fs::AtFlags::SYMLINK_NOFOLLOW,
    )
    .unwrap();
    let warned = said(&planted);
    assert!(warned.contains("sticky/log belongs to another user"), "{warned}");
    assert_eq!(fs::read_to_string(&victim).unwrap(), "whole");
    // Files in a directory that others can write, in a missing directory, and a FIFO without a reader are not opened.
    fs::create_dir(sandbox.path("open")).unwrap();
    set_mode(&sandbox.path("open"), 0o777);
    make_fifo(&sandbox.path("fifo"));
    for (path, says) in [
        ("open/log", "open is writable by other users"),
        ("none/log", "No such file or directory"),
        ("fifo", "No such device or address"),
        ("open", "Is a directory"),
    ] {
        let warned = said(&sandbox.path(path));
        assert!(warned.contains("log file") && warned.contains(says), "{path}: {warned}");
        assert_eq!(warned.lines().count(), 1, "{path}: {warned}");
    }
    assert!(!sandbox.path("open/log").exists());
    // The user's own links, devices and FIFOs with a reader are.
    symlink("log", sandbox.path("own")).unwrap();
    for path in [sandbox.path("own"), "/dev/null".into()] {
        assert_eq!(said(&path), "", "{}", path.display());
    }
    let through = said(Path::new("/dev/stderr"));
    assert!(through.contains(" info: "), "{through}");
    let reader = {
        let path = sandbox.path("fifo");
        std::thread::spawn(move || {
            let mut text = String::new();
            fs::File::open(path).unwrap().read_to_string(&mut text).unwrap();
            text
        })
    };
    // Until the reader opens the FIFO, opening it for writing fails.
    while !reader.is_finished() {
        said(&sandbox.path("fifo"));
    }
    assert!(reader.join().unwrap().contains(" info: "));
}
