//! X.509 certificates as Microsoft's tutorials make them, the errors for those that cannot be used, their dates, and
//! credentials that are renewed.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use data_encoding::{BASE64, HEXLOWER};
use rcgen::{CertificateParams, KeyPair, date_time_ymd};
use sha2::{Digest, Sha256};

use super::ECHO;
use crate::support::sas::field;
use crate::support::{
    DEVICE, Hub, LIMIT, Process, Sandbox, Stdin, agent_with_config, echoes, in_service, need, run,
};

fn openssl(sandbox: &Sandbox, args: &[&str]) -> String {
    let done = run(sandbox.command(need("openssl")).args(args), Stdin::Ends(b""), LIMIT).succeeded();
    done.text().to_owned()
}

/// Makes a version 1 certificate, a request without extensions signed with its own key. Returns its SHA-256 thumbprint.
fn version_1(sandbox: &Sandbox, subject: &str, key: &str, out: &str) -> String {
    openssl(sandbox, &["req", "-new", "-key", key, "-subj", subject, "-out", "request.pem"]);
    openssl(sandbox, &["x509", "-req", "-days", "2", "-in", "request.pem", "-signkey", key, "-out", out]);
    let text = openssl(sandbox, &["x509", "-noout", "-text", "-fingerprint", "-sha256", "-in", out]);
    assert!(text.contains("Version: 1 "), "{text}");
    text.lines()
        .find_map(|line| line.to_ascii_lowercase().split_once("fingerprint=").map(|found| found.1.to_owned()))
        .unwrap()
}

fn new_key(sandbox: &Sandbox, name: &str, args: &[&str]) -> PathBuf {
    openssl(sandbox, &[&["genpkey", "-out", name], args].concat());
    sandbox.write(name, fs::read(sandbox.path(name)).unwrap())
}

const RSA: [&str; 4] = ["-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:2048"];

#[test]
fn a_version_1_certificate_works() {
    let sandbox = Sandbox::new();
    new_key(&sandbox, "dev.key", &RSA);
    let thumbprint = version_1(&sandbox, "/CN=dev-1", "dev.key", "dev.pem");
    let hub = Hub::start(&sandbox, &["--x509-device", &format!("{DEVICE}={thumbprint}")]);
    for transport in ["websocket", "mqtt"] {
        let port = hub.mqtts.rsplit_once(':').unwrap().1;
        let config = format!(
            "transport = \"{transport}\"\nmqtt-port = {port}\ncertificate = \"dev.pem\"\nprivate-key = \"dev.key\"\n{ECHO}"
        );
        let _agent = agent_with_config(&sandbox, &hub, DEVICE, &config);
        echoes(&mut hub.helper(&sandbox));
    }
    // openssl as a client, in both versions of TLS: it waits for an answer after the handshake.
    for version in ["-tls1_2", "-tls1_3"] {
        let mut client = sandbox.command(need("openssl"));
        client.args([
            "s_client", version, "-connect", &hub.https, "-cert", "dev.pem", "-key", "dev.key", "-ign_eof",
        ]);
        let request = b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
        let done = run(&mut client, Stdin::Ends(request), LIMIT);
        assert!(String::from_utf8_lossy(&done.stdout).contains("HTTP/1.1 "), "{version}: {}", done.stderr);
    }
}

#[test]
fn a_version_1_ca_is_trusted_when_configured() {
    let sandbox = Sandbox::new();
    let hub = Hub::start(&sandbox, &["--device", DEVICE]);
    fs::copy(hub.dir.join("ca.key"), sandbox.path("ca.key")).unwrap();
    version_1(&sandbox, "/CN=iotstream emulator CA", "ca.key", "ca1.pem");
    let mut agent = sandbox.iotstream();
    agent.args(["agent", "-vv", "--target", "echo=builtin:echo", "--connection-string-file"]);
    agent.arg(hub.device_file(DEVICE)).arg("--ca-file").arg(sandbox.path("ca1.pem"));
    let _agent: Process = in_service(&mut agent);
    echoes(hub.helper(&sandbox).arg("--ca-file").arg(sandbox.path("ca1.pem")));
}

