//! Every source of a profile's credential: what works, and the error for what does not.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::Command;
use std::sync::mpsc;

use crate::support::sas::{self, field, unix_seconds};
use crate::support::{DEVICE, Hub, LIMIT, Sandbox, Stdin, http_answer, http_request, run, serve_tls};

const UNAVAILABLE: i32 = 69;
const DENIED: i32 = 77;
const CONFIG: i32 = 78;

/// A part of every secret in these tests.
const KEY: &str = "aHVudGVyMg";

/// A hub, and profiles for it with different sources of the credential.
struct Sourced {
    hub: Hub,
    sandbox: Sandbox,
}

impl Sourced {
    fn new() -> Self {
        let sandbox = Sandbox::new();
        let hub = Hub::start(&sandbox, &["--device", DEVICE]);
        Self { hub, sandbox }
    }

    fn helper(&self, source: &str) -> Command {
        let ca_file = self.hub.dir.join("ca.pem");
        let text = format!("default = \"x\"\n[profile.x]\nca-file = {ca_file:?}\n{source}\n");
        let config = self.sandbox.write("profiles.toml", text);
        let mut command = self.sandbox.iotstream();
        command.arg("-vv").arg("--config").arg(config).arg(DEVICE);
        command
    }

    /// Expects that the hub accepts the credential: the error is that the device is offline.
    #[track_caller]
    fn works(&self, helper: &mut Command) {
        let done = run(helper.args(["--connect-timeout", "1"]), Stdin::Stays(b"hello"), LIMIT);
        assert_eq!(done.status.code(), Some(UNAVAILABLE), "{}", done.stderr);
        assert!(done.stderr.contains("404103"), "{}", done.stderr);
        self.no_key_in(&done.stderr);
    }

    #[track_caller]
    fn no_key_in(&self, text: &str) {
        for key in self.hub.keys() {
            assert!(!text.contains(&key), "a key is in: {text}");
        }
    }
}

#[test]
fn every_source_of_a_connection_string_works() {
    let sourced = Sourced::new();
    let string = sourced.hub.service_connection_string();
    let file = sourced.sandbox.write("hub.conn", format!("{string}\n"));
    let credentials = sourced.sandbox.path("credentials");
    fs::create_dir(&credentials).unwrap();
    fs::write(credentials.join("hub"), &string).unwrap();

    sourced.works(&mut sourced.helper(&format!("connection-string = {string:?}")));
    sourced.works(&mut sourced.helper("connection-string-file = \"hub.conn\""));
    sourced.works(sourced.helper("connection-string-env = \"MY_HUB\"").env("MY_HUB", &string));
    sourced.works(&mut sourced.helper(&format!("connection-string-command = \"cat '{}'\"", file.display())));
    sourced.works(&mut sourced.helper(&format!("connection-string-command = [\"cat\", {file:?}]")));
    sourced.works(
        &mut sourced.helper("connection-string-command = { shell = \"cat hub.conn; echo a remark\" }"),
    );
    let mut helper = sourced.helper("connection-string-credential = \"hub\"");
    sourced.works(helper.env("CREDENTIALS_DIRECTORY", &credentials));
}

#[test]
fn a_shared_access_signature_works_until_it_expires() {
    let sourced = Sourced::new();
    let string = sourced.hub.service_connection_string();
    let (host, key) = (field(&string, "HostName"), field(&string, "SharedAccessKey"));
    let now = unix_seconds();
    for (expiry, works) in [(now + 600, true), (now - 10, false)] {
        let token = sas::token("localhost", key, expiry, Some("service"));
        let mut helper =
            sourced.helper(&format!("connection-string = \"HostName={host};SharedAccessSignature={token}\""));
        if works {
            sourced.works(&mut helper);
            continue;
        }
        let done = run(&mut helper, Stdin::Stays(b"hello"), LIMIT);
        assert_eq!(done.status.code(), Some(CONFIG), "{}", done.stderr);
        let says =
            "credential from connection-string in profile 'x': the shared access signature has expired";
        assert!(done.stderr.contains(says) && !done.stderr.contains(&token), "{}", done.stderr);
    }
}

#[test]
fn a_failed_source_is_named_with_the_reason_but_not_the_secret() {
    let sourced = Sourced::new();
    sourced
        .sandbox
        .write("broken.conn", format!("HostName=h;SharedAccessKeyName=service;SharedAccessKey=*{KEY}"));
    let open = sourced.sandbox.write("open.conn", KEY);
    fs::set_permissions(&open, fs::Permissions::from_mode(0o640)).unwrap();
    let fails = "{ shell = \"echo HostName=aHVudGVyMg; echo the store is locked >&2; exit 2\" }";
    for (source, says) in [
        ("connection-string-file = \"none.conn\"", "none.conn: No such file"),
        ("connection-string-file = \"broken.conn\"", "broken.conn: SharedAccessKey is not base64"),
        (
            "connection-string-file = \"open.conn\"",
            "open.conn holds secrets and is accessible to other users (mode 0640)",
        ),
        ("connection-string-env = \"NO_HUB\"", "environment variable NO_HUB: it is not set"),
        (
            "connection-string-env = \"BAD_HUB\"",
            "environment variable BAD_HUB: the connection string has a part",
        ),
        (
            &format!("connection-string-command = {fails}"),
            "connection-string-command in profile 'x': sh failed (exit status: 2): the store is locked",
        ),
        ("connection-string-command = \"no-such-store\"", "no-such-store does not start: No such file"),
        (
            "connection-string-credential = \"hub\"",
            "systemd credential 'hub': CREDENTIALS_DIRECTORY is not set",
        ),
        ("connection-string-credential = \"../hub\"", "systemd credential '../hub': "),
        (
            &format!("hub = \"h\"\ntoken-command = {fails}"),
            "token-command in profile 'x': sh failed (exit status: 2): the store is locked",
        ),
        (
            "hub = \"h\"\ntoken-command = \"echo aHVudGVyMg and more\"",
            "token-command in profile 'x': its command prints neither a bare token nor",
        ),
    ] {
        let mut helper = sourced.helper(source);
        let done = run(helper.env("BAD_HUB", KEY), Stdin::Stays(b"hello"), LIMIT);
        assert_eq!(done.status.code(), Some(CONFIG), "{source}: {}", done.stderr);
        assert!(done.stderr.contains(says), "{source}: {}", done.stderr);
        assert!(!done.stderr.contains(KEY), "{source}: {}", done.stderr);
    }
}

