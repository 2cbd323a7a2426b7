//! ssh's `KnownHostsCommand`: strict, and from an empty known_hosts.

use std::fs;
use std::io;
use std::net::{Shutdown, TcpStream};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU16, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::json;

use crate::support::{
    Finished, HOST_KEY, Hub, LIMIT, Process, Sandbox, SshFiles, Sshd, Stdin, agent_with_config, closed_port,
    eventually, finish, iotstream, need, report, run, serve, set_mode, timed,
};

const DEVICE: &str = "GW-07";

/// ssh's name of the device.
const HOST: &str = "GW-07.factory";

/// A device whose streams `ssh` and `tcp-2222` lead to a server that can be replaced, and a user with a profile for its hub.
struct Bed {
    agent: Option<Process>,
    server: Sshd,
    /// The port that the target leads to.
    port: Arc<AtomicU16>,
    target: u16,
    /// The device or module that the agent is.
    identity: &'static str,
    hub: Hub,
    files: SshFiles,
    sandbox: Sandbox,
}

impl Bed {
    /// With these keys in the profile, and the blocks of `ssh-config`.
    fn start(keys: &str) -> Self {
        Self::of(DEVICE, keys)
    }

    fn of(identity: &'static str, keys: &str) -> Self {
        let sandbox = Sandbox::new();
        let files = SshFiles::make(&sandbox);
        let hub = Hub::start(&sandbox, &["--device", DEVICE, "GW-07/iotstream", "gw-08"]);
        let server = Sshd::start(&sandbox, &files);
        let port = Arc::new(AtomicU16::new(server.port));
        let target = serve({
            let port = Arc::clone(&port);
            move |stream| {
                if let Ok(target) = TcpStream::connect(("127.0.0.1", port.load(Ordering::SeqCst))) {
                    pass_on(&stream, &target);
                }
            }
        });
        let mut bed = Self { agent: None, server, port, target, identity, hub, files, sandbox };
        bed.profile(keys);
        bed.configure("");
        bed.start_agent();
        bed
    }

    /// Writes the user's profile.
    fn profile(&self, keys: &str) {
        let directory = self.sandbox.path(".config/iotstream");
        fs::create_dir_all(&directory).unwrap();
        let text = format!(
            "[profile.factory]\nconnection-string-file = {:?}\nca-file = {:?}\nhosts = [\"*.factory\"]\n{keys}\n",
            self.hub.dir.join("service.conn"),
            self.hub.dir.join("ca.pem"),
        );
        self.sandbox.write(".config/iotstream/profiles.toml", text);
    }

    /// Writes the user's ssh configuration: `first`, and the blocks of `ssh-config`.
    fn configure(&self, first: &str) {
        let blocks = finish(self.sandbox.iotstream().arg("ssh-config")).succeeded();
        let me = finish(self.sandbox.command("id").arg("-un")).succeeded();
        let config = format!(
            "{first}\n{}\nHost *\n  User {}\n  IdentityFile {}\n  IdentitiesOnly yes\n  IdentityAgent none\n  \
             UserKnownHostsFile {}\n  GlobalKnownHostsFile none\n  BatchMode yes\n  StrictHostKeyChecking yes\n",
            blocks.text(),
            me.text().trim(),
            self.sandbox.path("user_key").display(),
            self.sandbox.path("known").display(),
        );
        self.sandbox.write("ssh_config", config);
    }

