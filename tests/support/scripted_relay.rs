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
    /// Opens the stream, reads azbridge's preamble, and answers it with these bytes, and goes on as
    /// [`Answer::Accept`]; without any, closes it.
    Preamble(&'static [u8]),
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
    said: Arc<Mutex<Vec<u8>>>,
}

impl ScriptedRelay {
    /// Starts one, whose certificate is in the sandbox's `tls.pem`.
    pub fn start(sandbox: &Sandbox, script: &[Answer]) -> Self {
        let requests = Arc::new(Mutex::new(Vec::new()));
        let said = Arc::new(Mutex::new(Vec::new()));
        let (seen, heard, script) = (requests.clone(), said.clone(), script.to_vec());
        let (port, _) = serve_tls(sandbox, move |stream| answer(stream, &script, &seen, &heard));
        Self { port, requests, said }
    }

    /// The preambles that senders have sent so far.
    pub fn said(&self) -> Vec<u8> {
        self.said.lock().unwrap().clone()
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

fn answer(mut stream: TlsStream, script: &[Answer], seen: &Mutex<Vec<String>>, heard: &Mutex<Vec<u8>>) {
    let Some(head) = http_request(&mut stream) else { return };
    let at = {
        let mut seen = seen.lock().unwrap();
        seen.push(head.clone());
        seen.len() - 1
    };
    let answer = script.get(at).or(script.last()).unwrap();
    match answer {
        Answer::Refuse(status, headers) => http_answer(&mut stream, status, headers, ""),
        Answer::Accept | Answer::Preamble(_) => {
            let key = header(&head, "sec-websocket-key").unwrap();
            let accept = derive_accept_key(key.as_bytes());
            let switch = format!(
                "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: {accept}\r\n\r\n"
            );
            // The sender may have gone.
            let _ = stream.write_all(switch.as_bytes());
            if let Answer::Preamble(bytes) = answer {
                let preamble = message(&mut stream);
                heard.lock().unwrap().extend(preamble);
                if !bytes.is_empty() {
                    let frame = [&[0x82, u8::try_from(bytes.len()).unwrap()], *bytes].concat();
                    let _ = stream.write_all(&frame);
                }
            }
            if !matches!(answer, Answer::Preamble(b"")) {
                let _ = stream.write_all(b"\x82\x05hello");
            }
            let _ = stream.write_all(b"\x88\x02\x03\xe8").and_then(|()| stream.flush());
            let _ = stream.read_to_end(&mut Vec::new());
        }
        Answer::Silence => {
            let _ = stream.read_to_end(&mut Vec::new());
        }
        Answer::Drop => {}
    }
}

/// The next message of a sender, which is one short frame.
fn message(stream: &mut TlsStream) -> Vec<u8> {
    let mut head = [0; 6];
    stream.read_exact(&mut head).unwrap();
    let mut payload = vec![0; usize::from(head[1] & 0x7f)];
    stream.read_exact(&mut payload).unwrap();
    payload.iter().zip(head[2..].iter().cycle()).map(|(byte, mask)| byte ^ mask).collect()
}

/// The value of a header, whose name is in lower case.
pub fn header<'a>(head: &'a str, name: &str) -> Option<&'a str> {
    head.lines().find_map(|line| {
        let (found, value) = line.split_once(": ")?;
        found.eq_ignore_ascii_case(name).then_some(value)
    })
}
