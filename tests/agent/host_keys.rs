//! The host keys that the agent reads from its targets, as its log shows them.

use std::collections::BTreeSet;
use std::fs::{self, OpenOptions};
use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;

use data_encoding::BASE64;
use rustix::process::Signal;

use super::ask;
use crate::support::{
    DEVICE, Finished, Hub, LIMIT, OTHER_USER, Process, Sandbox, SshFiles, Sshd, Stdin, agent,
    agent_with_config, closed_port, finish, give, in_service, iotstream, need, run, serve, set_mode,
};

/// The types that ssh-keygen makes and a key exchange can verify.
const VERIFIED: [&[&str]; 4] = [&["ed25519"], &["ecdsa"], &["ecdsa", "-b", "384"], &["rsa"]];
const NISTP521: &[&str] = &["ecdsa", "-b", "521"];

/// Makes a host key named as sshd names its own, and returns the private key's path.
fn make_key(sandbox: &Sandbox, directory: &str, args: &[&str]) -> PathBuf {
    fs::create_dir_all(sandbox.path(directory)).unwrap();
    let path = sandbox.path(directory).join(format!("ssh_host_{}_key", args.concat()));
    let mut command = sandbox.command(need("ssh-keygen"));
    finish(command.args(["-q", "-N", "", "-t"]).args(args).arg("-f").arg(&path)).succeeded();
    path
}

fn public(private: &Path) -> PathBuf {
    let mut path = private.as_os_str().to_owned();
    path.push(".pub");
    path.into()
}

/// The fingerprint of a key file's public key, as ssh-keygen shows it.
fn fingerprint(sandbox: &Sandbox, public: &Path) -> String {
    let shown = finish(sandbox.command(need("ssh-keygen")).arg("-lf").arg(public)).succeeded();
    shown.text().split_whitespace().nth(1).unwrap().to_owned()
}

fn fingerprints(sandbox: &Sandbox, private: &[PathBuf]) -> BTreeSet<String> {
    private.iter().map(|key| fingerprint(sandbox, &public(key))).collect()
}

/// The fingerprints in a text.
fn shown(text: &str) -> BTreeSet<String> {
    text.split_whitespace().filter(|word| word.starts_with("SHA256:")).map(str::to_owned).collect()
}

/// The fingerprints that the agent logs, the first or a later time.
#[track_caller]
fn logged(agent: &mut Process, times: usize) -> BTreeSet<String> {
    shown(agent.says("host keys of ssh (", times, LIMIT).split_once("): ").unwrap().1)
}

/// An sshd with these host keys alone.
fn sshd_with(sandbox: &Sandbox, keys: &[PathBuf]) -> (SshFiles, Sshd) {
    let files = SshFiles::make(sandbox);
    let config = fs::read_to_string(&files.config).unwrap();
    let others = config.lines().filter(|line| !line.starts_with("HostKey "));
    let own = keys.iter().map(|key| format!("HostKey {}", key.display()));
    let lines: Vec<_> = others.map(str::to_owned).chain(own).collect();
    fs::write(&files.config, lines.join("\n") + "\n").unwrap();
    let sshd = Sshd::start(sandbox, &files);
    (files, sshd)
}

fn hub(sandbox: &Sandbox) -> Hub {
    Hub::start(sandbox, &["--device", DEVICE])
}

#[test]
fn openssh_s_keys_are_those_of_its_files() {
    let sandbox = Sandbox::new();
    let keys = VERIFIED.map(|args| make_key(&sandbox, "keys", args));
    let unverified = make_key(&sandbox, "keys", NISTP521);
    let (_files, mut sshd) = sshd_with(&sandbox, &[&keys[..], &[unverified]].concat());
    let hub = hub(&sandbox);
    let mut agent = agent(&sandbox, &hub, DEVICE, &[("ssh", sshd.port), ("web", closed_port())]);
    assert_eq!(logged(&mut agent, 1), fingerprints(&sandbox, &keys));
    agent.says("not reported: its key of the type ecdsa-sha2-nistp521 cannot be verified", 1, LIMIT);
    // One line of the server for each type, which says why.
    sshd.process.says("host keys read [preauth]", keys.len(), LIMIT);
    assert!(!sshd.process.stderr().contains("error"), "{}", sshd.process.stderr());
    assert!(!agent.stderr().contains("host keys of web"), "{}", agent.stderr());
}