    /// Starts the agent, and waits until it has reported the server's keys.
    fn start_agent(&mut self) {
        self.agent = None;
        let Self { target, .. } = self;
        let target =
            |stream: &str| format!("[[target]]\nstream = \"{stream}\"\nconnect = \"127.0.0.1:{target}\"\n");
        let rest = format!("host-keys = [\"ssh\", \"tcp-2222\"]\n{}{}", target("ssh"), target("tcp-2222"));
        let identity = self.identity.replace('/', "%2F");
        let mut agent = agent_with_config(&self.sandbox, &self.hub, &identity, &rest);
        let line = agent.says("host keys of ssh, tcp-2222 (", 1, LIMIT);
        let keys: Vec<&str> = line.split(' ').filter(|word| word.starts_with("SHA256:")).collect();
        eventually(LIMIT, || {
            let shown = self.observed();
            let count = shown.lines().filter(|line| line.starts_with("SHA256:")).count();
            let is_reported = keys.iter().all(|key| shown.matches(key).count() == 2);
            if is_reported && count == 2 * keys.len() { Ok(()) } else { Err(shown) }
        });
        self.agent = Some(agent);
    }

    /// What the device reports, to another user.
    fn observed(&self) -> String {
        let config = self.sandbox.path(".config/iotstream/profiles.toml");
        let mut show = self.host_keys(&["--show", HOST]);
        show.arg("--config").arg(config).env("HOME", self.sandbox.path("observer"));
        let done = finish(&mut show);
        if done.status.success() { done.text().to_owned() } else { done.stderr }
    }

    /// A server with other keys, of these types.
    fn other_server(&self, name: &str, types: &[&str]) -> (Sshd, Vec<PathBuf>) {
        let keys: Vec<PathBuf> = types.iter().map(|kind| self.key(&format!("{name}_{kind}"), kind)).collect();
        (self.server_with(name, &keys), keys)
    }

    fn key(&self, name: &str, kind: &str) -> PathBuf {
        let path = self.sandbox.path(name);
        let mut keygen = self.sandbox.command(need("ssh-keygen"));
        finish(keygen.args(["-q", "-N", "", "-t", kind, "-f"]).arg(&path)).succeeded();
        path
    }

    /// A server with these host keys.
    fn server_with(&self, name: &str, keys: &[PathBuf]) -> Sshd {
        let keys: Vec<_> = keys.iter().map(|key| format!("HostKey {}", key.display())).collect();
        self.server_of(name, keys)
    }

    /// A server with these lines in place of its host keys.
    fn server_of(&self, name: &str, keys: Vec<String>) -> Sshd {
        let config = fs::read_to_string(&self.files.config).unwrap();
        let other = config.lines().filter(|line| !line.starts_with("HostKey "));
        let lines: Vec<String> = other.map(str::to_owned).chain(keys).collect();
        let config = self.sandbox.write(&format!("{name}_config"), lines.join("\n") + "\n");
        Sshd::start_with(&self.sandbox, &self.files.sshd, &config)
    }

    /// Replaces the server behind the device's streams, which its agent does not notice.
    fn replace_server(&self, server: &Sshd) {
        self.port.store(server.port, Ordering::SeqCst);
    }

    fn ssh(&self, args: &[&str]) -> Command {
        let mut ssh = self.program("ssh");
        ssh.args(args);
        ssh
    }

    fn program(&self, program: &str) -> Command {
        let mut command = self.sandbox.command(need(program));
        command.arg("-F").arg(self.sandbox.path("ssh_config"));
        command
    }

    #[track_caller]
    fn reaches(&self, args: &[&str]) {
        let done = finish(self.ssh(args).arg("echo reached"));
        assert_eq!((done.text(), &*done.stderr), ("reached\n", ""), "{args:?}");
    }

    /// ssh refuses the server. What it prints.
    #[track_caller]
    fn is_refused(&self, args: &[&str]) -> String {
        let done = finish(self.ssh(args).arg("echo reached"));
        assert_eq!((done.text(), done.status.code()), ("", Some(255)), "{}", done.stderr);
        assert!(done.stderr.contains("Host key verification failed."), "{}", done.stderr);
        done.stderr
    }

    fn host_keys(&self, args: &[&str]) -> Command {
        let mut command = self.sandbox.iotstream();
        command.arg("host-keys").args(args);
        command
    }

