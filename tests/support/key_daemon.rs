//! A daemon that keeps keys, made from what Microsoft documents: HTTP/1.1 over a Unix socket, callers known by their uid.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};

use rustix::net::{Shutdown, shutdown, sockopt::socket_peercred};
use serde_json::{Value, json};

/// A request of a caller.
pub struct KeyRequest {
    pub uid: u32,
    pub method: String,
    /// Encoded, as sent.
    pub path: String,
    query: String,
    is_json: bool,
    body: Vec<u8>,
}

/// A status, and the body or the message of an error.
pub type KeyReply = Result<Value, (u16, String)>;

type Answer = Arc<dyn Fn(&KeyRequest) -> KeyReply + Send + Sync>;

/// What happens to connections in place of an answer.
#[derive(Default)]
struct Faults {
    /// The next connections that are closed unread, as a daemon does that throttles.
    closed: usize,
    /// What is sent in place of every answer.
    raw: Option<Vec<u8>>,
}

pub struct KeyDaemon {
    socket: PathBuf,
    answer: Answer,
    faults: Arc<Mutex<Faults>>,
    running: Option<(UnixListener, JoinHandle<()>)>,
}

impl KeyDaemon {
    /// One that listens at `socket` and answers with `answer`.
    pub fn start(socket: &Path, answer: impl Fn(&KeyRequest) -> KeyReply + Send + Sync + 'static) -> Self {
        let mut daemon = Self {
            socket: socket.to_owned(),
            answer: Arc::new(answer),
            faults: Arc::default(),
            running: None,
        };
        daemon.restart();
        daemon
    }

    /// Starts it again.
    pub fn restart(&mut self) {
        self.stop();
        // A stopped daemon leaves its socket behind.
        let _ = fs::remove_file(&self.socket);
        let listener = UnixListener::bind(&self.socket).unwrap();
        let accepting = listener.try_clone().unwrap();
        let (answer, faults) = (self.answer.clone(), self.faults.clone());
        let thread = thread::spawn(move || {
            while let Ok((stream, _)) = accepting.accept() {
                let (answer, faults) = (answer.clone(), faults.clone());
                thread::spawn(move || serve(stream, &answer, &faults));
            }
        });
        self.running = Some((listener, thread));
    }

    /// Stops it: its socket stays, and refuses connections.
    pub fn stop(&mut self) {
        if let Some((listener, thread)) = self.running.take() {
            shutdown(&listener, Shutdown::Both).unwrap();
            thread.join().unwrap();
        }
    }

    /// Removes it together with its socket.
    pub fn remove(&mut self) {
        self.stop();
        fs::remove_file(&self.socket).unwrap();
    }

    /// Closes the next `count` connections without an answer.
    pub fn throttle(&self, count: usize) {
        self.faults.lock().unwrap().closed = count;
    }

    /// Sends this in place of answers, until `None`.
    pub fn send_raw(&self, raw: Option<&[u8]>) {
        self.faults.lock().unwrap().raw = raw.map(<[u8]>::to_vec);
    }
}

impl Drop for KeyDaemon {
    fn drop(&mut self) {
        self.stop();
    }
}

impl KeyRequest {
    /// The JSON body, which needs its content type.
    pub fn json(&self) -> Result<Value, (u16, String)> {
        if self.body.is_empty() || !self.is_json {
            return Err((400, "missing request body".into()));
        }
        serde_json::from_slice(&self.body).map_err(|error| (422, error.to_string()))
    }

    /// Checks the `api-version` among `versions`.
    pub fn check_version(&self, versions: &[&str]) -> Result<(), (u16, String)> {
        let version = self.query.split('&').find_map(|pair| pair.strip_prefix("api-version="));
        match version {
            None => Err((400, "api-version not specified".into())),
            Some(version) if !versions.contains(&version) => {
                Err((400, format!("invalid api-version {version:?}")))
            }
            Some(_) => Ok(()),
        }
    }
}

/// A caller that hangs up ends only its own connection.
fn serve(mut stream: UnixStream, answer: &Answer, faults: &Mutex<Faults>) {
    let raw = {
        let mut faults = faults.lock().unwrap();
        if faults.closed > 0 {
            faults.closed -= 1;
            return;
        }
        faults.raw.clone()
    };
    let Some(request) = read(&stream) else { return };
    let reply = raw.unwrap_or_else(|| {
        let (status, body) = match answer(&request) {
            Ok(body) => (200, body),
            Err((status, message)) => (status, json!({ "message": message })),
        };
        let body = body.to_string();
        let length = body.len();
        format!(
            "HTTP/1.1 {status} X\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n\r\n{body}"
        )
        .into_bytes()
    });
    let _ = stream.write_all(&reply);
}

fn read(stream: &UnixStream) -> Option<KeyRequest> {
    let uid = socket_peercred(stream).unwrap().uid.as_raw();
    let mut reader = BufReader::new(stream);
    let mut head = Vec::new();
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line).ok()? == 0 {
            return None;
        }
        match line.trim_end() {
            "" => break,
            line => head.push(line.to_owned()),
        }
    }
    let header = |name: &str| {
        let fields = head.iter().filter_map(|line| line.split_once(':'));
        fields.filter(|(found, _)| found.eq_ignore_ascii_case(name)).map(|(_, value)| value.trim()).next()
    };
    let length = header("content-length").map_or(0, |length| length.parse().unwrap());
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok()?;
    let mut words = head[0].split(' ');
    let method = words.next()?.to_owned();
    let target = words.next()?;
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    Some(KeyRequest {
        uid,
        method,
        path: path.into(),
        query: query.into(),
        is_json: header("content-type") == Some("application/json"),
        body,
    })
}
