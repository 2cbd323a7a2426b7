use std::net::{TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use super::{Process, Sandbox, eventually, need, random};

/// The user name and password of the proxies, percent-encoded.
pub const LOGIN: &str = "me:pass%2Dword";
const PASSWORD: &str = "pass-word";

/// A real proxy on a loopback port.
pub struct Proxy {
    pub process: Process,
    pub port: u16,
}

impl Proxy {
    /// tinyproxy, which requires a password.
    pub fn http(sandbox: &Sandbox) -> Self {
        Self::start("tinyproxy", |port| {
            let config = format!(
                "Port {port}\nListen 127.0.0.1\nAllow 127.0.0.1\nBasicAuth me {PASSWORD}\nLogLevel Connect\n"
            );
            let config = sandbox.write("tinyproxy.conf", config);
            let mut command = sandbox.command(need("tinyproxy"));
            command.args(["-d", "-c"]).arg(config);
            command
        })
    }

    /// stunnel in front of another proxy. Returns also the file with its certificate.
    pub fn https(sandbox: &Sandbox, inner: &Proxy) -> (Self, PathBuf) {
        let made = rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()]).unwrap();
        let certificate = sandbox.write("proxy.pem", made.cert.pem());
        let both = sandbox.write("proxy-key.pem", made.signing_key.serialize_pem() + &made.cert.pem());
        let proxy = Self::start("stunnel4", |port| {
            let config = format!(
                "foreground = yes\npid =\n[proxy]\naccept = 127.0.0.1:{port}\nconnect = 127.0.0.1:{}\ncert = {}\n",
                inner.port,
                both.display()
            );
            let mut command = sandbox.command(need("stunnel4"));
            command.arg(sandbox.write("stunnel.conf", config));
            command
        });
        (proxy, certificate)
    }

    /// microsocks, which requires a password.
    pub fn socks(sandbox: &Sandbox) -> Self {
        Self::start("microsocks", |port| {
            let mut command = sandbox.command(need("microsocks"));
            command.args(["-i", "127.0.0.1", "-p", &port.to_string(), "-u", "me", "-P", PASSWORD]);
            command
        })
    }

    fn start(name: &str, command: impl Fn(u16) -> Command) -> Self {
        // None of them supports port 0. As with sshd, the port is below those that the system assigns.
        let free = || 20_000 + u16::from_le_bytes(random(2).try_into().unwrap()) % 10_000;
        let port = std::iter::repeat_with(free).find(|&port| TcpListener::bind(("127.0.0.1", port)).is_ok());
        let port = port.unwrap();
        let process = Process::start(name, &mut command(port));
        eventually(Duration::from_secs(10), || {
            TcpStream::connect(("127.0.0.1", port)).map_err(|error| format!("{name} listens: {error}"))
        });
        Self { process, port }
    }

    /// The count of connections to `host:port` in its log.
    pub fn tunnels_to(&self, target: &str) -> usize {
        let said = self.process.stdout() + &self.process.stderr();
        // tinyproxy logs several lines per connection, one of them with the request; microsocks logs one.
        let mark = if said.contains("client[") {
            format!("connected to {target}")
        } else {
            format!("CONNECT {target} ")
        };
        said.lines().filter(|line| line.contains(&mark)).count()
    }
}