    /// The one file of pins.
    #[track_caller]
    fn pins(&self) -> PathBuf {
        let files = fs::read_dir(self.sandbox.path(".local/share/iotstream/host-keys")).unwrap();
        let files: Vec<_> = files.map(|file| file.unwrap().path()).collect();
        let [file] = &files[..] else { panic!("{files:?}") };
        file.clone()
    }

    /// Makes the user a new one.
    fn forget(&self) {
        for directory in [".local/state/iotstream", ".local/share/iotstream"] {
            // There may be none.
            let _ = fs::remove_dir_all(self.sandbox.path(directory));
        }
    }
}

/// Passes bytes on in both directions, until both have ended.
fn pass_on(one: &TcpStream, other: &TcpStream) {
    thread::scope(|scope| {
        for (mut from, mut to) in [(one, other), (other, one)] {
            scope.spawn(move || {
                // An end that disconnects ends the copy.
                let _ = io::copy(&mut from, &mut to);
                let _ = to.shutdown(Shutdown::Write);
            });
        }
    });
}

fn count(text: &str, part: &str) -> usize {
    text.matches(part).count()
}

fn fingerprint(sandbox: &Sandbox, key: &Path) -> String {
    let done =
        finish(sandbox.command(need("ssh-keygen")).arg("-lf").arg(key.with_extension("pub"))).succeeded();
    done.text().split(' ').nth(1).unwrap().to_owned()
}

#[test]
fn ssh_and_its_kin_ask_no_question_from_an_empty_known_hosts() {
    let bed = Bed::start("host-keys = \"pin\"");
    bed.reaches(&[HOST]);
    bed.reaches(&["-p", "2222", HOST]);
    bed.reaches(&["-o", "HostKeyAlias=The-Device", HOST]);
    bed.reaches(&["-o", "HostKeyAlias=the-device", "-p", "2222", HOST]);
    let path = |name: &str| bed.sandbox.path(name).display().to_string();
    let remote = |name: &str| format!("{HOST}:{}", path(name));
    bed.sandbox.write("here", "content");
    finish(bed.program("scp").args(["-q", &path("here"), &remote("there")])).succeeded();
    finish(bed.program("scp").args(["-q", "-P", "2222", &remote("there"), &path("back")])).succeeded();
    let batch = bed.sandbox.write("batch", format!("get {} {}\n", path("there"), path("sftp")));
    finish(bed.program("sftp").arg("-b").arg(batch).arg(HOST)).succeeded();
    let over_ssh = |program: &str, variable: &str| {
        let mut command = bed.sandbox.command(need(program));
        command.env(variable, format!("{} -F {}", need("ssh").display(), path("ssh_config")));
        command
    };
    finish(over_ssh("rsync", "RSYNC_RSH").args(["-a", &remote("there"), &path("rsync")])).succeeded();
    for copy in ["back", "sftp", "rsync"] {
        assert_eq!(fs::read_to_string(bed.sandbox.path(copy)).unwrap(), "content", "{copy}");
    }
    let mut git = over_ssh("git", "GIT_SSH_COMMAND");
    git.env("GIT_CONFIG_NOSYSTEM", "1");
    finish(git.args(["init", "-q", "--bare", "origin"])).succeeded();
    let mut git = over_ssh("git", "GIT_SSH_COMMAND");
    finish(git.args(["ls-remote", &remote("origin")])).succeeded();
    // As VS Code connects.
    let forward = format!("127.0.0.1:{}", closed_port());
    let done = run(bed.ssh(&["-T", "-D", &forward, HOST]).arg("sh"), Stdin::Ends(b"echo reached\n"), LIMIT);
    assert_eq!((done.text(), &*done.stderr), ("reached\n", ""));
    assert!(!bed.sandbox.path("known").exists());
}

