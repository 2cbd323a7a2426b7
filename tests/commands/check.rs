//! `iotstream check`: it names the one step that fails, says what to do, and does not blame the others.

use std::fs;
use std::io::Write;
use std::process::Command;

use crate::support::{
    DEVICE, HOST_KEY, Hub, LIMIT, Process, Sandbox, Stdin, Terminal, agent, closed_port, eventually,
    iotstream, need, report, run, serve,
};

/// Runs the check, and returns the exit status and `CHECK STATUS` of each finding.
fn findings(sandbox: &Sandbox, hub: &Hub, args: &[&str]) -> (i32, Vec<String>) {
    let (exit, found) = details(sandbox, hub, args);
    (exit, found.into_iter().map(|(finding, _)| finding).collect())
}

/// The same, with the detail of each finding.
fn details(sandbox: &Sandbox, hub: &Hub, args: &[&str]) -> (i32, Vec<(String, String)>) {
    let mut check: Command = sandbox.iotstream();
    check.args(["check", "--json", "--connect-timeout", "1s", "--response-timeout", "2s", "--config"]);
    check.arg(hub.dir.join("profiles.toml")).args(args);
    let done = run(&mut check, Stdin::Ends(b""), LIMIT);
    let found: serde_json::Value = serde_json::from_str(done.text()).expect("JSON on stdout");
    let found = found.as_array().expect("an array").iter().map(|finding| {
        let text = |key: &str| finding[key].as_str().unwrap_or_default().to_owned();
        if matches!(&*text("status"), "fail" | "warn") {
            assert!(
                !text("hint").is_empty() && !text("detail").is_empty(),
                "a failure says what to do: {finding}"
            );
        }
        (format!("{} {}", text("check"), text("status")), text("detail"))
    });
    (done.status.code().expect("it was not killed"), found.collect())
}

pub fn ssh_server(mut stream: std::net::TcpStream) {
    // The check disconnects when it has read this.
    let _ = stream.write_all(b"SSH-2.0-test\r\n");
    let _ = std::io::copy(&mut stream, &mut std::io::sink());
}

/// The one step that fails.
fn failing(found: &[String]) -> &str {
    let mut failing = found.iter().filter_map(|finding| finding.strip_suffix(" fail"));
    let first = failing.next().expect("something fails");
    assert_eq!(failing.next(), None, "one thing fails: {found:?}");
    first
}

#[test]
fn a_working_connection_passes_every_step() {
    let sandbox = Sandbox::new();
    let hub = Hub::start(&sandbox, &["--device", DEVICE]);
    let _agent = agent(&sandbox, &hub, DEVICE, &[("ssh", serve(ssh_server))]);
    let told = eventually(LIMIT, || {
        let (exit, found) = details(&sandbox, &hub, &[DEVICE]);
        assert_eq!(exit, 0, "{found:?}");
        // The agent reports in the background.
        if found.contains(&agent_reports("offers ssh")) { Ok(found) } else { Err(format!("{found:?}")) }
    });
    let found: Vec<String> = told.into_iter().map(|(finding, _)| finding).collect();
    let phases = [
        "profile",
        "dns",
        "tcp",
        "tls",
        "clock",
        "credential",
        "device",
        "agent",
        "dns",
        "tcp",
        "tls",
        "gateway",
        "target",
    ];
    assert_eq!(found, phases.map(|phase| format!("{phase} pass")));
}

/// The finding of an agent of this version.
fn agent_reports(offer: &str) -> (String, String) {
    ("agent pass".into(), format!("iotstream {} {offer}", env!("CARGO_PKG_VERSION")))
}

#[test]
fn the_agent_row_tells_what_the_device_offers() {
    let sandbox = Sandbox::new();
    let hub = Hub::start(&sandbox, &["--device", DEVICE, "old"]);
    let streams = serde_json::json!({
        "s0": { "name": "ssh", "keys": { "k0": HOST_KEY } }, "s1": { "name": "web\u{1b}[2J" }, "s2": { "name": "tcp-80" },
    });
    report(&hub, DEVICE, &serde_json::json!({ "iotstream": { "agent": "0.2.0", "streams": streams } }));
    let row = |device: &str| {
        let (_, found) = details(&sandbox, &hub, &[device]);
        let at = found.iter().position(|(finding, _)| finding.starts_with("agent ")).expect("a row");
        assert!(found[at - 1].0.starts_with("device "), "{found:?}");
        found[at].clone()
    };
    assert_eq!(row(DEVICE), ("agent pass".into(), "iotstream 0.2.0 offers ssh (1 host key), tcp-80".into()));
    let nothing = "the agent reports nothing: it is an old one, or another program";
    assert_eq!(row("old"), ("agent skip".into(), nothing.into()));
}