/// Dropbear on a loopback port, which it gets one connection at a time from.
fn dropbear(sandbox: &Sandbox, keys: &[PathBuf]) -> u16 {
    let program = need("dropbear");
    let arguments: Vec<_> = keys.iter().flat_map(|key| [PathBuf::from("-r"), key.clone()]).collect();
    let mark = sandbox.mark();
    serve(move |stream| {
        let (name, value) = mark.split_once('=').unwrap();
        let mut command = Command::new(&program);
        command.env(name, value).arg("-i").args(&arguments).stderr(Stdio::null());
        command.stdin(OwnedFd::from(stream.try_clone().unwrap())).stdout(OwnedFd::from(stream));
        command.status().unwrap();
    })
}

/// Keys of Dropbear, each with its public key beside it.
fn dropbear_keys(sandbox: &Sandbox, types: &[&str]) -> Vec<PathBuf> {
    let make = |key_type: &&str| {
        let path = sandbox.path(key_type);
        let mut command = sandbox.command(need("dropbearkey"));
        let made = finish(command.args(["-t", key_type, "-f"]).arg(&path)).succeeded();
        let line = made.text().lines().find(|line| line.contains("-") && line.contains(" AAAA")).unwrap();
        sandbox.write(&format!("{key_type}.pub"), format!("{line}\n"));
        path
    };
    types.iter().map(make).collect()
}

#[test]
fn dropbear_s_keys_are_those_of_its_files() {
    let sandbox = Sandbox::new();
    let keys = dropbear_keys(&sandbox, &["ed25519", "ecdsa", "rsa"]);
    let port = dropbear(&sandbox, &keys);
    let hub = hub(&sandbox);
    let mut agent = agent(&sandbox, &hub, DEVICE, &[("ssh", port)]);
    assert_eq!(logged(&mut agent, 1), fingerprints(&sandbox, &keys));
    assert!(!agent.stderr().contains("not reported"), "{}", agent.stderr());
}

/// It offers RSA all the same, and fails when it is asked for such a key.
#[test]
fn dropbear_without_an_rsa_key_has_its_other_keys_reported() {
    let sandbox = Sandbox::new();
    let keys = dropbear_keys(&sandbox, &["ed25519"]);
    let port = dropbear(&sandbox, &keys);
    let hub = hub(&sandbox);
    let mut agent = agent(&sandbox, &hub, DEVICE, &[("ssh", port)]);
    assert_eq!(logged(&mut agent, 1), fingerprints(&sandbox, &keys));
    agent.says("not reported: its key of the type ssh-rsa: it closed the connection", 1, LIMIT);
}

/// The encoding of a public key.
fn blob(private: &Path) -> Vec<u8> {
    let text = fs::read_to_string(public(private)).unwrap();
    BASE64.decode(text.split(' ').nth(1).unwrap().as_bytes()).unwrap()
}

/// Copies to the end, with `old` replaced by `new`. A server sends its key in one piece.
fn copy_changed(mut from: TcpStream, mut to: TcpStream, (old, new): (&[u8], &[u8])) {
    let mut buffer = [0; 1 << 16];
    while let Ok(read @ 1..) = from.read(&mut buffer) {
        let bytes = &mut buffer[..read];
        if let Some(at) = bytes.windows(old.len()).position(|window| window == old) {
            bytes[at..at + new.len()].copy_from_slice(new);
        }
        if to.write_all(bytes).is_err() {
            break;
        }
    }
    // The other end may have closed it already.
    let _ = to.shutdown(Shutdown::Write);
}

/// A server in front of an sshd that shows the key `new` in place of `old`.
fn man_in_the_middle(port: u16, old: Vec<u8>, new: Vec<u8>) -> u16 {
    assert_eq!(old.len(), new.len());
    let change = Arc::new((old, new));
    serve(move |client| {
        let server = TcpStream::connect(("127.0.0.1", port)).unwrap();
        let (up, down) = (client.try_clone().unwrap(), server.try_clone().unwrap());
        let uploading = thread::spawn(move || copy_changed(up, down, (&[0; 999], &[0; 999])));
        copy_changed(server, client, (&change.0, &change.1));
        uploading.join().unwrap();
    })
}