#[test]
fn credential_commands_see_no_key() {
    let sourced = Sourced::new();
    let string = sourced.hub.service_connection_string();
    sourced.sandbox.write("hub.conn", &string);
    // The command looks at its own environment and command line and at the helper's.
    let spy = "{ shell = \"cat /proc/$$/environ /proc/$$/cmdline /proc/$PPID/cmdline /proc/$PPID/environ >seen; cat hub.conn\" }";
    sourced.works(&mut sourced.helper(&format!("connection-string-command = {spy}")));
    let seen = String::from_utf8_lossy(&fs::read(sourced.sandbox.path("seen")).unwrap()).into_owned();
    assert!(seen.contains("IOTSTREAM_TEST_ID") && seen.contains("profiles.toml"), "{seen}");
    sourced.no_key_in(&seen);
}

/// A hub that refuses each request and passes it to the test, for the emulator does not support Entra ID. Returns its
/// address and its CA file.
fn recording_hub(sandbox: &Sandbox) -> (String, PathBuf, mpsc::Receiver<String>) {
    let (tell, told) = mpsc::channel();
    let (port, ca_file) = serve_tls(sandbox, move |mut stream| {
        if let Some(request) = http_request(&mut stream) {
            tell.send(request).unwrap();
            http_answer(&mut stream, "401 Unauthorized", "", "");
        }
    });
    (format!("localhost:{port}"), ca_file, told)
}

#[test]
fn entra_tokens_are_sent_as_bearer_tokens() {
    let sandbox = Sandbox::new();
    let (hub, ca_file, told) = recording_hub(&sandbox);
    let az = "{\\\"accessToken\\\": \\\"eyJ0.aHVudGVyMg\\\", \\\"expires_on\\\": 4000000000, \\\"tokenType\\\": \\\"Bearer\\\"}";
    for command in ["\"echo eyJ0.aHVudGVyMg\"".to_owned(), format!("[\"echo\", \"{az}\"]")] {
        let config = format!(
            "default = \"x\"\n[profile.x]\nhub = \"{hub}\"\nca-file = {ca_file:?}\ntoken-command = {command}\n"
        );
        let config = sandbox.write("profiles.toml", config);
        let mut helper = sandbox.iotstream();
        let done =
            run(helper.arg("-vv").arg("--config").arg(config).arg(DEVICE), Stdin::Stays(b"hello"), LIMIT);
        assert_eq!(done.status.code(), Some(DENIED), "{}", done.stderr);
        assert!(!done.stderr.contains(KEY), "{}", done.stderr);
        // The device's report may be asked for first.
        let requests: Vec<_> = told.try_iter().collect();
        let asks = |request: &String| request.to_lowercase().starts_with("post /twins/dev-1/streams/ssh?");
        assert!(requests.iter().any(asks), "{requests:?}");
        for request in requests {
            assert!(request.contains("uthorization: Bearer eyJ0.aHVudGVyMg\r\n"), "{request}");
        }
    }
}

#[test]
fn a_credential_command_gets_the_environment_without_our_secrets() {
    let sandbox = Sandbox::new();
    let seen = sandbox.path("seen.env").display().to_string();
    let profiles = sandbox.write(
        "profiles.toml",
        format!(
            "default = \"a\"\n\
             [profile.a]\nconnection-string-command = {{ shell = \"env > {seen}; exit 1\" }}\n\
             [profile.b]\nconnection-string-env = \"OTHER_KEY\"\n"
        ),
    );
    let mut helper = sandbox.iotstream();
    helper.arg("--config").arg(profiles).arg(DEVICE);
    helper
        .env("OTHER_KEY", "HostName=h;SharedAccessKeyName=service;SharedAccessKey=c2VjcmV0")
        .env("IOTSTREAM_PROXY", "http://user:hunter2@192.0.2.1:3128")
        .env("IOTSTREAM_STATS", "1")
        .env("HTTPS_PROXY", "http://user:pass@192.0.2.1:3128")
        .env("VAULT_ADDR", "https://vault");
    let done = run(&mut helper, Stdin::Ends(b""), LIMIT);
    assert_eq!(done.status.code(), Some(78), "{}", done.stderr);
    let seen = fs::read_to_string(seen).unwrap();
    for kept in ["HTTPS_PROXY=", "VAULT_ADDR=", "IOTSTREAM_STATS=", "PATH=", "HOME="] {
        assert!(seen.lines().any(|line| line.starts_with(kept)), "{kept}: {seen}");
    }
    for secret in ["OTHER_KEY", "hunter2", "c2VjcmV0"] {
        assert!(!seen.contains(secret), "{secret}: {seen}");
    }
}