#[test]
fn sessions_of_a_control_master_ask_once() {
    let bed = Bed::start("host-keys = \"pin\"");
    let socket = bed.sandbox.path("control").display().to_string();
    let mut master = Process::start("master", &mut bed.ssh(&["-S", &socket, "-M", "-N", HOST]));
    eventually(LIMIT, || {
        let check = finish(&mut bed.ssh(&["-S", &socket, "-O", "check", HOST]));
        if check.status.success() { Ok(()) } else { Err(check.stderr) }
    });
    bed.forget();
    bed.reaches(&["-S", &socket, HOST]);
    assert!(!bed.sandbox.path(".local/share/iotstream").exists());
    finish(&mut bed.ssh(&["-S", &socket, "-O", "exit", HOST])).succeeded();
    master.ends(LIMIT);
}

#[test]
fn aliases_and_host_names_lead_to_the_same_device() {
    let bed = Bed::start("host-keys = \"pin\"\n[profile.factory.devices]\npress = \"GW-07\"");
    bed.reaches(&["press.factory"]);
    bed.reaches(&[HOST]);
    bed.pins();
    // ssh lower-cases the name of HostName, whose case the list of devices restores.
    finish(bed.sandbox.iotstream().arg("devices")).succeeded();
    let program = iotstream();
    bed.configure(&format!(
        "Host gw\n  HostName GW-07.factory\n  ProxyCommand {program} \"--name=%n\" -- \"%h\" \"%p\"\n  KnownHostsCommand {program} \
         host-keys \"--host=%h\" --presented \"%t\" \"%K\" -- \"%n\" \"%H\" \"%p\"\n"
    ));
    bed.reaches(&["gw"]);
    bed.reaches(&["-p", "2222", "gw"]);
    bed.pins();
}

#[test]
fn a_module_has_its_own_keys() {
    let bed = Bed::of("GW-07/iotstream", "host-keys = \"pin\"\nmodule = \"iotstream\"");
    bed.reaches(&[HOST]);
    // The file is the device's: a module that vanishes is no first use.
    let pins: serde_json::Value = serde_json::from_str(&fs::read_to_string(bed.pins()).unwrap()).unwrap();
    assert_eq!((pins["device"].as_str(), pins.get("module")), (Some(DEVICE), None));
    bed.forget();
    bed.profile("host-keys = \"pin\"");
    let program = iotstream();
    bed.configure(&format!(
        "Host {HOST}\n  ProxyCommand {program} --module=iotstream \"--name=%n\" -- \"%h\" \"%p\"\n  KnownHostsCommand {program} \
         host-keys --module=iotstream \"--host=%h\" --presented \"%t\" \"%K\" -- \"%n\" \"%H\" \"%p\"\n"
    ));
    bed.reaches(&[HOST]);
    let pins: serde_json::Value = serde_json::from_str(&fs::read_to_string(bed.pins()).unwrap()).unwrap();
    assert_eq!((pins["device"].as_str(), pins["module"].as_str()), (Some(DEVICE), Some("iotstream")));
    let shown = finish(&mut bed.host_keys(&["--module=iotstream", "--show", HOST])).succeeded();
    assert!(shown.text().starts_with("GW-07/iotstream at localhost:"), "{}", shown.text());
    let nothing = finish(&mut bed.host_keys(&["--show", HOST]));
    assert_eq!(nothing.status.code(), Some(69), "{}", nothing.stderr);
    assert!(nothing.stderr.contains("GW-07 reports no host keys"), "{}", nothing.stderr);
}