#[test]
fn unusable_certificates_and_keys_are_named() {
    let sandbox = Sandbox::new();
    let hub = Hub::start(&sandbox, &["--x509-device", &format!("{DEVICE}={}", "0f".repeat(32))]);
    new_key(&sandbox, "rsa.key", &RSA);
    new_key(&sandbox, "small.key", &["-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:1024"]);
    new_key(&sandbox, "p521.key", &["-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-521"]);
    version_1(&sandbox, "/CN=dev-1", "rsa.key", "dev.pem");
    openssl(
        &sandbox,
        &["pkcs12", "-export", "-in", "dev.pem", "-inkey", "rsa.key", "-passout", "pass:", "-out", "dev.p12"],
    );
    openssl(&sandbox, &["pkey", "-in", "rsa.key", "-aes256", "-passout", "pass:x", "-out", "locked.key"]);
    openssl(&sandbox, &["x509", "-in", "dev.pem", "-outform", "DER", "-out", "dev.der"]);
    openssl(&sandbox, &["pkey", "-in", "rsa.key", "-outform", "DER", "-out", "der.key"]);
    for file in ["dev.p12", "locked.key", "der.key"] {
        sandbox.write(file, fs::read(sandbox.path(file)).unwrap());
    }
    sandbox.write("damaged.pem", "-----BEGIN CERTIFICATE-----\nMAAwAA==\n-----END CERTIFICATE-----\n");
    let quoted = |path: &Path| format!("{:?}", path.display().to_string());
    let start = |certificate: &str, key: &str| {
        let config = format!(
            "connection-string-file = {}\nca-file = {}\ncertificate = \"{certificate}\"\nprivate-key = \"{key}\"\n{ECHO}",
            quoted(&hub.device_file(DEVICE)),
            quoted(&hub.dir.join("ca.pem")),
        );
        let config = sandbox.write("agent.toml", config);
        Process::start("agent", sandbox.iotstream().args(["agent", "-vv", "--config"]).arg(config))
    };
    for (certificate, key, says) in [
        ("dev.pem", "small.key", "small.key: the key is RSA of 1024 bits, which cannot be used: RSA of 2048"),
        ("dev.pem", "p521.key", "p521.key: the key is P-521, which cannot be used: RSA of 2048"),
        ("dev.pem", "locked.key", "locked.key: the key is encrypted"),
        ("dev.pem", "dev.pem", "dev.pem: it is a certificate, and holds no private key"),
        ("dev.pem", "dev.p12", "dev.p12: it is a PKCS#12 file (.pfx, .p12)"),
        ("dev.p12", "rsa.key", "dev.p12: it is a PKCS#12 file (.pfx, .p12)"),
        ("rsa.key", "rsa.key", "rsa.key: it is a private key, and holds no certificate"),
        ("damaged.pem", "rsa.key", "damaged.pem: certificate 1 of 1 in it cannot be read"),
        (
            "request.pem",
            "rsa.key",
            "request.pem: it is a certificate request (CSR), and holds no certificate",
        ),
    ] {
        // Others may read a certificate, but not a key.
        sandbox.write(key, fs::read(sandbox.path(key)).unwrap());
        let mut agent = start(certificate, key);
        assert_eq!(agent.ends(LIMIT).code(), Some(78), "{says}: {}", agent.stderr());
        assert!(agent.stderr().contains(says), "{says}: {}", agent.stderr());
    }
    // DER files of openssl's are accepted: it is the hub that refuses them, for it knows another thumbprint.
    let mut agent = start("dev.der", "der.key");
    agent.says("refuses device dev-1: not authorized", 1, LIMIT);
}

const DAY: i64 = 24 * 3600;

/// A certificate and its key, in PEM, and its SHA-256 thumbprint.
struct Certificate {
    pem: String,
    key: String,
    thumbprint: String,
}

impl Certificate {
    /// Makes one that is valid from and until so many seconds from now.
    fn valid(from: i64, until: i64) -> Self {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
        let at = |seconds| {
            date_time_ymd(1970, 1, 1) + Duration::from_secs(now.checked_add_signed(seconds).unwrap())
        };
        let mut params = CertificateParams::default();
        (params.not_before, params.not_after) = (at(from), at(until));
        let key = KeyPair::generate().unwrap();
        let certificate = params.self_signed(&key).unwrap();
        let thumbprint = HEXLOWER.encode(&Sha256::digest(certificate.der()));
        Self { pem: certificate.pem(), key: key.serialize_pem(), thumbprint }
    }

    fn write(&self, sandbox: &Sandbox) {
        sandbox.write("dev.pem", &self.pem);
        sandbox.write("dev.key", &self.key);
    }
}

/// The agent's configuration with `dev.conn`, `dev.pem` and `dev.key`.
fn configure(sandbox: &Sandbox, hub: &Hub, rest: &str) -> PathBuf {
    let ca_file = hub.dir.join("ca.pem");
    let config = format!("connection-string-file = \"dev.conn\"\nca-file = {ca_file:?}\n{rest}{ECHO}");
    sandbox.write("agent.toml", config)
}

const CERTIFICATE: &str = "certificate = \"dev.pem\"\nprivate-key = \"dev.key\"\n";

