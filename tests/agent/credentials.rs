//! The credential with which a device logs in to its hub.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use crate::support::{Bench, DEVICE, Hub, LIMIT, Process, Stdin, agent_with_config, need, run};

const ECHO: &str = "[[target]]\nstream = \"echo\"\nbuiltin = \"echo\"\n";

fn openssl(bench: &Bench, args: &[&str]) {
    run(bench.command(need("openssl")).args(args), Stdin::Ends(b""), LIMIT).succeeded();
}

/// A self-signed certificate and its key, made by `openssl` as `args` say; with its SHA-256 thumbprint.
struct Certificate {
    thumbprint: String,
    name: String,
}

impl Certificate {
    fn make(bench: &Bench, name: &str, args: &[&str]) -> Self {
        let (certificate, key) = (format!("{name}.pem"), format!("{name}.key"));
        if args.is_empty() {
            // A key in the old form: BEGIN EC PRIVATE KEY.
            openssl(bench, &["ecparam", "-genkey", "-name", "prime256v1", "-noout", "-out", &key]);
            openssl(
                bench,
                &["req", "-x509", "-key", &key, "-subj", "/CN=device", "-days", "2", "-out", &certificate],
            );
        } else {
            let request = ["req", "-x509", "-nodes", "-subj", "/CN=device", "-days", "2"];
            openssl(bench, &[&request, args, &["-keyout", &key, "-out", &certificate]].concat());
        }
        bench.write(&key, fs::read(bench.path(&key)).unwrap());
        let mut fingerprint = bench.command(need("openssl"));
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
fn echoes(bench: &Bench, hub: &Hub, args: &[&str]) {
    let mut helper = hub.helper(bench);
    let done = run(helper.args(["--stream", "echo"]).args(args), Stdin::Ends(b"there and back"), LIMIT);
    assert_eq!(done.succeeded().text(), "there and back");
}

/// An agent with a whole configuration of its own.
fn start(bench: &Bench, config: &str) -> Process {
    let config = bench.write("agent.toml", config);
    Process::start(bench, "agent", bench.iotstream().args(["agent", "-vv", "--config"]).arg(config))
}

fn quoted(path: &Path) -> String {
    format!("{:?}", path.display().to_string())
}

#[test]
fn a_certificate_is_known_by_its_thumbprint_over_either_transport() {
    let bench = Bench::new();
    let rsa = Certificate::make(&bench, "rsa", &["-newkey", "rsa:2048"]);
    let pkcs8 = Certificate::make(&bench, "pkcs8", &["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"]);
    let sec1 = Certificate::make(&bench, "sec1", &[]);
    let other = Certificate::make(&bench, "other", &[]);
    let form = |name: &str| fs::read_to_string(bench.path(format!("{name}.key"))).unwrap();
    assert!(form("pkcs8").contains("BEGIN PRIVATE KEY") && form("sec1").contains("BEGIN EC PRIVATE KEY"));
    let devices = [("d-rsa", &rsa), ("d-pkcs8", &pkcs8), ("d-sec1", &sec1)];
    let options = devices.map(|(device, known)| format!("{device}={}", known.thumbprint));
    let args: Vec<&str> = options.iter().flat_map(|option| ["--x509-device", option]).collect();
    let mut hub = Hub::start(&bench, &args);
    for (round, transport) in ["websocket", "mqtt"].iter().enumerate() {
        for (device, certificate) in devices {
            let port = hub.mqtts.rsplit_once(':').unwrap().1;
            let config =
                format!("transport = \"{transport}\"\nmqtt-port = {port}\n{}{ECHO}", certificate.config());
            let agent = agent_with_config(&bench, &hub, device, &config);
            echoes(&bench, &hub, &[device]);
            drop(agent);
        }
        if round == 0 {
            // What is known of the devices outlives the hub.
            hub.restart(&bench);
        }
    }
    let config = format!(
        "connection-string-file = {}\nca-file = {}\n{}{ECHO}",
        quoted(&hub.device_file("d-rsa")),
        quoted(&hub.dir.join("ca.pem")),
        other.config()
    );
    let mut agent = start(&bench, &config);
    agent.says("refuses device d-rsa: not authorized", 1, LIMIT);
}

#[test]
fn a_module_is_served_by_an_agent_of_its_own() {
    let bench = Bench::new();
    let hub = Hub::start(&bench, &["--device", "dev-1/press", "--device", "dev-1"]);
    let _module = agent_with_config(&bench, &hub, "dev-1%2Fpress", ECHO);
    echoes(&bench, &hub, &["--module", "press", DEVICE]);
    let nobody = run(hub.helper(&bench).args(["--connect-timeout", "1s", DEVICE]), Stdin::Ends(b""), LIMIT);
    assert_eq!(nobody.status.code(), Some(69), "{}", nobody.stderr);
}

/// What the connection string of `DEVICE` says, with `from` replaced by `to`.
fn connection_string(hub: &Hub, from: &str, to: &str) -> String {
    let text = fs::read_to_string(hub.device_file(DEVICE)).unwrap();
    assert!(text.contains(from), "{from}");
    text.trim().replace(from, to)
}

fn with_connection_string(hub: &Hub, text: &str) -> String {
    format!("connection-string = \"{text}\"\nca-file = {}\n{ECHO}", quoted(&hub.dir.join("ca.pem")))
}

#[test]
fn a_gateway_is_connected_to_in_the_hubs_name() {
    let bench = Bench::new();
    let hub = Hub::start(&bench, &["--device", DEVICE, "--hostname", "contoso.example"]);
    let gateway = format!("HostName=contoso.example;GatewayHostName={};", hub.https);
    let text = connection_string(&hub, &format!("HostName=contoso.example:{};", hub.port()), &gateway);
    let mut agent = start(&bench, &with_connection_string(&hub, &text));
    agent.says("in service as device dev-1 at contoso.example", 1, LIMIT);
    echoes(&bench, &hub, &[DEVICE]);
}

#[test]
fn a_ready_token_serves_until_it_expires() {
    let bench = Bench::new();
    let hub = Hub::start(&bench, &["--device", DEVICE]);
    let key = connection_string(&hub, "", "").rsplit_once("SharedAccessKey=").unwrap().1.to_owned();
    let token = |seconds: i64| {
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs();
        let resource = iotstream::iothub::Resource::identity(
            &iotstream::iothub::HubAddress::parse("localhost").unwrap(),
            &iotstream::iothub::Identity::new(DEVICE, None).unwrap(),
        );
        let expiry = iotstream::iothub::UnixSeconds(now.checked_add_signed(seconds).unwrap());
        let key = iotstream::secret::Secret::new(&*key);
        let token = iotstream::iothub::SasToken::sign(&resource, expiry, &key, None).unwrap();
        let from = format!("SharedAccessKey={}", key.expose());
        connection_string(&hub, &from, &format!("SharedAccessSignature={}", token.text().expose()))
    };
    let mut expired = start(&bench, &with_connection_string(&hub, &token(-10)));
    assert_eq!(expired.ends(LIMIT).code(), Some(78), "{}", expired.stderr());
    assert!(expired.stderr().contains("its shared access signature has expired"), "{}", expired.stderr());

    let mut agent = start(&bench, &with_connection_string(&hub, &token(5)));
    agent.says("in service", 1, LIMIT);
    echoes(&bench, &hub, &[DEVICE]);
    // The hub ends the session, and the agent waits for somebody to bring a new token.
    agent.says("its shared access signature has expired; trying again", 1, LIMIT);
    bench.write("agent.toml", with_connection_string(&hub, &token(3600)));
    agent.signal(rustix::process::Signal::HUP);
    agent.says("in service", 2, LIMIT);
    echoes(&bench, &hub, &[DEVICE]);
}

#[test]
fn a_wrong_key_is_read_again_once_it_is_corrected() {
    let bench = Bench::new();
    let hub = Hub::start(&bench, &["--device", DEVICE]);
    let right = connection_string(&hub, "", "");
    let wrong = right.replace("SharedAccessKey=", "SharedAccessKey=AAAA");
    // In the configuration itself, and in a file that it names.
    let mut agent = start(&bench, &with_connection_string(&hub, &wrong));
    agent.says("refuses device dev-1: not authorized", 1, LIMIT);
    bench.write("agent.toml", with_connection_string(&hub, &right));
    agent.says("in service", 1, LIMIT);
    echoes(&bench, &hub, &[DEVICE]);
    drop(agent);

    let file = bench.write("dev-1.conn", &wrong);
    let ca_file = quoted(&hub.dir.join("ca.pem"));
    let config = format!("connection-string-file = {}\nca-file = {ca_file}\n{ECHO}", quoted(&file));
    let mut agent = start(&bench, &config);
    agent.says("refuses device dev-1: not authorized", 1, LIMIT);
    // What cannot be read changes nothing.
    bench.write("dev-1.conn", "nonsense");
    agent.says("the credential stays as it was", 1, LIMIT);
    bench.write("dev-1.conn", &right);
    agent.says("in service", 1, LIMIT);
    echoes(&bench, &hub, &[DEVICE]);
}

#[test]
fn a_wrong_clock_is_named() {
    let bench = Bench::new();
    let hub = Hub::start(&bench, &["--device", DEVICE, "--inject", "clock=+2h"]);
    let text = connection_string(&hub, "", "");
    let mut agent = start(&bench, &with_connection_string(&hub, &text));
    agent.says("refuses device dev-1: not authorized", 1, LIMIT);
    let hint = agent.says("the clock here is", 1, LIMIT);
    assert!(hint.contains("behind the hub's, which allows five minutes"), "{hint}");
}

#[test]
fn a_secret_that_others_can_read_is_refused() {
    let bench = Bench::new();
    let hub = Hub::start(&bench, &["--device", DEVICE]);
    let certificate = Certificate::make(&bench, "open", &[]);
    let secret = bench.write("dev.conn", connection_string(&hub, "", ""));
    let key = connection_string(&hub, "", "").split_once("SharedAccessKey=").unwrap().1.to_owned();
    let x509 = connection_string(&hub, &format!("SharedAccessKey={key}"), "x509=true");
    let x509 = bench.write("x509.conn", x509);
    let file = |path: &Path| format!("connection-string-file = {}\n", quoted(path));
    for (config, open) in [
        (file(&secret), secret.clone()),
        (file(&x509) + &certificate.config(), bench.path("open.key")),
        (format!("connection-string = \"{}\"\n", connection_string(&hub, "", "")), bench.path("agent.toml")),
    ] {
        bench.write("agent.toml", format!("{config}{ECHO}"));
        fs::set_permissions(&open, fs::Permissions::from_mode(0o644)).unwrap();
        let mut agent = bench.iotstream();
        agent.args(["agent", "--config"]).arg(bench.path("agent.toml"));
        let done = run(&mut agent, Stdin::Ends(b""), LIMIT);
        assert_eq!(done.status.code(), Some(78), "{}", done.stderr);
        assert!(done.stderr.contains(&format!("chmod 600 '{}'", open.display())), "{}", done.stderr);
        assert!(!done.stderr.contains(&key), "{}", done.stderr);
    }
}

#[test]
fn systemds_credentials_stand_in_for_files_that_the_service_cannot_read() {
    let bench = Bench::new();
    let hub = Hub::start(&bench, &["--device", DEVICE]);
    fs::create_dir(bench.path("credentials")).unwrap();
    let credential = bench.write("credentials/connection-string", connection_string(&hub, "", ""));
    // An access list shows as a group's right.
    fs::set_permissions(&credential, fs::Permissions::from_mode(0o440)).unwrap();
    for source in ["", "connection-string-file = \"/no/such/file\"\n"] {
        let config = format!("{source}ca-file = {}\n{ECHO}", quoted(&hub.dir.join("ca.pem")));
        let config = bench.write("agent.toml", config);
        let mut command = bench.iotstream();
        command.env("CREDENTIALS_DIRECTORY", bench.path("credentials"));
        let mut agent =
            Process::start(&bench, "agent", command.args(["agent", "-vv", "--config"]).arg(config));
        agent.says("in service", 1, LIMIT);
        echoes(&bench, &hub, &[DEVICE]);
    }
}

#[test]
fn a_connection_string_comes_from_the_environment_or_a_command() {
    let bench = Bench::new();
    let hub = Hub::start(&bench, &["--device", DEVICE]);
    let command = format!("cat {}; echo and a remark", hub.device_file(DEVICE).display());
    for source in [
        "connection-string-env = \"DEVICE\"".into(),
        format!("connection-string-command = [\"sh\", \"-c\", {command:?}]"),
    ] {
        let config = format!("{source}\nca-file = {}\n{ECHO}", quoted(&hub.dir.join("ca.pem")));
        let config = bench.write("agent.toml", config);
        let mut command = bench.iotstream();
        command.env("DEVICE", connection_string(&hub, "", ""));
        let mut agent =
            Process::start(&bench, "agent", command.args(["agent", "-vv", "--config"]).arg(config));
        agent.says("in service", 1, LIMIT);
        echoes(&bench, &hub, &[DEVICE]);
    }
}
