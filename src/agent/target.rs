//! Where streams lead on the device's side.

use std::fmt;
use std::io;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::tcp::OwnedReadHalf;
use tokio::net::{TcpSocket, TcpStream, UnixStream};
use tokio::process::Command;
use tokio::time::timeout;

use super::approval::Approve;
use super::builtin::Builtin;
use super::command_exit::Process;
use super::environment::Facts;
use super::said::Said;
use crate::tunnel::Paced;

/// How long a target may take to take a connection: the hub, and the user, are waiting.
const CONNECT_LIMIT: Duration = Duration::from_secs(5);

/// What a service on this machine may have waiting for the agent, in bytes: all of it is in front of the next keystroke's
/// echo, and by itself the kernel takes on megabytes.
const WAITING: u16 = 32 * 1024;

/// The same on a fast line.
const LONG_WAITING: usize = 256 * 1024;

/// What goes in one piece on loopback, in bytes: the service's own part of what waits goes by it, 64 KiB as it is.
#[cfg(target_os = "linux")]
const SEGMENT: u32 = 1460;

/// Streams, and where they lead.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// A stream's name, or a pattern of names.
    pub stream: String,
    pub address: Address,
    pub approve: Approve,
    pub max_sessions: Option<usize>,
    /// Variables of the agent's environment that the programs of its streams find in theirs.
    pub pass_environment: Vec<String>,
}