#[test]
fn a_rotated_key_is_refused_until_it_is_accepted() {
    let mut bed = Bed::start("host-keys = \"pin\"");
    bed.reaches(&[HOST]);
    bed.reaches(&["-p", "2222", HOST]);
    let (other, keys) = bed.other_server("other", &["ed25519"]);
    bed.replace_server(&other);
    bed.start_agent();
    let said = bed.is_refused(&[HOST]);
    let sentence = "iotstream: GW-07.factory reports other host keys since ";
    let hint = "; `iotstream host-keys --profile factory --accept GW-07.factory` if it was set up anew\n";
    assert_eq!(
        (count(&said, sentence), count(&said, hint), count(&said, "iotstream: ")),
        (1, 1, 1),
        "{said}"
    );
    let shown = finish(&mut bed.host_keys(&["--show", HOST])).succeeded();
    let (old, new) =
        (fingerprint(&bed.sandbox, &bed.sandbox.path("host_key")), fingerprint(&bed.sandbox, &keys[0]));
    for line in [
        format!("{new} ssh-ed25519, not pinned, since "),
        format!("{old} ssh-ed25519, pinned, no longer reported\n"),
        "ssh is told no keys: those that are pinned are no longer reported; `iotstream host-keys --accept GW-07.factory`".into(),
    ] {
        assert!(shown.text().contains(&line), "{line}: {}", shown.text());
    }
    bed.is_refused(&[HOST]);
    let accepted = finish(&mut bed.host_keys(&["--accept", HOST])).succeeded();
    let of = |stream: &str| {
        format!("GW-07, stream {stream}:\n  accepted  {new} ssh-ed25519\n  removed   {old} ssh-ed25519\n")
    };
    assert_eq!(accepted.text(), of("ssh") + &of("tcp-2222"));
    bed.reaches(&[HOST]);
    bed.reaches(&["-p", "2222", HOST]);
    let again = finish(&mut bed.host_keys(&[HOST, "--accept"])).succeeded();
    let of = |stream: &str| format!("GW-07, stream {stream}:\n  already   {new} ssh-ed25519\n");
    assert_eq!(again.text(), of("ssh") + &of("tcp-2222"));
}

#[test]
fn a_rotated_key_is_accepted_at_once_under_follow() {
    let mut bed = Bed::start("host-keys = \"follow\"");
    bed.reaches(&[HOST]);
    let (other, _) = bed.other_server("other", &["ed25519"]);
    bed.replace_server(&other);
    bed.start_agent();
    bed.reaches(&[HOST]);
    assert!(!bed.sandbox.path(".local/share/iotstream").exists());
}

#[test]
fn a_key_beside_the_pinned_ones_changes_nothing() {
    let mut bed = Bed::start("host-keys = \"pin\"");
    // ssh prefers the added key to the pinned one.
    let (rsa, keys) = bed.other_server("rsa", &["rsa"]);
    bed.replace_server(&rsa);
    bed.start_agent();
    bed.reaches(&[HOST]);
    let pins = fs::read(bed.pins()).unwrap();
    let both = bed.server_with("both", &[keys[0].clone(), bed.key("added", "ed25519")]);
    bed.replace_server(&both);
    bed.start_agent();
    bed.reaches(&[HOST]);
    assert_eq!(fs::read(bed.pins()).unwrap(), pins);
    let said = bed.is_refused(&["-o", "HostKeyAlgorithms=ssh-ed25519", HOST]);
    assert_eq!(
        count(&said, "iotstream: GW-07.factory reports the host key ssh-ed25519 SHA256:"),
        1,
        "{said}"
    );
    assert_eq!(count(&said, ", which is not pinned; `iotstream host-keys "), 1, "{said}");
    finish(&mut bed.host_keys(&["--accept", HOST])).succeeded();
    bed.reaches(&["-o", "HostKeyAlgorithms=ssh-ed25519", HOST]);
}

#[test]
fn a_man_in_the_middle_is_refused() {
    for policy in ["pin", "follow"] {
        let bed = Bed::start(&format!("host-keys = \"{policy}\""));
        let (other, keys) = bed.other_server("other", &["ed25519"]);
        bed.replace_server(&other);
        let said = bed.is_refused(&[HOST]);
        let shown = fingerprint(&bed.sandbox, &keys[0]);
        let sentence = format!(
            "iotstream: the server that answers as GW-07.factory has the host key ssh-ed25519 {shown}, which GW-07.factory does \
             not report\n"
        );
        assert_eq!(count(&said, &sentence), 1, "{said}");
        assert!(!bed.sandbox.path(".local/share/iotstream").exists());
        bed.replace_server(&bed.server);
        bed.reaches(&[HOST]);
        bed.replace_server(&other);
        bed.is_refused(&[HOST]);
    }
}