#[test]
fn the_dates_of_a_certificate_are_checked_and_logged() {
    for (from, until, status, says, exit) in [
        (-DAY, 90 * DAY, "pass", "valid until", 0),
        // In the last third.
        (-2 * DAY, DAY - 60, "warn", "(23 hours)", 0),
        (-60 * DAY, -DAY, "fail", "expired at", 78),
        (DAY, 60 * DAY, "fail", "valid from", 78),
    ] {
        let sandbox = Sandbox::new();
        let certificate = Certificate::valid(from, until);
        certificate.write(&sandbox);
        let hub = Hub::start(&sandbox, &["--x509-device", &format!("{DEVICE}={}", certificate.thumbprint)]);
        fs::copy(hub.device_file(DEVICE), sandbox.path("dev.conn")).unwrap();
        let config = configure(&sandbox, &hub, CERTIFICATE);
        let mut check = sandbox.iotstream();
        let done = run(check.args(["agent", "--check", "--config"]).arg(&config), Stdin::Ends(b""), LIMIT);
        assert_eq!(done.status.code(), Some(exit), "{}{}", done.text(), done.stderr);
        let row = done.text().lines().find(|line| line.starts_with(&format!("{status}  certificate ")));
        assert!(row.is_some_and(|row| row.contains(says)), "{says}: {}", done.text());
        // The hub decides, and this one knows certificates by their thumbprints.
        assert!(done.text().contains("pass  credential"), "{}", done.text());

        let mut agent = in_service(sandbox.iotstream().args(["agent", "-vv", "--config"]).arg(&config));
        if status == "pass" {
            assert!(!agent.stderr().contains("the client certificate"), "{}", agent.stderr());
        } else {
            agent.says("the client certificate", 1, LIMIT);
            assert!(agent.stderr().contains(says), "{}", agent.stderr());
        }
    }
}

/// Restarts the hub with another file of the device.
fn restart_with(hub: &mut Hub, sandbox: &Sandbox, file: &str, content: &str) {
    hub.process.kill();
    fs::write(hub.dir.join("devices").join(file), content).unwrap();
    hub.restart(sandbox);
}

#[test]
fn a_renewed_certificate_is_used_without_a_restart() {
    let sandbox = Sandbox::new();
    let mut hub = Hub::start(&sandbox, &["--device", DEVICE]);
    let key = connection_string(&hub);
    let key = field(&key, "SharedAccessKey");
    let x509 = connection_string(&hub).replace(&format!("SharedAccessKey={key}"), "x509=true");
    let (old, new) = (Certificate::valid(-DAY, 90 * DAY), Certificate::valid(-DAY, 180 * DAY));
    let thumbprint = format!("{DEVICE}.sha256");
    fs::write(hub.device_file(DEVICE), &x509).unwrap();
    restart_with(&mut hub, &sandbox, &thumbprint, &old.thumbprint);
    sandbox.write("dev.conn", &x509);
    old.write(&sandbox);
    let config = configure(&sandbox, &hub, CERTIFICATE);
    let mut agent = in_service(sandbox.iotstream().args(["agent", "-vv", "--config"]).arg(&config));

    // The key is not written yet.
    sandbox.write("dev.pem", &new.pem);
    hub.restart(&sandbox);
    agent.says("the credential stays as it was: ", 1, LIMIT);
    agent.says("the key is not this certificate's", 1, LIMIT);
    agent.says("in service", 2, LIMIT);
    echoes(&mut hub.helper(&sandbox));

    sandbox.write("dev.key", &new.key);
    restart_with(&mut hub, &sandbox, &thumbprint, &new.thumbprint);
    agent.says("the credential has been read again", 1, LIMIT);
    agent.says("in service", 3, LIMIT);
    echoes(&mut hub.helper(&sandbox));
    assert!(!agent.stderr().contains("refuses"), "{}", agent.stderr());
}

/// The connection string of `DEVICE`.
fn connection_string(hub: &Hub) -> String {
    fs::read_to_string(hub.device_file(DEVICE)).unwrap().trim().to_owned()
}

#[test]
fn a_renewed_key_is_used_without_a_restart() {
    let sandbox = Sandbox::new();
    let mut hub = Hub::start(&sandbox, &["--device", DEVICE]);
    let old = connection_string(&hub);
    let new = old.replace(field(&old, "SharedAccessKey"), &BASE64.encode(&[7; 32]));
    sandbox.write("dev.conn", &old);
    let config = configure(&sandbox, &hub, "");
    let mut agent = in_service(sandbox.iotstream().args(["agent", "-vv", "--config"]).arg(&config));
    sandbox.write("dev.conn", &new);
    restart_with(&mut hub, &sandbox, &format!("{DEVICE}.conn"), &new);
    agent.says("in service", 2, LIMIT);
    echoes(&mut hub.helper(&sandbox));
    let said = agent.stderr();
    assert!(said.contains("the credential has been read again") && !said.contains("refuses"), "{said}");
}

#[test]
fn a_renewed_credential_is_used_when_the_token_is_renewed() {
    let sandbox = Sandbox::new();
    let hub = Hub::start(&sandbox, &["--device", "dev-2", "--device", DEVICE]);
    sandbox.write("dev.conn", connection_string(&hub));
    let config = configure(&sandbox, &hub, "token-life = 5\n");
    let mut agent = in_service(sandbox.iotstream().args(["agent", "-vv", "--config"]).arg(&config));
    // Another device shows in the log.
    sandbox.write("dev.conn", fs::read_to_string(hub.device_file("dev-2")).unwrap());
    agent.says("in service as device dev-2", 1, LIMIT);
    assert!(!agent.stderr().contains("trying again"), "{}", agent.stderr());
}
