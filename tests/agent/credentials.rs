//! The credential with which a device logs in to its hub.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use super::ECHO;
use crate::support::sas::{self, field, unix_seconds};
use crate::support::{DEVICE, Hub, LIMIT, Process, Sandbox, Stdin, agent_with_config, need, run};

fn openssl(sandbox: &Sandbox, args: &[&str]) {
    run(sandbox.command(need("openssl")).args(args), Stdin::Ends(b""), LIMIT).succeeded();
}

/// A self-signed certificate and its key, made by `openssl` with `args`, and its SHA-256 thumbprint.
struct Certificate {
    thumbprint: String,
    name: String,
}

impl Certificate {
    fn make(sandbox: &Sandbox, name: &str, args: &[&str]) -> Self {
        let (certificate, key) = (format!("{name}.pem"), format!("{name}.key"));
        if args.is_empty() {
            // A key in the old form: BEGIN EC PRIVATE KEY.
            openssl(sandbox, &["ecparam", "-genkey", "-name", "prime256v1", "-noout", "-out", &key]);
            openssl(
                sandbox,
                &["req", "-x509", "-key", &key, "-subj", "/CN=device", "-days", "2", "-out", &certificate],
            );
        } else {
            let request = ["req", "-x509", "-nodes", "-subj", "/CN=device", "-days", "2"];
            openssl(sandbox, &[&request, args, &["-keyout", &key, "-out", &certificate]].concat());
        }
        sandbox.write(&key, fs::read(sandbox.path(&key)).unwrap());
        let mut fingerprint = sandbox.command(need("openssl"));
        fingerprint.args(["x509", "-noout", "-fingerprint", "-sha256", "-in", &certificate]);
        let said = run(&mut fingerprint, Stdin::Ends(b""), LIMIT).succeeded();
        let thumbprint = said.text().trim().rsplit_once('=').unwrap().1.to_owned();
        Self { thumbprint, name: name.to_owned() }
    }

    fn config(&self) -> String {
        format!("certificate = \"{0}.pem\"\nprivate-key = \"{0}.key\"\n", self.name)
    }
}

#[track_caller]
fn echoes(sandbox: &Sandbox, hub: &Hub, args: &[&str]) {
    let mut helper = hub.helper(sandbox);
    let done = run(helper.args(["--stream", "echo"]).args(args), Stdin::Ends(b"there and back"), LIMIT);
    assert_eq!(done.succeeded().text(), "there and back");
}

/// An agent with this configuration.
fn start(sandbox: &Sandbox, config: &str) -> Process {
    let config = sandbox.write("agent.toml", config);
    Process::start("agent", sandbox.iotstream().args(["agent", "-vv", "--config"]).arg(config))
}

fn quoted(path: &Path) -> String {
    format!("{:?}", path.display().to_string())
}

#[test]
fn a_certificate_is_recognised_by_its_thumbprint_over_both_transports() {
    let sandbox = Sandbox::new();
    let rsa = Certificate::make(&sandbox, "rsa", &["-newkey", "rsa:2048"]);
    let pkcs8 =
        Certificate::make(&sandbox, "pkcs8", &["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"]);
    let sec1 = Certificate::make(&sandbox, "sec1", &[]);
    let other = Certificate::make(&sandbox, "other", &[]);
    let form = |name: &str| fs::read_to_string(sandbox.path(format!("{name}.key"))).unwrap();
    assert!(form("pkcs8").contains("BEGIN PRIVATE KEY") && form("sec1").contains("BEGIN EC PRIVATE KEY"));
    let devices = [("d-rsa", &rsa), ("d-pkcs8", &pkcs8), ("d-sec1", &sec1)];
    let options = devices.map(|(device, known)| format!("{device}={}", known.thumbprint));
    let args: Vec<&str> = options.iter().flat_map(|option| ["--x509-device", option]).collect();
    let mut hub = Hub::start(&sandbox, &args);
    for (round, transport) in ["websocket", "mqtt"].iter().enumerate() {
        for (device, certificate) in devices {
            let port = hub.mqtts.rsplit_once(':').unwrap().1;
            let config =
                format!("transport = \"{transport}\"\nmqtt-port = {port}\n{}{ECHO}", certificate.config());
            let agent = agent_with_config(&sandbox, &hub, device, &config);
            echoes(&sandbox, &hub, &[device]);
            drop(agent);
        }
        if round == 0 {
            // The emulator keeps its devices across a restart.
            hub.restart(&sandbox);
        }
    }
    let config = format!(
        "connection-string-file = {}\nca-file = {}\n{}{ECHO}",
        quoted(&hub.device_file("d-rsa")),
        quoted(&hub.dir.join("ca.pem")),
        other.config()
    );
    let mut agent = start(&sandbox, &config);
    agent.says("refuses device d-rsa: not authorized", 1, LIMIT);
}