#[test]
fn dropbear_is_known_as_well() {
    let mut bed = Bed::start("host-keys = \"pin\"");
    // It offers RSA in any case.
    let keys = ["ecdsa", "rsa"].map(|kind| {
        let key = bed.sandbox.path(format!("dropbear_{kind}"));
        finish(bed.sandbox.command(need("dropbearkey")).args(["-t", kind, "-f"]).arg(&key)).succeeded();
        key
    });
    let (program, mark) = (need("dropbear"), bed.sandbox.mark());
    let dropbear = serve(move |stream| {
        let (name, value) = mark.split_once('=').unwrap();
        let mut command = Command::new(&program);
        command
            .env(name, value)
            .args(["-i", "-r"])
            .arg(&keys[0])
            .arg("-r")
            .arg(&keys[1])
            .stderr(Stdio::null());
        command.stdin(OwnedFd::from(stream.try_clone().unwrap())).stdout(OwnedFd::from(stream));
        command.status().unwrap();
    });
    bed.port.store(dropbear, Ordering::SeqCst);
    bed.start_agent();
    // It does not know the user, but ssh knows its key.
    let done = finish(bed.ssh(&["-v", HOST]).arg("true"));
    assert!(done.stderr.contains("is known and matches the ECDSA host key."), "{}", done.stderr);
    assert!(done.stderr.contains("Permission denied (publickey"), "{}", done.stderr);
}

#[test]
fn a_signed_host_key_needs_no_report() {
    let bed = Bed::start("");
    let ca = bed.key("ca", "ed25519");
    let key = bed.key("signed", "ecdsa");
    let mut sign = bed.sandbox.command(need("ssh-keygen"));
    sign.args(["-q", "-s"]).arg(&ca).args(["-h", "-I", "gw", "-n", "gw-07.factory"]);
    finish(sign.arg(key.with_extension("pub"))).succeeded();
    let certificate = bed.sandbox.path("signed-cert.pub");
    let server = bed.server_of(
        "signed_server",
        vec![format!("HostKey {}", key.display()), format!("HostCertificate {}", certificate.display())],
    );
    bed.replace_server(&server);
    let public = fs::read_to_string(ca.with_extension("pub")).unwrap();
    bed.profile(&format!("host-ca = [{HOST_KEY:?}, {:?}]", public.trim()));
    bed.configure("");
    bed.reaches(&[HOST]);
    let printed = finish(&mut bed.host_keys(&[HOST, "gw"])).succeeded();
    let key: Vec<&str> = public.split(' ').collect();
    assert_eq!(
        printed.text(),
        format!("@cert-authority gw {HOST_KEY}\n@cert-authority gw {} {}\n", key[0], key[1])
    );
    bed.profile(&format!("host-ca = {HOST_KEY:?}"));
    bed.is_refused(&[HOST]);
}

#[test]
fn first_connections_at_the_same_time_all_succeed() {
    let bed = Bed::start("host-keys = \"pin\"");
    thread::scope(|scope| {
        for port in ["22", "2222", "22", "2222", "22", "2222"] {
            let bed = &bed;
            // A login shell may have trouble with others that start at the same time.
            scope.spawn(move || {
                let done = finish(bed.ssh(&["-p", port, HOST]).arg("echo reached"));
                assert_eq!(
                    (done.text(), done.stderr.contains("iotstream")),
                    ("reached\n", false),
                    "{}",
                    done.stderr
                );
            });
        }
    });
    let pins: serde_json::Value = serde_json::from_str(&fs::read_to_string(bed.pins()).unwrap()).unwrap();
    assert_eq!(pins["streams"].as_object().unwrap().len(), 2, "{pins}");
}

