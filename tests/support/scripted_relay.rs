use std::io::{Read, Write};
use std::path::Path;
use std::process::Command;
use std::sync::{Arc, Mutex};

use tokio_tungstenite::tungstenite::handshake::derive_accept_key;

use super::{Sandbox, TlsStream, http_answer, http_request, serve_tls};

/// An answer of a [`ScriptedRelay`] to a sender.
#[derive(Clone, Debug)]
pub enum Answer {
    /// Opens the stream, sends `hello`, and closes it.
    Accept,
    /// A status with its reason phrase, and further header lines.
    Refuse(String, String),
    /// Nothing, until the sender hangs up.
    Silence,
    /// The end of the connection.
    Drop,
}

/// Refuses with a status and a reason phrase.
pub fn refuse(status: &str) -> Answer {
    Answer::Refuse(status.into(), String::new())
}

/// A namespace that gives each request the next answer of a script, and the last one again and again.
pub struct ScriptedRelay {
    pub port: u16,
    requests: Arc<Mutex<Vec<String>>>,
}

impl ScriptedRelay {
    /// Starts one, whose certificate is in the sandbox's `tls.pem`.
    pub fn start(sandbox: &Sandbox, script: &[Answer]) -> Self {
        let requests = Arc::new(Mutex::new(Vec::new()));
        let (seen, script) = (requests.clone(), script.to_vec());
        let (port, _) = serve_tls(sandbox, move |stream| answer(stream, &script, &seen));
        Self { port, requests }
    }

    /// The heads of the requests so far.
    pub fn requests(&self) -> Vec<String> {
        self.requests.lock().unwrap().clone()
    }

    /// The tracking ids of the requests so far.
    pub fn ids(&self) -> Vec<String> {
        let id = |head: &String| {
            let id = head.split("sb-hc-id=").nth(1).unwrap_or_else(|| panic!("no id in {head}"));
            id.split([' ', '&']).next().unwrap().to_owned()
        };
        self.requests().iter().map(id).collect()
    }

    /// The connection string of a policy.
    pub fn connection_string(&self) -> String {
        format!("Endpoint=sb://localhost:{}/;SharedAccessKeyName=send;SharedAccessKey={RELAY_KEY}", self.port)
    }

    /// The profile file with one profile, and further keys of it.
    pub fn profile(&self, sandbox: &Sandbox, keys: &str) -> std::path::PathBuf {
        let connection_string = self.connection_string();
        let text = format!(
            "[profile.x]\nconnection-string = \"{connection_string}\"\nca-file = \"tls.pem\"\n{keys}\n"
        );
        sandbox.write("profiles.toml", text)
    }

    /// The helper with that profile.
    pub fn helper(&self, sandbox: &Sandbox, keys: &str) -> Command {
        helper(sandbox, &self.profile(sandbox, keys))
    }
}

/// The key of the connection strings.
pub const RELAY_KEY: &str = "aHVudGVyMg==";

fn helper(sandbox: &Sandbox, profiles: &Path) -> Command {
    let mut command = sandbox.iotstream();
    command.arg("--config").arg(profiles).args(["--profile", "x"]);
    command
}

fn answer(mut stream: TlsStream, script: &[Answer], seen: &Mutex<Vec<String>>) {
    let Some(head) = http_request(&mut stream) else { return };
    let at = {
        let mut seen = seen.lock().unwrap();
        seen.push(head.clone());
        seen.len() - 1
    };
    match script.get(at).or(script.last()).unwrap() {
        Answer::Refuse(status, headers) => http_answer(&mut stream, status, headers, ""),
        Answer::Accept => {
            let key = header(&head, "sec-websocket-key").unwrap();
            let accept = derive_accept_key(key.as_bytes());
            let switch = format!(
                "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: {accept}\r\n\r\n"
            );
            // The sender may have gone.
            let _ = stream.write_all(switch.as_bytes());
            let _ = stream.write_all(b"\x82\x05hello\x88\x02\x03\xe8").and_then(|()| stream.flush());
            let _ = stream.read_to_end(&mut Vec::new());
        }
        Answer::Silence => {
            let _ = stream.read_to_end(&mut Vec::new());
        }
        Answer::Drop => {}
    }
}

/// The value of a header, whose name is in lower case.
pub fn header<'a>(head: &'a str, name: &str) -> Option<&'a str> {
    head.lines().find_map(|line| {
        let (found, value) = line.split_once(": ")?;
        found.eq_ignore_ascii_case(name).then_some(value)
    })
}