#[test]
fn a_module_has_its_own_agent() {
    let sandbox = Sandbox::new();
    let hub = Hub::start(&sandbox, &["--device", "dev-1/press", "--device", "dev-1"]);
    let _module = agent_with_config(&sandbox, &hub, "dev-1%2Fpress", ECHO);
    echoes(&sandbox, &hub, &["--module", "press", DEVICE]);
    let nobody = run(hub.helper(&sandbox).args(["--connect-timeout", "1s", DEVICE]), Stdin::Ends(b""), LIMIT);
    assert_eq!(nobody.status.code(), Some(69), "{}", nobody.stderr);
}

/// The connection string of `DEVICE` with `from` replaced by `to`.
fn connection_string(hub: &Hub, from: &str, to: &str) -> String {
    let text = fs::read_to_string(hub.device_file(DEVICE)).unwrap();
    assert!(text.contains(from), "{from}");
    text.trim().replace(from, to)
}

fn with_connection_string(hub: &Hub, text: &str) -> String {
    format!("connection-string = \"{text}\"\nca-file = {}\n{ECHO}", quoted(&hub.dir.join("ca.pem")))
}

#[test]
fn a_gateway_host_name_is_dialled_with_the_name_of_the_hub() {
    let sandbox = Sandbox::new();
    let hub = Hub::start(&sandbox, &["--device", DEVICE, "--hostname", "contoso.example"]);
    let gateway = format!("HostName=contoso.example;GatewayHostName={};", hub.https);
    let text = connection_string(&hub, &format!("HostName=contoso.example:{};", hub.port()), &gateway);
    let mut agent = start(&sandbox, &with_connection_string(&hub, &text));
    agent.says("in service as device dev-1 at contoso.example", 1, LIMIT);
    echoes(&sandbox, &hub, &[DEVICE]);
}

#[test]
fn a_shared_access_signature_works_until_it_expires() {
    let sandbox = Sandbox::new();
    let hub = Hub::start(&sandbox, &["--device", DEVICE]);
    let key = field(&connection_string(&hub, "", ""), "SharedAccessKey").to_owned();
    let token = |seconds: i64| {
        let expiry = unix_seconds().checked_add_signed(seconds).unwrap();
        let token = sas::token(&format!("localhost/devices/{DEVICE}"), &key, expiry, None);
        let from = format!("SharedAccessKey={key}");
        connection_string(&hub, &from, &format!("SharedAccessSignature={token}"))
    };
    let mut expired = start(&sandbox, &with_connection_string(&hub, &token(-10)));
    assert_eq!(expired.ends(LIMIT).code(), Some(78), "{}", expired.stderr());
    assert!(expired.stderr().contains("its shared access signature has expired"), "{}", expired.stderr());

    let mut agent = start(&sandbox, &with_connection_string(&hub, &token(5)));
    agent.says("in service", 1, LIMIT);
    echoes(&sandbox, &hub, &[DEVICE]);
    // The hub ends the connection, and the agent waits for a new token.
    agent.says("its shared access signature has expired; trying again", 1, LIMIT);
    sandbox.write("agent.toml", with_connection_string(&hub, &token(3600)));
    agent.signal(rustix::process::Signal::HUP);
    agent.says("in service", 2, LIMIT);
    echoes(&sandbox, &hub, &[DEVICE]);
}

#[test]
fn a_corrected_key_is_read_without_a_restart() {
    let sandbox = Sandbox::new();
    let hub = Hub::start(&sandbox, &["--device", DEVICE]);
    let right = connection_string(&hub, "", "");
    let wrong = right.replace("SharedAccessKey=", "SharedAccessKey=AAAA");
    // First in the configuration itself, then in a file that it names.
    let mut agent = start(&sandbox, &with_connection_string(&hub, &wrong));
    agent.says("refuses device dev-1: not authorized", 1, LIMIT);
    sandbox.write("agent.toml", with_connection_string(&hub, &right));
    agent.says("in service", 1, LIMIT);
    echoes(&sandbox, &hub, &[DEVICE]);
    drop(agent);

    let file = sandbox.write("dev-1.conn", &wrong);
    let ca_file = quoted(&hub.dir.join("ca.pem"));
    let config = format!("connection-string-file = {}\nca-file = {ca_file}\n{ECHO}", quoted(&file));
    let mut agent = start(&sandbox, &config);
    agent.says("refuses device dev-1: not authorized", 1, LIMIT);
    // An unreadable credential changes nothing.
    sandbox.write("dev-1.conn", "nonsense");
    agent.says("the credential stays as it was", 1, LIMIT);
    sandbox.write("dev-1.conn", &right);
    agent.says("in service", 1, LIMIT);
    echoes(&sandbox, &hub, &[DEVICE]);
}

