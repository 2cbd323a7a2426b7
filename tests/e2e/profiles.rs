//! Profiles as a user keeps them: adding, showing and choosing them, every source of a credential, and the devices of a hub.

use std::fs;
use std::io::{Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;
use std::sync::mpsc;
use std::time::Instant;

use crate::support::{
    Bench, DEVICE, Finished, Hub, LIMIT, Process, Stdin, agent, eventually, need, run, serve,
};

const UNAVAILABLE: i32 = 69;
const CONFIG: i32 = 78;

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}

/// Runs the command with `input` on stdin.
fn fed(command: &mut Command, input: &str) -> Finished {
    run(command, Stdin::Ends(input.as_bytes()), LIMIT)
}

fn finish(command: &mut Command) -> Finished {
    fed(command, "")
}

/// `iotstream profile …`.
fn profile(bench: &Bench, args: &[&str]) -> Command {
    let mut command = bench.iotstream();
    command.arg("profile").args(args);
    command
}

const STRING: &str =
    "HostName=contoso.azure-devices.net;SharedAccessKeyName=service;SharedAccessKey=aHVudGVyMg==\n";
const KEY: &str = "aHVudGVyMg";

#[test]
fn a_profile_is_added_listed_shown_chosen_and_removed() {
    let bench = Bench::new();
    let added =
        fed(&mut profile(&bench, &["add", "factory", "--hosts", "*.factory", "gw-?"]), STRING).succeeded();
    let file = bench.path(".config/iotstream/profiles.toml");
    assert_eq!(
        added.text(),
        format!("profile factory: policy service of contoso.azure-devices.net, in {}\n", file.display())
    );
    assert_eq!((added.stderr.as_str(), mode(&file), mode(file.parent().unwrap())), ("", 0o600, 0o700));
    let path = finish(&mut profile(&bench, &["path"])).succeeded();
    assert_eq!(path.text(), format!("{}\n", file.display()));

    let owner = STRING.replace("=service", "=iothubowner");
    let warned = fed(&mut profile(&bench, &["add", "office"]), &owner).succeeded();
    assert!(warned.stderr.contains("iothubowner may do anything"), "{}", warned.stderr);
    let listed = finish(&mut profile(&bench, &["list"])).succeeded();
    assert_eq!(
        listed.text(),
        "* factory  contoso.azure-devices.net  *.factory gw-?\n  office   contoso.azure-devices.net\n"
    );
    finish(&mut profile(&bench, &["default", "office"])).succeeded();
    let shown = finish(&mut profile(&bench, &["show"])).succeeded();
    assert!(shown.text().starts_with("profile = office\n"), "{}", shown.text());
    assert!(
        shown.text().contains("SharedAccessKeyName=iothubowner;SharedAccessKey=[hidden]\n"),
        "{}",
        shown.text()
    );
    finish(&mut profile(&bench, &["remove", "office"])).succeeded();
    let listed = finish(&mut profile(&bench, &["list"])).succeeded();
    assert_eq!(listed.text(), "  factory  contoso.azure-devices.net  *.factory gw-?\n");

    for said in [added, warned, shown, listed] {
        assert!(!said.text().contains(KEY) && !said.stderr.contains(KEY), "{said:?}");
    }
}

/// `iotstream profile add new` in a terminal, once it asks for the connection string.
fn asked(bench: &Bench) -> Process {
    let line = format!("{} profile add new", env!("CARGO_BIN_EXE_iotstream"));
    let mut command = bench.command(need("script"));
    let process = Process::start(bench, "script", command.args(["-qefc", &line, "/dev/null"]));
    eventually(LIMIT, || {
        let said = process.stdout();
        if said.contains("(it is not shown): ") { Ok(()) } else { Err(format!("it asks: {said}")) }
    });
    process
}

#[test]
fn a_terminal_is_asked_and_shows_nothing_of_the_answer() {
    let bench = Bench::new();
    let mut terminal = asked(&bench);
    terminal.say(STRING);
    assert_eq!(terminal.ends(LIMIT).code(), Some(0), "{}", terminal.stdout());
    assert!(!terminal.stdout().contains("SharedAccessKey"), "{}", terminal.stdout());
    let file = bench.path(".config/iotstream/profiles.toml");
    assert!(fs::read_to_string(file).unwrap().contains(STRING.trim()));

    // Ctrl-C.
    let other = Bench::new();
    let mut terminal = asked(&other);
    terminal.say("HostName=h\x03");
    assert_eq!(terminal.ends(LIMIT).code(), Some(2), "{}", terminal.stdout());
    assert!(!other.path(".config/iotstream/profiles.toml").exists());
}