#[test]
fn a_stream_that_the_device_does_not_offer_is_told_from_a_target_that_is_down() {
    let sandbox = Sandbox::new();
    let hub = Hub::start(&sandbox, &["--device", DEVICE]);
    let targets = [("ssh", serve(ssh_server)), ("tcp-80", closed_port())];
    let _agent = agent(&sandbox, &hub, DEVICE, &targets);
    let told = |stream: &str| {
        let (exit, found) = details(&sandbox, &hub, &["--stream", stream, DEVICE]);
        assert_eq!(exit, 69, "{found:?}");
        found.into_iter().find(|(finding, _)| finding == "device fail").expect("it fails").1
    };
    let other = eventually(LIMIT, || {
        let told = told("web");
        if told.contains("its agent offers") { Ok(told) } else { Err(told) }
    });
    assert!(other.ends_with("; its agent offers ssh, tcp-80"), "{other}");
    let down = told("tcp-80");
    assert!(down.contains("rejected") && !down.contains("offers"), "{down}");
}

#[test]
fn each_fault_fails_its_own_step_with_its_exit_status() {
    for (fault, args, phase, exit) in [
        ("", &["--profile", "none", DEVICE][..], "profile", 78),
        ("", &["nobody"], "device", 69),
        ("", &["--stream", "none", DEVICE], "device", 69),
        ("", &["--ca-file", "/dev/null", DEVICE], "profile", 78),
        ("status=401", &[DEVICE], "hub", 77),
        ("status=429", &[DEVICE], "hub", 69),
        ("status=500", &[DEVICE], "hub", 75),
        ("hub=garbage", &[DEVICE], "hub", 76),
        ("hub=drop", &[DEVICE], "hub", 75),
        ("hub=drop@1", &[DEVICE], "hub", 75),
        ("clock=+10m", &[DEVICE], "clock", 77),
        ("gateway=401", &[DEVICE], "gateway", 77),
        ("gateway=500", &[DEVICE], "gateway", 75),
        ("gateway=noupgrade", &[DEVICE], "gateway", 76),
    ] {
        let sandbox = Sandbox::new();
        let inject: &[&str] = if fault.is_empty() { &[] } else { &["--inject", fault] };
        let hub = Hub::start(&sandbox, &[&["--device", DEVICE], inject].concat());
        // With a wrong clock at the hub, the device's token is refused, too.
        let in_service = !fault.starts_with("clock");
        let _agent = in_service.then(|| agent(&sandbox, &hub, DEVICE, &[("ssh", serve(ssh_server))]));
        let (status, found) = findings(&sandbox, &hub, args);
        assert_eq!((failing(&found), status), (phase, exit), "{fault} {args:?}: {found:?}");
        assert!(
            found.last().is_some_and(|last| !last.ends_with(" pass")),
            "what follows is skipped: {found:?}"
        );
    }
}

#[test]
fn a_target_that_is_not_an_ssh_server_fails_the_target_step() {
    let sandbox = Sandbox::new();
    let hub = Hub::start(&sandbox, &["--device", DEVICE]);
    let web = |mut stream: std::net::TcpStream| {
        let _ = stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n");
    };
    let _agent = agent(&sandbox, &hub, DEVICE, &[("ssh", serve(web))]);
    let (exit, found) = findings(&sandbox, &hub, &[DEVICE]);
    assert_eq!((failing(&found), exit), ("target", 76), "{found:?}");
}