#[test]
fn a_wrong_clock_is_reported() {
    let sandbox = Sandbox::new();
    let hub = Hub::start(&sandbox, &["--device", DEVICE, "--inject", "clock=+2h"]);
    let text = connection_string(&hub, "", "");
    let mut agent = start(&sandbox, &with_connection_string(&hub, &text));
    agent.says("refuses device dev-1: not authorized", 1, LIMIT);
    let hint = agent.says("the clock here is", 1, LIMIT);
    assert!(hint.contains("behind the hub's, which allows five minutes"), "{hint}");
}

#[test]
fn a_secret_readable_by_others_is_refused() {
    let sandbox = Sandbox::new();
    let hub = Hub::start(&sandbox, &["--device", DEVICE]);
    let certificate = Certificate::make(&sandbox, "open", &[]);
    let secret = sandbox.write("dev.conn", connection_string(&hub, "", ""));
    let key = connection_string(&hub, "", "").split_once("SharedAccessKey=").unwrap().1.to_owned();
    let x509 = connection_string(&hub, &format!("SharedAccessKey={key}"), "x509=true");
    let x509 = sandbox.write("x509.conn", x509);
    let file = |path: &Path| format!("connection-string-file = {}\n", quoted(path));
    for (config, open) in [
        (file(&secret), secret.clone()),
        (file(&x509) + &certificate.config(), sandbox.path("open.key")),
        (
            format!("connection-string = \"{}\"\n", connection_string(&hub, "", "")),
            sandbox.path("agent.toml"),
        ),
    ] {
        sandbox.write("agent.toml", format!("{config}{ECHO}"));
        fs::set_permissions(&open, fs::Permissions::from_mode(0o644)).unwrap();
        let mut agent = sandbox.iotstream();
        agent.args(["agent", "--config"]).arg(sandbox.path("agent.toml"));
        let done = run(&mut agent, Stdin::Ends(b""), LIMIT);
        assert_eq!(done.status.code(), Some(78), "{}", done.stderr);
        assert!(done.stderr.contains(&format!("chmod 600 '{}'", open.display())), "{}", done.stderr);
        assert!(!done.stderr.contains(&key), "{}", done.stderr);
    }
}

#[test]
fn systemd_credentials_replace_files_that_the_service_cannot_read() {
    let sandbox = Sandbox::new();
    let hub = Hub::start(&sandbox, &["--device", DEVICE]);
    fs::create_dir(sandbox.path("credentials")).unwrap();
    let credential = sandbox.write("credentials/connection-string", connection_string(&hub, "", ""));
    // An access control list shows as group permissions.
    fs::set_permissions(&credential, fs::Permissions::from_mode(0o440)).unwrap();
    for source in ["", "connection-string-file = \"/no/such/file\"\n"] {
        let config = format!("{source}ca-file = {}\n{ECHO}", quoted(&hub.dir.join("ca.pem")));
        let config = sandbox.write("agent.toml", config);
        let mut command = sandbox.iotstream();
        command.env("CREDENTIALS_DIRECTORY", sandbox.path("credentials"));
        let mut agent = Process::start("agent", command.args(["agent", "-vv", "--config"]).arg(config));
        agent.says("in service", 1, LIMIT);
        echoes(&sandbox, &hub, &[DEVICE]);
    }
}

#[test]
fn a_connection_string_comes_from_the_environment_or_a_command() {
    let sandbox = Sandbox::new();
    let hub = Hub::start(&sandbox, &["--device", DEVICE]);
    let command = format!("cat {}; echo and a remark", hub.device_file(DEVICE).display());
    for source in [
        "connection-string-env = \"DEVICE\"".into(),
        format!("connection-string-command = [\"sh\", \"-c\", {command:?}]"),
    ] {
        let config = format!("{source}\nca-file = {}\n{ECHO}", quoted(&hub.dir.join("ca.pem")));
        let config = sandbox.write("agent.toml", config);
        let mut command = sandbox.iotstream();
        command.env("DEVICE", connection_string(&hub, "", ""));
        let mut agent = Process::start("agent", command.args(["agent", "-vv", "--config"]).arg(config));
        agent.says("in service", 1, LIMIT);
        echoes(&sandbox, &hub, &[DEVICE]);
    }
}