impl Target {
    /// A target without conditions.
    pub fn new(stream: impl Into<String>, address: Address) -> Self {
        Self {
            stream: stream.into(),
            address,
            approve: Approve::Always,
            max_sessions: None,
            pass_environment: Vec::new(),
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Address {
    /// `host:port`.
    Tcp(String),
    Unix(PathBuf),
    /// A program with its arguments, started for each stream, with the stream as its stdin and stdout.
    Command(Vec<String>),
    /// A service of the agent's own.
    Builtin(Builtin),
}

impl Address {
    /// Reads `host:port`, or a path that begins with a slash.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn parse(text: &str) -> Result<Self, String> {
        if text.starts_with('/') {
            return Ok(Self::Unix(text.into()));
        }
        let port = text
            .rsplit_once(':')
            .filter(|(host, _)| !host.is_empty())
            .and_then(|(_, port)| port.parse().ok());
        match port {
            Some(1u16..) => Ok(Self::Tcp(text.to_owned())),
            _ => Err(format!("'{text}' is neither host:port nor the path of a Unix socket")),
        }
    }

    /// Connects. The connection is there when this returns: a service that is down is known before a stream is accepted.
    ///
    /// # Errors
    /// Why the target cannot be reached, for the log.
    pub(super) async fn connect(&self, facts: &Facts<'_>) -> Result<Connection, String> {
        let connecting = async {
            Ok(match self {
                Self::Tcp(address) => {
                    let stream = connect(address).await?;
                    stream.set_nodelay(true)?;
                    // A port nobody listens on can be connected to itself, if it is one the kernel hands out.
                    if stream.peer_addr()? == stream.local_addr()? {
                        return Err(io::ErrorKind::ConnectionRefused.into());
                    }
                    let (read, write) = stream.into_split();
                    Connection::new((Paced::new(read, lengthen), write))
                }
                Self::Unix(path) => Connection::new(UnixStream::connect(path).await?.into_split()),
                Self::Command(words) => start(words, facts)?,
                Self::Builtin(builtin) => {
                    let (read, write) = builtin.connect();
                    Connection { read, write, process: Process::none() }
                }
            })
        };
        match timeout(CONNECT_LIMIT, connecting).await {
            Ok(result) => result.map_err(|error: io::Error| error.to_string()),
            Err(_elapsed) => Err(format!("no answer in {} s", CONNECT_LIMIT.as_secs())),
        }
    }
}

/// Connects to the first address that answers.
async fn connect(address: &str) -> io::Result<TcpStream> {
    let mut failure = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
    for address in tokio::net::lookup_host(address).await? {
        let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
        if address.ip().is_loopback() {
            keep_little(&socket);
        }
        match socket.connect(address).await {
            Ok(stream) => return Ok(stream),
            Err(error) => failure = error,
        }
    }
    Err(failure)
}

/// Has the kernel hold little of what a service on this machine sends.
fn keep_little(socket: &TcpSocket) {
    // Each is an improvement only.
    let _ = socket.set_recv_buffer_size(WAITING.into());
    #[cfg(target_os = "linux")]
    let _ = socket2::SockRef::from(socket).set_tcp_mss(SEGMENT);
}

/// Has it hold more, for one that has been kept short.
fn lengthen(read: &OwnedReadHalf) {
    if read.peer_addr().is_ok_and(|peer| peer.ip().is_loopback()) {
        let _ = socket2::SockRef::from(read.as_ref()).set_recv_buffer_size(LONG_WAITING);
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => f.write_str(address),
            Self::Unix(path) => write!(f, "{}", path.display()),
            Self::Command(words) => write!(f, "command {}", words.first().map_or("", String::as_str)),
            Self::Builtin(builtin) => write!(f, "builtin {}", builtin.name()),
        }
    }
}

/// Starts a program with a socket as stdin and stdout, which can be shut down one way, as sshd's inetd mode expects.
fn start(words: &[String], facts: &Facts<'_>) -> io::Result<Connection> {
    let [program, arguments @ ..] = words else { return Err(io::ErrorKind::InvalidInput.into()) };
    let (ours, theirs) = pair()?;
    let theirs: OwnedFd = theirs.into();
    let mut child = Command::new(program)
        .args(arguments)
        .env_clear()
        .envs(facts.environment())
        .stdin(Stdio::from(theirs.try_clone()?))
        .stdout(Stdio::from(theirs))
        .stderr(Stdio::piped())
        // So that what a script has started ends with it.
        .process_group(0)
        .kill_on_drop(true)
        .spawn()?;
    let said = child.stderr.take().map(|stderr| Said::by(program, facts.stream, stderr));
    let (read, write, process) = Process::watch(child, said, ours.into_split());
    Ok(Connection { read: Box::new(read), write: Box::new(write), process })
}

/// The agent's end and the program's, which blocks.
fn pair() -> io::Result<(UnixStream, std::os::unix::net::UnixStream)> {
    let (ours, theirs) = std::os::unix::net::UnixStream::pair()?;
    socket2::SockRef::from(&theirs).set_send_buffer_size(WAITING.into())?;
    ours.set_nonblocking(true)?;
    Ok((UnixStream::from_std(ours)?, theirs))
}

/// A connection to a target.
pub(super) struct Connection {
    pub(super) read: Box<dyn AsyncRead + Send + Unpin>,
    pub(super) write: Box<dyn AsyncWrite + Send + Unpin>,
    pub(super) process: Process,
}

impl Connection {
    fn new<R, W>((read, write): (R, W)) -> Self
    where
        R: AsyncRead + Send + Unpin + 'static,
        W: AsyncWrite + Send + Unpin + 'static,
    {
        Self { read: Box::new(read), write: Box::new(write), process: Process::none() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    #[test]
    fn addresses() {
        assert_eq!(Address::parse("127.0.0.1:22"), Ok(Address::Tcp("127.0.0.1:22".into())));
        assert_eq!(Address::parse("[::1]:22"), Ok(Address::Tcp("[::1]:22".into())));
        assert_eq!(Address::parse("/run/x.sock"), Ok(Address::Unix("/run/x.sock".into())));
        for text in ["", "host", ":22", "host:", "host:0", "host:99999", "x.sock"] {
            assert!(Address::parse(text).is_err(), "{text}");
        }
    }

    #[tokio::test]
    async fn little_of_what_a_command_sends_waits_for_the_agent() {
        let (_ours, mut theirs) = pair().unwrap();
        theirs.set_nonblocking(true).unwrap();
        let mut waiting = 0;
        let full = loop {
            match std::io::Write::write(&mut theirs, &[0; 4096]) {
                Ok(count) => waiting += count,
                Err(error) => break error,
            }
        };
        assert_eq!(full.kind(), io::ErrorKind::WouldBlock);
        // What goes with each piece counts as well.
        assert!((usize::from(WAITING) / 2..=usize::from(WAITING) * 2).contains(&waiting), "{waiting}");
    }

    #[tokio::test]
    async fn a_command_has_the_stream_as_stdin_and_stdout() {
        let facts = Facts {
            id: 1,
            stream: "cat",
            target: "command cat".into(),
            device: "dev-1",
            service: "hub",
            pass_environment: &[],
        };
        let cat = Address::Command(vec!["cat".into()]);
        let Connection { mut read, mut write, process } = cat.connect(&facts).await.unwrap();
        write.write_all(b"to cat and back").await.unwrap();
        write.shutdown().await.unwrap();
        let mut answer = String::new();
        read.read_to_string(&mut answer).await.unwrap();
        assert_eq!(answer, "to cat and back");
        process.end("test").await;

        let missing = Address::Command(vec!["/no/such/program".into()]).connect(&facts).await;
        assert!(missing.is_err_and(|problem| problem.contains("No such file")));
    }
}
