//! X.509 certificates as Microsoft's tutorials make them, and the errors for those that cannot be used.

use std::fs;
use std::path::{Path, PathBuf};

use super::ECHO;
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