#[test]
fn a_key_that_the_server_only_shows_is_refused() {
    let sandbox = Sandbox::new();
    let key = make_key(&sandbox, "keys", &["ed25519"]);
    let other = make_key(&sandbox, "other", &["ed25519"]);
    let (_files, sshd) = sshd_with(&sandbox, std::slice::from_ref(&key));
    let hub = hub(&sandbox);
    let same = man_in_the_middle(sshd.port, blob(&key), blob(&key));
    let mut honest = agent(&sandbox, &hub, DEVICE, &[("ssh", same)]);
    assert_eq!(logged(&mut honest, 1), fingerprints(&sandbox, std::slice::from_ref(&key)));
    drop(honest);
    let changed = man_in_the_middle(sshd.port, blob(&key), blob(&other));
    let mut agent = agent(&sandbox, &hub, DEVICE, &[("ssh", changed)]);
    agent.says("cannot be read: its signature is wrong", 1, LIMIT);
    assert_eq!(shown(&agent.stderr()), BTreeSet::new());
}

#[test]
fn a_server_that_starts_late_is_asked_again() {
    let sandbox = Sandbox::new();
    let key = make_key(&sandbox, "keys", &["ed25519"]);
    let (_files, sshd) = sshd_with(&sandbox, std::slice::from_ref(&key));
    let is_up = Arc::new(AtomicBool::new(false));
    let port = serve({
        let is_up = is_up.clone();
        move |mut client| {
            if !is_up.load(Ordering::SeqCst) {
                return client.write_all(b"System is booting up.\x1b[2J\r\n").unwrap();
            }
            let server = TcpStream::connect(("127.0.0.1", sshd.port)).unwrap();
            let (up, down) = (client.try_clone().unwrap(), server.try_clone().unwrap());
            thread::spawn(move || copy_changed(up, down, (&[0; 999], &[0; 999])));
            copy_changed(server, client, (&[0; 999], &[0; 999]));
        }
    });
    let hub = hub(&sandbox);
    let mut agent = agent(&sandbox, &hub, DEVICE, &[("ssh", port)]);
    // Whether the connection was closed or reset depends on what the server had read.
    agent.says("; it said 'System is booting up.\\u{1b}[2J'", 1, LIMIT);
    is_up.store(true, Ordering::SeqCst);
    assert_eq!(logged(&mut agent, 2), fingerprints(&sandbox, &[key]));
    // The attempts between are silent.
    assert_eq!(agent.stderr().matches("System is booting up").count(), 1, "{}", agent.stderr());
}

#[test]
fn the_keys_of_a_command_are_those_of_its_configuration() {
    let sandbox = Sandbox::new();
    let keys = [&["ed25519"][..], &["rsa"], NISTP521].map(|args| make_key(&sandbox, "keys", args));
    let files = SshFiles::make(&sandbox);
    let config = sandbox.write(
        "config",
        format!("Include {}\nHostKey {}\n", sandbox.path("more.conf").display(), keys[0].display()),
    );
    let missing = sandbox.path("keys/missing");
    sandbox.write("more.conf", format!("HostKey {}\nHostKey {}\n", keys[1].display(), missing.display()));
    let target = format!(
        "[[target]]\nstream = \"ssh\"\ncommand = [{:?}, \"-i\", \"-f\", {config:?}, \"-oHostKey={}\"]\n",
        files.sshd,
        keys[2].display()
    );
    let hub = hub(&sandbox);
    let mut agent = agent_with_config(&sandbox, &hub, DEVICE, &target);
    assert_eq!(logged(&mut agent, 1), fingerprints(&sandbox, &keys));
    agent.says(&format!("not reported: {}: No such file", public(&missing).display()), 1, LIMIT);

    let added = make_key(&sandbox, "keys", &["ecdsa"]);
    fs::rename(public(&added), public(&missing)).unwrap();
    agent.signal(Signal::HUP);
    let all = fingerprints(&sandbox, &[&keys[..], &[missing]].concat());
    assert_eq!(logged(&mut agent, 3), all);
}

#[test]
fn the_keys_of_another_program_are_not_known() {
    let sandbox = Sandbox::new();
    let hub = hub(&sandbox);
    let target = "[[target]]\nstream = \"ssh\"\ncommand = [\"cat\"]\n";
    let mut agent = agent_with_config(&sandbox, &hub, DEVICE, target);
    agent.says("the host keys of a program other than sshd are not known", 1, LIMIT);
    agent.signal(Signal::HUP);
    agent.says("the configuration has been read again", 1, LIMIT);
    assert_eq!(ask(&sandbox, &hub, "ssh", "x").succeeded().text(), "x");
    assert_eq!(agent.stderr().matches("other than sshd").count(), 1, "{}", agent.stderr());
}