#[test]
fn a_pin_file_that_others_can_write_is_refused_with_its_name() {
    let bed = Bed::start("host-keys = \"pin\"");
    bed.reaches(&[HOST]);
    let pins = bed.pins();
    set_mode(&pins, 0o666);
    let said = bed.is_refused(&[HOST]);
    let problem = format!("{} is writable by other users (mode 0666)", pins.display());
    assert_eq!((count(&said, &problem), count(&said, "hint: chmod go-w ")), (1, 1), "{said}");
    set_mode(&pins, 0o600);
    bed.reaches(&[HOST]);
    fs::write(&pins, "garbage").unwrap();
    let said = bed.is_refused(&[HOST]);
    assert_eq!(count(&said, &format!("{}: it is damaged", pins.display())), 1, "{said}");
    let accepted = finish(&mut bed.host_keys(&["--accept", HOST])).succeeded();
    assert!(accepted.text().contains("  accepted  SHA256:"), "{}", accepted.text());
    bed.reaches(&[HOST]);
}

/// What ssh asks before the key exchange, and with this key.
fn ask(bed: &Bed, host: &str, key: &str) -> [Finished; 2] {
    let (key_type, key) = key.split_once(' ').unwrap();
    [["NONE", "NONE"], [key_type, key]]
        .map(|presented| finish(bed.host_keys(&["--presented"]).args(presented).args(["--", host, "h"])))
}

#[test]
fn without_the_hub_the_stored_report_answers_and_nothing_takes_long() {
    let _turn = timed();
    let mut bed = Bed::start("host-keys = \"pin\"");
    bed.reaches(&[HOST]);
    bed.hub.process.kill();
    let line = fs::read_to_string(bed.sandbox.path("host_key.pub")).unwrap();
    let known = line.rsplit_once(' ').unwrap().0;
    for (key, is_told) in [(known, true), (HOST_KEY, true)] {
        let since = Instant::now();
        let answers = ask(&bed, HOST, key);
        assert!(since.elapsed() < Duration::from_millis(2200), "{:?}", since.elapsed());
        for answer in answers {
            assert!(answer.status.success(), "{}", answer.stderr);
            assert_eq!(answer.text() == format!("h {known}\n"), is_told, "{}", answer.text());
        }
    }
    let done = finish(bed.ssh(&[HOST]).arg("true"));
    assert_eq!(done.status.code(), Some(255));
    assert!(!done.stderr.contains("Host key"), "{}", done.stderr);
    // Without any copy, the reason is given once.
    bed.forget();
    let since = Instant::now();
    let [first, second] = ask(&bed, HOST, known);
    assert!(since.elapsed() < Duration::from_millis(2200), "{:?}", since.elapsed());
    for answer in [&first, &second] {
        assert_eq!((answer.text(), answer.status.code()), ("", Some(0)));
    }
    assert_eq!((&*first.stderr, count(&second.stderr, "iotstream: error: ")), ("", 1), "{}", second.stderr);
}