#[test]
fn the_text_output_has_a_line_per_step_and_a_hint() {
    let sandbox = Sandbox::new();
    let hub = Hub::start(&sandbox, &["--device", DEVICE]);
    let mut check = sandbox.iotstream();
    check
        .args(["check", "--connect-timeout", "1s", "--config"])
        .arg(hub.dir.join("profiles.toml"))
        .arg(DEVICE);
    let done = run(&mut check, Stdin::Ends(b""), LIMIT);
    assert_eq!(done.status.code(), Some(69), "{}", done.text());
    let text = done.text();
    let row = text.lines().find_map(|line| line.strip_prefix("fail  device")).expect(text);
    let waited: f64 = row.split_whitespace().next().unwrap().parse().expect(row);
    assert!(waited >= 1000.0, "the wait for the device is the device's: {text}");
    assert!(!text.contains("pass  hub"), "{text}");
    assert!(done.text().contains("      hint: check that `iotstream agent` runs there;"), "{}", done.text());
    assert!(done.text().contains("skip  gateway"), "{}", done.text());
}

/// What a hub's owner or another program may do to a device: disable it with a policy's key, or connect as the device
/// and not subscribe to streams, once or at every so many seconds; with negative ones, it ends the connection before.
pub const OTHER: &str = r#"
import base64, hashlib, hmac, http.client, os, ssl, struct, socket, sys, time, urllib.parse

directory, action, where, *rest = sys.argv[1:]

def parts(name):
    with open(os.path.join(directory, name)) as file:
        return dict(pair.split("=", 1) for pair in file.read().strip().split(";"))

def token(connection, resource):
    se = str(int(time.time()) + 600)
    mac = hmac.new(base64.b64decode(connection["SharedAccessKey"]), f"{resource}\n{se}".encode(), hashlib.sha256)
    sig = urllib.parse.quote(base64.b64encode(mac.digest()), safe="")
    policy = connection.get("SharedAccessKeyName")
    return f"SharedAccessSignature sr={resource}&sig={sig}&se={se}" + (f"&skn={policy}" if policy else "")

tls = ssl.create_default_context(cafile=os.path.join(directory, "ca.pem"))
port = int(where.rsplit(":", 1)[1])
if action == "disable":
    hub = http.client.HTTPSConnection("localhost", port, context=tls)
    headers = {"Authorization": token(parts("policies/iothubowner.conn"), "localhost")}
    hub.request("PUT", "/devices/dev-1?api-version=2020-09-30", '{"status":"disabled"}', headers)
    print("done", hub.getresponse().status, flush=True)
    sys.exit()

name = rest[0] if rest else "dev-1"
device = parts(f"devices/{name.replace('/', '%2F')}.conn")
resource = f"localhost/devices/{name}".replace("/iotstream", "/modules/iotstream")
field = lambda text: struct.pack(">H", len(text)) + text.encode()