#[test]
fn what_cannot_be_added_leaves_the_file_as_it_is() {
    let bench = Bench::new();
    fed(&mut profile(&bench, &["add", "factory"]), STRING).succeeded();
    let file = bench.path(".config/iotstream/profiles.toml");
    let before = fs::read(&file).unwrap();
    let device = STRING.replace("SharedAccessKeyName=service", "DeviceId=gw-07");
    for (args, input, exit, says) in [
        (&["add", "factory"][..], STRING, CONFIG, "a profile named 'factory' already"),
        (&["add", "new"], "", 2, "there is no connection string on stdin"),
        (&["add", "new"], KEY, CONFIG, "credential from stdin: "),
        (&["add", "new"], &device, CONFIG, "it is a device's connection string"),
        (&["add", "a b"], STRING, 2, "'a b' cannot be a profile's name"),
        (&["add", "new", "--hosts", "a b"], STRING, 2, "'a b' is not a pattern"),
        (&["add", "new", "--ca-file", "/nonexistent"], STRING, CONFIG, "/nonexistent"),
        (&["remove", "new"], "", CONFIG, "no profile named 'new'"),
        (&["default", "new"], "", CONFIG, "no profile named 'new'"),
    ] {
        let done = fed(&mut profile(&bench, args), input);
        assert_eq!(done.status.code(), Some(exit), "{args:?}: {}", done.stderr);
        assert!(done.stderr.contains(says) && !done.stderr.contains(KEY), "{args:?}: {}", done.stderr);
        assert_eq!(fs::read(&file).unwrap(), before, "{args:?}");
    }
}

#[test]
fn origins_follow_flags_over_environment_over_profile_over_default() {
    let bench = Bench::new();
    let config = bench.write(
        "profiles.toml",
        format!(
            "[profile.x]\nconnection-string = {:?}\nconnect-timeout = \"11s\"\nproxy = \"http://me:{KEY}@p:1\"\n",
            STRING.trim()
        ),
    );
    let show = |flags: &[&str], variables: &[(&str, &str)]| {
        let mut command = profile(&bench, &["show", "--origins", "--config"]);
        let done = finish(command.arg(&config).args(flags).envs(variables.iter().copied())).succeeded();
        assert!(!done.text().contains(KEY), "{}", done.text());
        let rows = done.text().lines().map(|line| {
            let (row, origin) = line.split_once("  # ").unwrap();
            (row.trim_end().to_owned(), origin.to_owned())
        });
        rows.collect::<Vec<_>>()
    };
    let in_file = format!("profile 'x' in {}", config.display());
    let has = |rows: &[(String, String)], row: &str, origin: &str| {
        assert!(rows.contains(&(row.into(), origin.into())), "{row}, {origin}: {rows:?}");
    };
    let rows = show(&[], &[("HTTPS_PROXY", "http://q:2")]);
    has(&rows, "profile = x", &format!("the only one in {}", config.display()));
    has(&rows, "connect-timeout = 11s", &in_file);
    has(&rows, "response-timeout = 30s", "default");
    has(&rows, "proxy = http://[hidden]@p:1", &in_file);
    let environment = [("IOTSTREAM_CONNECT_TIMEOUT", "12s"), ("IOTSTREAM_PROXY", "none")];
    let rows = show(&[], &environment);
    has(&rows, "connect-timeout = 12s", "environment variable IOTSTREAM_CONNECT_TIMEOUT");
    has(&rows, "proxy = none", "environment variable IOTSTREAM_PROXY");
    let rows = show(&["--connect-timeout", "13s", "--proxy", "r:3"], &environment);
    has(&rows, "connect-timeout = 13s", "--connect-timeout");
    has(&rows, "proxy = r:3", "--proxy");
}

/// A hub's profile with a source of its own, and the helper that uses it.
struct Sourced {
    hub: Hub,
    bench: Bench,
}