fn check(sandbox: &Sandbox, hub: &Hub, rest: &str) -> Finished {
    let (file, ca_file) = (hub.device_file(DEVICE), hub.dir.join("ca.pem"));
    let config = format!("connection-string-file = {file:?}\nca-file = {ca_file:?}\n{rest}");
    let config = sandbox.write("agent.toml", config);
    let mut command = sandbox.iotstream();
    run(command.args(["agent", "--check", "--config"]).arg(config), Stdin::Ends(b""), LIMIT)
}

#[test]
fn the_configuration_chooses_the_targets_and_check_shows_the_keys() {
    let sandbox = Sandbox::new();
    let keys = [make_key(&sandbox, "keys", &["ed25519"]), make_key(&sandbox, "keys", &["rsa"])];
    let (_files, sshd) = sshd_with(&sandbox, &keys);
    let hub = hub(&sandbox);
    let connections = Arc::new(AtomicUsize::new(0));
    let counted = connections.clone();
    let other = serve(move |mut client| {
        counted.fetch_add(1, Ordering::SeqCst);
        // The agent may have disconnected.
        let _ = client.write_all(b"220 ready\r\n");
    });
    let targets = format!(
        "[[target]]\nstream = \"ssh\"\nconnect = \"127.0.0.1:{}\"\n\
         [[target]]\nstream = \"console\"\nconnect = \"127.0.0.1:{other}\"\n",
        sshd.port
    );
    let text = check(&sandbox, &hub, &targets).succeeded().text().to_owned();
    let row =
        text.lines().find(|line| line.starts_with("pass  host-keys ")).unwrap_or_else(|| panic!("{text}"));
    assert_eq!(shown(row), fingerprints(&sandbox, &keys));
    // The check of the target itself.
    assert_eq!(connections.load(Ordering::SeqCst), 1);

    let text = check(&sandbox, &hub, &format!("host-keys = []\n{targets}")).succeeded().text().to_owned();
    assert!(!text.contains("host-keys"), "{text}");
    let both = format!("host-keys = [\"ssh\", \"console\"]\n{targets}");
    let text = check(&sandbox, &hub, &both).succeeded().text().to_owned();
    assert!(text.contains("pass  host-keys ssh"), "{text}");
    let row = text
        .lines()
        .find(|line| line.starts_with("warn  host-keys console"))
        .unwrap_or_else(|| panic!("{text}"));
    assert!(row.ends_with("it said '220 ready'"), "{row}");

    let done = check(&sandbox, &hub, &format!("host-keys = [\"shell\"]\n{targets}"));
    assert_eq!(done.status.code(), Some(78), "{}", done.text());
    assert!(done.text().contains("host-keys: no [[target]] has stream = \"shell\""), "{}", done.text());
}

/// Mounts a directory over sshd's own, makes all file systems of the root read-only, and becomes another user, as systemd does
/// for a dynamic user under `ProtectSystem=strict`.
const CONFINED: &str = r#"mount --bind "$1" /etc/ssh && mount -o remount,bind,ro / && user=$2 && shift 2 &&
exec setpriv --reuid "$user" --regid "$user" --clear-groups --bounding-set=-all --inh-caps=-all --no-new-privs "$@""#;

/// An agent that is confined as its unit does, with one target and its own /etc/ssh.
fn confined(sandbox: &Sandbox, hub: &Hub, etc: &Path, port: u16) -> Process {
    let credential = sandbox.path("device.conn");
    fs::copy(hub.device_file(DEVICE), &credential).unwrap();
    give(&credential, Some(OTHER_USER), Some(OTHER_USER));
    for (name, mode) in [("", 0o755), ("hub", 0o755), ("hub/ca.pem", 0o644), ("device.conn", 0o600)] {
        set_mode(&sandbox.path(name), mode);
    }
    let mut command = sandbox.command(need("unshare"));
    command.args(["--mount", "sh", "-c", CONFINED, "sh"]).arg(etc).arg(OTHER_USER.to_string());
    command.arg(iotstream()).args(["agent", "-vv", "--connection-string-file"]);
    command.arg(credential).arg("--ca-file").arg(hub.dir.join("ca.pem"));
    in_service(command.args(["--target", &format!("ssh=127.0.0.1:{port}")]))
}