def log_in():
    packet = field("MQTT") + b"\x04\xc2\x00\x3c" + field(name)
    packet += field(f"localhost/{name}/?api-version=2020-09-30") + field(token(device, resource))
    size = bytes([len(packet) % 128 | 128, len(packet) // 128])
    stream = tls.wrap_socket(socket.create_connection(("localhost", port)), server_hostname="localhost")
    stream.sendall(b"\x10" + size + packet)
    print("done", stream.recv(4)[3], flush=True)
    return stream

stream = log_in()
while action == "logins":
    pause = float(rest[1])
    if pause < 0:
        stream.close()
    time.sleep(abs(pause))
    stream = log_in()
sys.stdin.read()
"#;

fn other(sandbox: &Sandbox, hub: &Hub, action: &str, place: &str, done: &str) -> Process {
    let mut python = sandbox.command(need("python3"));
    python.args(["-c", OTHER]).arg(&hub.dir).args([action, place]);
    let mut other = Process::start(action, &mut python);
    assert_eq!(other.says("done", 1, LIMIT), done);
    other
}

#[test]
fn unregistered_offline_not_listening_and_disabled_devices_are_distinguished() {
    let sandbox = Sandbox::new();
    let hub = Hub::start(&sandbox, &["--device", DEVICE]);
    let told = |device: &str| {
        let (exit, found) = details(&sandbox, &hub, &[device]);
        assert_eq!(exit, 69, "{found:?}");
        let failed = found.iter().find(|(finding, _)| finding.ends_with(" fail")).expect("something fails");
        assert_eq!(failed.0, "device fail");
        assert!(found.contains(&("credential pass".into(), "policy service: it may ask for streams".into())));
        failed.1.clone()
    };
    assert!(told("nobody").starts_with("device nobody is not registered"), "{}", told("nobody"));
    let offline = told(DEVICE);
    assert!(
        offline.contains("not connected") && offline.contains("enabled and offline, never active"),
        "{offline}"
    );
    let deaf = other(&sandbox, &hub, "connect", &hub.mqtts, "done 0");
    let connected = told(DEVICE);
    assert!(
        connected.contains("connected to localhost") && connected.contains("takes no streams"),
        "{connected}"
    );
    drop(deaf);
    drop(other(&sandbox, &hub, "disable", &hub.https, "done 200"));
    assert!(told(DEVICE).contains("is disabled at localhost"), "{}", told(DEVICE));
}

#[test]
fn a_policy_without_the_permission_is_distinguished_from_a_wrong_key() {
    let sandbox = Sandbox::new();
    let hub = Hub::start(&sandbox, &["--device", DEVICE]);
    let _agent = agent(&sandbox, &hub, DEVICE, &[("ssh", serve(ssh_server))]);
    let profiles = hub.dir.join("profiles.toml");
    let text = fs::read_to_string(&profiles).unwrap();
    let service = hub.service_connection_string();
    for (policy, word) in [
        ("registryRead", "policy registryRead may read the registry, but not ask for streams"),
        ("device", "refuses the credential"),
        ("service", ""),
    ] {
        let other = fs::read_to_string(hub.dir.join(format!("policies/{policy}.conn"))).unwrap_or_default();
        let other = if other.is_empty() { service.replace("AccessKey=", "AccessKey=AAAA") } else { other };
        fs::write(&profiles, text.replace(&service, other.trim())).unwrap();
        let (exit, found) = details(&sandbox, &hub, &[DEVICE]);
        let failed = found.iter().find(|(finding, _)| finding.ends_with(" fail")).expect("something fails");
        assert_eq!((exit, failed.0.as_str()), (77, "credential fail"), "{policy}: {found:?}");
        assert!(failed.1.contains(word), "{policy}: {}", failed.1);
    }
}

#[test]
fn a_clock_that_is_slightly_off_is_a_warning() {
    let sandbox = Sandbox::new();
    let hub = Hub::start(&sandbox, &["--device", DEVICE, "--inject", "clock=-2m"]);
    let _agent = agent(&sandbox, &hub, DEVICE, &[("ssh", serve(ssh_server))]);
    let (exit, found) = details(&sandbox, &hub, &[DEVICE]);
    assert_eq!(exit, 0, "{found:?}");
    let (_, detail) = found.iter().find(|(finding, _)| finding == "clock warn").expect("a warning");
    assert!(detail.starts_with("2m") && detail.ends_with(" ahead of the hub's"), "{detail}");
}

#[test]
fn colours_appear_only_on_terminals_that_want_them() {
    let sandbox = Sandbox::new();
    let hub = Hub::start(&sandbox, &["--device", DEVICE]);
    let _agent = agent(&sandbox, &hub, DEVICE, &[("ssh", serve(ssh_server))]);
    let mut terminal = Terminal::open(&sandbox);
    let environments =
        [("TERM=xterm NO_COLOR=", true), ("TERM=xterm NO_COLOR=1", false), ("TERM=dumb NO_COLOR=", false)];
    for (seen, (environment, coloured)) in environments.into_iter().enumerate() {
        terminal.types(&format!(
            "{environment} {} check --config {} {DEVICE}; echo check''ed {seen}\n",
            iotstream(),
            hub.dir.join("profiles.toml").display()
        ));
        terminal.shows(&format!("checked {seen}"));
        let text = terminal.text();
        let (_, shown) = text.rsplit_once("check''ed").expect("the command is echoed");
        assert!(shown.contains("all is well"), "{shown}");
        assert_eq!(shown.contains("\x1b[32mpass\x1b[0m  dns"), coloured, "{environment}: {shown}");
        assert_eq!(shown.contains('\x1b'), coloured, "{environment}: {shown}");
    }
    let mut check = sandbox.iotstream();
    check.args(["check", "--config"]).arg(hub.dir.join("profiles.toml")).arg(DEVICE);
    let done = run(check.env_remove("NO_COLOR").env("TERM", "xterm"), Stdin::Ends(b""), LIMIT).succeeded();
    assert!(!done.text().contains('\x1b'), "{}", done.text());
}