impl Sourced {
    fn new() -> Self {
        let bench = Bench::new();
        let hub = Hub::start(&bench, &["--device", DEVICE]);
        Self { hub, bench }
    }

    fn helper(&self, source: &str) -> Command {
        let ca_file = self.hub.dir.join("ca.pem");
        let text = format!("default = \"x\"\n[profile.x]\nca-file = {ca_file:?}\n{source}\n");
        let config = self.bench.write("profiles.toml", text);
        let mut command = self.bench.iotstream();
        command.arg("-vv").arg("--config").arg(config).arg(DEVICE);
        command
    }

    /// The source gives a credential that the hub takes: the device is known, and not there.
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
    let site = Sourced::new();
    let string = site.hub.service_connection_string();
    let file = site.bench.write("hub.conn", format!("{string}\n"));
    let credentials = site.bench.path("credentials");
    fs::create_dir(&credentials).unwrap();
    fs::write(credentials.join("hub"), &string).unwrap();

    site.works(&mut site.helper(&format!("connection-string = {string:?}")));
    site.works(&mut site.helper("connection-string-file = \"hub.conn\""));
    site.works(site.helper("connection-string-env = \"MY_HUB\"").env("MY_HUB", &string));
    site.works(&mut site.helper(&format!("connection-string-command = \"cat '{}'\"", file.display())));
    site.works(&mut site.helper(&format!("connection-string-command = [\"cat\", {file:?}]")));
    site.works(&mut site.helper("connection-string-command = { shell = \"cat hub.conn; echo a remark\" }"));
    let mut helper = site.helper("connection-string-credential = \"hub\"");
    site.works(helper.env("CREDENTIALS_DIRECTORY", &credentials));
}

#[test]
fn a_ready_token_works_until_it_expires() {
    let site = Sourced::new();
    let string = site.hub.service_connection_string();
    let parsed = iotstream::iothub::ConnectionString::parse(&string).unwrap();
    let iotstream::iothub::Key::Shared(key) = &parsed.key else { panic!("no key") };
    let now = iotstream::clock::unix_seconds(std::time::SystemTime::now()).0;
    for (expiry, works) in [(now + 600, true), (now - 10, false)] {
        let resource = iotstream::iothub::Resource::hub(&parsed.hub);
        let expiry = iotstream::iothub::UnixSeconds(expiry);
        let token =
            iotstream::iothub::SasToken::sign(&resource, expiry, key, parsed.policy.as_deref()).unwrap();
        let token = token.text().expose();
        let mut helper = site.helper(&format!(
            "connection-string = \"HostName={};SharedAccessSignature={token}\"",
            parsed.hub
        ));
        if works {
            site.works(&mut helper);
            continue;
        }
        let done = run(&mut helper, Stdin::Stays(b"hello"), LIMIT);
        assert_eq!(done.status.code(), Some(CONFIG), "{}", done.stderr);
        let says =
            "credential from connection-string in profile 'x': the shared access signature has expired";
        assert!(done.stderr.contains(says) && !done.stderr.contains(token), "{}", done.stderr);
    }
}