#[test]
fn a_confined_agent_reports_what_it_can_and_says_what_it_cannot() {
    if !rustix::process::getuid().is_root() {
        eprintln!("only root can become another user");
        return;
    }
    let sandbox = Sandbox::new();
    let keys = [make_key(&sandbox, "etc", &["ed25519"]), make_key(&sandbox, "etc", NISTP521)];
    let (_files, sshd) = sshd_with(&sandbox, &keys);
    let hub = hub(&sandbox);
    let etc = sandbox.path("etc");
    set_mode(&etc, 0o755);
    let status = |agent: &Process| fs::read_to_string(format!("/proc/{}/status", agent.pid())).unwrap();

    // The key that no exchange can verify is beside one that the server has shown.
    let mut agent = confined(&sandbox, &hub, &etc, sshd.port);
    assert!(status(&agent).contains(&format!("\nUid:\t{OTHER_USER}\t")), "{}", status(&agent));
    assert_eq!(logged(&mut agent, 1), fingerprints(&sandbox, &keys));
    drop(agent);

    // Files of another server prove nothing.
    let other = sandbox.path("other");
    make_key(&sandbox, "other", &["ed25519"]);
    fs::copy(public(&keys[1]), other.join("ssh_host_ecdsa_key.pub")).unwrap();
    set_mode(&other, 0o755);
    let mut agent = confined(&sandbox, &hub, &other, sshd.port);
    assert_eq!(logged(&mut agent, 1), fingerprints(&sandbox, &keys[..1]));
    agent.says("its key of the type ecdsa-sha2-nistp521 cannot be verified", 1, LIMIT);
    drop(agent);

    // Root alone can read the files.
    set_mode(&etc, 0o700);
    let mut agent = confined(&sandbox, &hub, &etc, sshd.port);
    assert_eq!(logged(&mut agent, 1), fingerprints(&sandbox, &keys[..1]));
    agent.says("its key of the type ecdsa-sha2-nistp521 cannot be verified", 1, LIMIT);
    drop(agent);

    // There is no sshd.
    let mut agent = confined(&sandbox, &hub, &etc, closed_port());
    agent.says("cannot be read: Connection refused", 1, LIMIT);
    assert_eq!(shown(&agent.stderr()), BTreeSet::new());
}

#[test]
fn the_files_of_a_command_may_be_root_s_alone() {
    if !rustix::process::getuid().is_root() {
        eprintln!("only root can become another user");
        return;
    }
    let sandbox = Sandbox::new();
    let key = make_key(&sandbox, "keys", &["ed25519"]);
    set_mode(&public(&key), 0o600);
    let config = sandbox.write("sshd_config", format!("HostKey {}\n", key.display()));
    let agent_toml = sandbox.path("agent.toml");
    let hub = hub(&sandbox);
    let credential = sandbox.path("device.conn");
    fs::copy(hub.device_file(DEVICE), &credential).unwrap();
    give(&credential, Some(OTHER_USER), Some(OTHER_USER));
    let text = format!(
        "connection-string-file = {credential:?}\nca-file = {:?}\n\
         [[target]]\nstream = \"ssh\"\ncommand = [\"/usr/sbin/sshd\", \"-i\", \"-f\", {config:?}]\n",
        hub.dir.join("ca.pem")
    );
    OpenOptions::new()
        .create(true)
        .write(true)
        .truncate(true)
        .open(&agent_toml)
        .unwrap()
        .write_all(text.as_bytes())
        .unwrap();
    for (name, mode) in [
        ("", 0o755),
        ("hub", 0o755),
        ("hub/ca.pem", 0o644),
        ("agent.toml", 0o644),
        ("keys", 0o755),
        ("sshd_config", 0o644),
    ] {
        set_mode(&sandbox.path(name), mode);
    }
    let user = OTHER_USER.to_string();
    let mut command = sandbox.command(need("setpriv"));
    command.args(["--reuid", &user, "--regid", &user, "--clear-groups"]);
    command.arg(iotstream()).args(["agent", "-vv", "--config"]).arg(agent_toml);
    let mut agent = in_service(&mut command);
    agent.says(&format!("cannot be read: {}: Permission denied", public(&key).display()), 1, LIMIT);
    drop(agent);
    set_mode(&public(&key), 0o644);
    assert_eq!(logged(&mut in_service(&mut command), 1), fingerprints(&sandbox, &[key]));
}