#[test]
fn a_hostile_twin_yields_no_line_but_of_a_key() {
    let bed = Bed::start("host-keys = \"follow\"");
    let key = |name: &str, key: serde_json::Value| json!({ "name": name, "keys": { "k0": key } });
    let blob = HOST_KEY.split_once(' ').unwrap().1;
    let hostile = [
        format!("{HOST_KEY}\n@revoked * {HOST_KEY}"),
        format!("{HOST_KEY}\nother {HOST_KEY}"),
        format!("@cert-authority {HOST_KEY}"),
        format!("other {HOST_KEY}"),
        format!("ssh-rsa {blob}"),
        format!("ssh-ed25519\t{blob}"),
        format!("ssh-ed25519  {blob}"),
        "# x".into(),
        String::new(),
        "x".repeat(4096),
    ];
    for text in &hostile {
        let streams =
            json!({ "s0": key("ssh", json!(text)), "s1": { "name": "ssh\n*", "keys": { "k0": HOST_KEY } } });
        report(&bed.hub, "gw-08", &json!({ "iotstream": null }));
        report(&bed.hub, "gw-08", &json!({ "iotstream": { "agent": "9\n9", "streams": streams } }));
        bed.forget();
        for answer in ask(&bed, "gw-08.factory", HOST_KEY) {
            assert_eq!((answer.text(), answer.status.code()), ("", Some(0)), "{text}");
        }
    }
    for layout in [
        json!([]),
        json!("x"),
        json!({ "streams": 1 }),
        json!({ "agent": {}, "streams": { "s0": { "name": ["ssh"], "keys": [HOST_KEY] } } }),
    ] {
        report(&bed.hub, "gw-08", &json!({ "iotstream": null }));
        report(&bed.hub, "gw-08", &json!({ "iotstream": layout }));
        bed.forget();
        for answer in ask(&bed, "gw-08.factory", HOST_KEY) {
            assert_eq!((answer.text(), answer.status.code()), ("", Some(0)), "{layout}");
        }
    }
    // A key beside all of that is told.
    let streams = json!({ "s0": { "name": "ssh", "keys": { "k0": hostile[0], "k1": HOST_KEY, "k2": 7 } } });
    report(&bed.hub, "gw-08", &json!({ "iotstream": null }));
    report(&bed.hub, "gw-08", &json!({ "iotstream": { "agent": "0.2.0", "streams": streams } }));
    bed.forget();
    for answer in ask(&bed, "gw-08.factory", HOST_KEY) {
        assert_eq!((answer.text(), &*answer.stderr), (&*format!("h {HOST_KEY}\n"), ""));
    }
}

#[test]
fn ssh_runs_a_program_with_an_odd_path() {
    let bed = Bed::start("host-keys = \"pin\"");
    for (directory, config) in
        [("my tools/100% o'clock \"$HOME\" ${x} #1 (x)", "a 100% 'b' \"c\" $HOME.toml"), ("plain", "p.toml")]
    {
        let directory = bed.sandbox.path(directory);
        fs::create_dir_all(&directory).unwrap();
        let program = directory.join("iotstream");
        bed.sandbox.copy_program(&program);
        let profile = fs::read_to_string(bed.sandbox.path(".config/iotstream/profiles.toml")).unwrap();
        let config = bed.sandbox.write(config, profile);
        let mut write = bed.sandbox.command(&program);
        let blocks = finish(write.arg("ssh-config").arg("--config").arg(config)).succeeded();
        assert!(blocks.text().contains("KnownHostsCommand \"/"), "{}", blocks.text());
        let own = fs::read_to_string(bed.sandbox.path("ssh_config")).unwrap();
        bed.sandbox.write("ssh_config", format!("{}{own}", blocks.text()));
        bed.forget();
        bed.reaches(&[HOST]);
        bed.sandbox.write("ssh_config", own);
    }
}

#[test]
fn a_user_who_writes_the_configuration_is_asked_nothing() {
    let bed = Bed::start("host-keys = \"pin\"");
    finish(bed.sandbox.iotstream().args(["ssh-config", "--write"])).succeeded();
    let mut ssh = bed.sandbox.command(need("ssh"));
    ssh.arg("-F").arg(bed.sandbox.path(".ssh/config")).arg("-i").arg(bed.sandbox.path("user_key"));
    ssh.args(["-o", "BatchMode=yes", "-o", "IdentityAgent=none", "-o", "GlobalKnownHostsFile=none"]);
    ssh.arg("-o").arg(format!("UserKnownHostsFile={}", bed.sandbox.path("known").display()));
    let done = finish(ssh.args([HOST, "echo reached"])).succeeded();
    assert_eq!((done.text(), &*done.stderr), ("reached\n", ""));
}