#[test]
fn a_source_that_fails_is_named_with_the_reason_and_without_the_secret() {
    let site = Sourced::new();
    site.bench.write("broken.conn", format!("HostName=h;SharedAccessKeyName=service;SharedAccessKey=*{KEY}"));
    let open = site.bench.write("open.conn", STRING);
    fs::set_permissions(&open, fs::Permissions::from_mode(0o640)).unwrap();
    let fails = "{ shell = \"echo HostName=aHVudGVyMg; echo the store is locked >&2; exit 2\" }";
    for (source, says) in [
        ("connection-string-file = \"none.conn\"", "none.conn: No such file"),
        ("connection-string-file = \"broken.conn\"", "broken.conn: SharedAccessKey is not base64"),
        (
            "connection-string-file = \"open.conn\"",
            "open.conn holds secrets and others can get at it (mode 0640)",
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
        let mut helper = site.helper(source);
        let done = run(helper.env("BAD_HUB", KEY), Stdin::Stays(b"hello"), LIMIT);
        assert_eq!(done.status.code(), Some(CONFIG), "{source}: {}", done.stderr);
        assert!(done.stderr.contains(says), "{source}: {}", done.stderr);
        assert!(!done.stderr.contains(KEY), "{source}: {}", done.stderr);
    }
}

#[test]
fn the_commands_of_a_profile_find_no_key_around_them() {
    let site = Sourced::new();
    let string = site.hub.service_connection_string();
    site.bench.write("hub.conn", &string);
    // What it finds in its own environment, on its command line and on those of the helper.
    let spy = "{ shell = \"cat /proc/$$/environ /proc/$$/cmdline /proc/$PPID/cmdline /proc/$PPID/environ >seen; cat hub.conn\" }";
    site.works(&mut site.helper(&format!("connection-string-command = {spy}")));
    let seen = String::from_utf8_lossy(&fs::read(site.bench.path("seen")).unwrap()).into_owned();
    assert!(seen.contains("IOTSTREAM_TEST_ID") && seen.contains("profiles.toml"), "{seen}");
    site.no_key_in(&seen);
}

/// A hub that only writes down what it is asked, for no emulator knows Entra ID; its address and its CA file.
fn recording_hub(bench: &Bench) -> (String, mpsc::Receiver<String>) {
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    bench.write("entra-ca.pem", made.cert.pem());
    let key = rustls::pki_types::PrivatePkcs8KeyDer::from(made.signing_key.serialize_der());
    let provider = std::sync::Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    let config = config.unwrap().with_no_client_auth();
    let config =
        std::sync::Arc::new(config.with_single_cert(vec![made.cert.der().clone()], key.into()).unwrap());
    let (tell, told) = mpsc::channel();
    let port = serve(move |tcp| {
        let mut io = rustls::StreamOwned::new(rustls::ServerConnection::new(config.clone()).unwrap(), tcp);
        let mut request = Vec::new();
        while !request.ends_with(b"\r\n\r\n") {
            let mut byte = [0];
            io.read_exact(&mut byte).unwrap();
            request.push(byte[0]);
        }
        tell.send(String::from_utf8(request).unwrap()).unwrap();
        io.write_all(b"HTTP/1.1 401 Unauthorized\r\nContent-Length: 0\r\nConnection: close\r\n\r\n").unwrap();
        io.flush().unwrap();
    });
    (format!("localhost:{port}"), told)
}

#[test]
fn entra_tokens_go_out_as_bearer_tokens() {
    let bench = Bench::new();
    let (hub, told) = recording_hub(&bench);
    let az = "{\\\"accessToken\\\": \\\"eyJ0.aHVudGVyMg\\\", \\\"expires_on\\\": 4000000000, \\\"tokenType\\\": \\\"Bearer\\\"}";
    for command in ["\"echo eyJ0.aHVudGVyMg\"".to_owned(), format!("[\"echo\", \"{az}\"]")] {
        let config = format!(
            "default = \"x\"\n[profile.x]\nhub = \"{hub}\"\nca-file = \"entra-ca.pem\"\ntoken-command = {command}\n"
        );
        let config = bench.write("profiles.toml", config);
        let mut helper = bench.iotstream();
        let done =
            run(helper.arg("-vv").arg("--config").arg(config).arg(DEVICE), Stdin::Stays(b"hello"), LIMIT);
        assert_eq!(done.status.code(), Some(77), "{}", done.stderr);
        assert!(!done.stderr.contains(KEY), "{}", done.stderr);
        let request = told.recv_timeout(LIMIT).unwrap();
        assert!(request.to_lowercase().starts_with("post /twins/dev-1/streams/ssh?"), "{request}");
        assert!(request.contains("uthorization: Bearer eyJ0.aHVudGVyMg\r\n"), "{request}");
    }
}

#[test]
fn the_ports_of_a_profile_name_streams() {
    let site = Sourced::new();
    let source = format!(
        "connection-string = {:?}\nports = {{ 2222 = \"hmi\" }}",
        site.hub.service_connection_string()
    );
    for (port, stream) in [("2222", "'hmi'"), ("22", "'ssh'"), ("80", "'tcp-80'")] {
        let mut helper = site.helper(&source);
        let done = run(helper.args([port, "--connect-timeout", "1"]), Stdin::Stays(b"hello"), LIMIT);
        assert!(done.stderr.contains(&format!("stream {stream}")), "{}", done.stderr);
    }
}

/// `iotstream devices` with the hub's own profile.
fn devices(bench: &Bench, hub: &Hub, args: &[&str]) -> Command {
    let mut command = bench.iotstream();
    command.arg("devices").arg("--config").arg(hub.dir.join("profiles.toml")).args(args);
    command
}

#[test]
fn the_devices_of_a_hub_are_listed_and_filtered() {
    let bench = Bench::new();
    let hub = Hub::start(&bench, &["--device", "gw-01", "GW-02", "press"]);
    let _agent = agent(&bench, &hub, "GW-02", &[]);
    let table = finish(&mut devices(&bench, &hub, &[])).succeeded();
    let lines: Vec<&str> = table.text().lines().collect();
    assert_eq!(lines[0], "DEVICE  STATE     LAST ACTIVITY");
    assert!(lines[1].starts_with("GW-02   online    2"), "{}", table.text());
    assert_eq!(&lines[2..], ["gw-01   offline   never", "press   offline   never"]);
    let ids = |args: &[&str]| {
        let done = finish(&mut devices(&bench, &hub, &[&["--json"], args].concat())).succeeded();
        let all: serde_json::Value = serde_json::from_slice(&done.stdout).unwrap();
        let ids = all.as_array().unwrap().iter().map(|device| device["id"].as_str().unwrap().to_owned());
        ids.collect::<Vec<_>>()
    };
    assert_eq!(ids(&["gw-*"]), ["GW-02", "gw-01"]);
    assert_eq!(ids(&["--state", "offline"]), ["gw-01", "press"]);
    assert_eq!(ids(&["gw-*", "--state", "online"]), ["GW-02"]);
    assert!(ids(&["nothing"]).is_empty());
}

#[test]
fn names_that_ssh_has_lower_cased_are_found_once_the_devices_are_known() {
    let bench = Bench::new();
    let hub = Hub::start(&bench, &["--device", "GW-02"]);
    let helper = |code: &str| {
        let mut helper = hub.helper(&bench);
        let done =
            run(helper.args(["gw-02.emulator", "--connect-timeout", "1"]), Stdin::Stays(b"hello"), LIMIT);
        assert_eq!(done.status.code(), Some(UNAVAILABLE), "{}", done.stderr);
        assert!(done.stderr.contains(code), "{}", done.stderr);
    };
    helper("device gw-02 is not registered");
    finish(&mut devices(&bench, &hub, &[])).succeeded();
    helper("device GW-02 is not connected");
    let state = bench.path(".local/state/iotstream");
    let cache = fs::read_dir(&state).unwrap().map(|entry| entry.unwrap().path());
    let cache = cache.into_iter().find(|path| path.to_string_lossy().contains("devices-emulator-")).unwrap();
    assert_eq!((mode(&cache), mode(&state)), (0o600, 0o700));
    assert_eq!(fs::read_to_string(cache).unwrap(), "GW-02\n");
}

#[test]
fn all_of_ten_thousand_devices_are_listed() {
    let bench = Bench::new();
    let ids: Vec<String> = (0..10_000).map(|number| format!("d{number:05}")).collect();
    let args: Vec<&str> = ["--device"].into_iter().chain(ids.iter().map(String::as_str)).collect();
    let hub = Hub::start(&bench, &args);
    let since = Instant::now();
    let done = finish(&mut devices(&bench, &hub, &["--json"])).succeeded();
    let all: serde_json::Value = serde_json::from_slice(&done.stdout).unwrap();
    let seen: Vec<&str> =
        all.as_array().unwrap().iter().map(|device| device["id"].as_str().unwrap()).collect();
    assert_eq!(seen, ids, "in {:?}", since.elapsed());
}

#[test]
fn a_hub_that_does_not_list_its_devices_is_named() {
    let site = Sourced::new();
    let string = site.hub.service_connection_string();
    let string = string.replace("SharedAccessKeyName=service", "SharedAccessKeyName=device");
    site.helper(&format!("connection-string = {string:?}"));
    let mut command = site.bench.iotstream();
    let done = finish(command.arg("devices").arg("--config").arg(site.bench.path("profiles.toml")));
    assert_eq!(done.status.code(), Some(77), "{}", done.stderr);
    assert!(done.stderr.contains("does not list its devices: 401"), "{}", done.stderr);
    site.no_key_in(&done.stderr);
}
