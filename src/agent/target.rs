//! The targets of streams on the device.

use std::fmt;
use std::io;
use std::path::PathBuf;
use std::pin::Pin;
use std::process::Stdio;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpSocket, TcpStream};
use tokio::process::Command;
use tokio::time::{sleep, timeout};

use super::approval::Approve;
use super::builtin::Builtin;
use super::command_exit::Process;
use super::environment::Facts;
use super::stderr_log::StderrLog;
use crate::error::Problem;
use crate::platform::child::{Group, attach_stdio};
use crate::platform::{AutoTuned, local_socket, tcp};

/// How long connecting to a target may take: the hub and the user are waiting.
const CONNECT_LIMIT: Duration = Duration::from_secs(5);

/// How often to check whether a target has taken the last bytes of a stream that was cut.
const LOOK: Duration = Duration::from_millis(10);

/// What the kernel may hold of a local service's output, in bytes: all of it delays the echo of the next keystroke, and
/// by default the kernel holds megabytes.
const RECEIVE_BUFFER: u16 = 32 * 1024;

/// The same for a fast service.
const LARGE_RECEIVE_BUFFER: usize = 256 * 1024;

/// The streams with certain names, and what they are connected to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// A stream's name, or a pattern of names.
    pub stream: String,
    pub address: Address,
    pub approve: Approve,
    pub max_sessions: Option<usize>,
    /// Further variables of the agent's environment for the programs of its streams.
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
    /// A program and its arguments, started for each stream, with the stream as stdin and stdout.
    Command(Vec<String>),
    /// A service in the agent itself.
    Builtin(Builtin),
}

impl Address {
    /// Parses `host:port`, or a path that begins with a slash.
    ///
    /// # Errors
    /// Returns the problem.
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

    /// Connects to the target, before the stream is accepted: a service that is down rejects it.
    ///
    /// # Errors
    /// Why the target cannot be reached, for the log.
    pub(super) async fn connect(&self, facts: &Facts<'_>) -> Result<Connection, Problem> {
        let connecting = async {
            Ok(match self {
                Self::Tcp(address) => {
                    let stream = connect(address).await?;
                    stream.set_nodelay(true)?;
                    // A connection to an unused ephemeral port may connect to itself.
                    if stream.peer_addr()? == stream.local_addr()? {
                        return Err(io::ErrorKind::ConnectionRefused.into());
                    }
                    let (read, write) = stream.into_split();
                    Connection {
                        read: Box::new(AutoTuned::new(read, grow)),
                        write: Writer::Tcp { half: write, has_ended: false },
                        process: Process::none(),
                    }
                }
                Self::Unix(path) => Connection::new(local_socket::split(local_socket::connect(path).await?)),
                Self::Command(words) => start(words, facts)?,
                Self::Builtin(builtin) => {
                    let (read, write) = builtin.connect();
                    Connection { read, write: Writer::Other(write), process: Process::none() }
                }
            })
        };
        match timeout(CONNECT_LIMIT, connecting).await {
            Ok(result) => result.map_err(|error: io::Error| error.into()),
            Err(_elapsed) => Err(format!("no answer in {} s", CONNECT_LIMIT.as_secs()).into()),
        }
    }
}

/// Connects to the first address that answers.
async fn connect(address: &str) -> io::Result<TcpStream> {
    let mut failure = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
    for address in tokio::net::lookup_host(address).await? {
        let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
        if address.ip().is_loopback() {
            tcp::limit_received(&socket, RECEIVE_BUFFER.into());
        }
        match socket.connect(address).await {
            Ok(stream) => return Ok(stream),
            Err(error) => failure = error,
        }
    }
    Err(failure)
}

/// Enlarges the receive buffer of a local service.
fn grow(read: &OwnedReadHalf) {
    if read.peer_addr().is_ok_and(|peer| peer.ip().is_loopback()) {
        tcp::set_receive_buffer(read.as_ref(), LARGE_RECEIVE_BUFFER);
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

/// Starts a program whose stdin and stdout are the stream.
fn start(words: &[String], facts: &Facts<'_>) -> io::Result<Connection> {
    let [program, arguments @ ..] = words else { return Err(io::ErrorKind::InvalidInput.into()) };
    let mut command = Command::new(program);
    command.args(arguments).env_clear().envs(facts.environment());
    command.stderr(Stdio::piped()).kill_on_drop(true);
    // Processes that a script starts end with it.
    Group::create(&mut command);
    let ours = attach_stdio(&mut command, RECEIVE_BUFFER.into())?;
    let mut child = command.spawn()?;
    drop(command);
    let stderr = child.stderr.take().map(|stderr| StderrLog::start(program, facts.stream, stderr));
    let (read, write, process) = Process::watch(child, stderr, ours);
    Ok(Connection { read: Box::new(read), write: Writer::Other(Box::new(write)), process })
}

/// A connection to a target.
pub(super) struct Connection {
    pub(super) read: Box<dyn AsyncRead + Send + Unpin>,
    pub(super) write: Writer,
    pub(super) process: Process,
}

impl Connection {
    /// Both directions as one.
    pub(super) fn join(self) -> impl AsyncRead + AsyncWrite + Send + Unpin {
        tokio::io::join(self.read, self.write)
    }

    fn new<R, W>((read, write): (R, W)) -> Self
    where
        R: AsyncRead + Send + Unpin + 'static,
        W: AsyncWrite + Send + Unpin + 'static,
    {
        Self { read: Box::new(read), write: Writer::Other(Box::new(write)), process: Process::none() }
    }
}

/// The writing half of a target.
pub(super) enum Writer {
    Tcp {
        half: OwnedWriteHalf,
        /// It has been shut down.
        has_ended: bool,
    },
    Other(Box<dyn AsyncWrite + Send + Unpin>),
}

impl Writer {
    /// Begins the stream. Until its input is shut down, a TCP target is reset if the agent is killed.
    pub(super) fn begin(&self) {
        if let Self::Tcp { half, .. } = self {
            tcp::reset_on_close(half.as_ref(), true);
        }
    }

    /// Whether the target is reached over TCP.
    pub(super) fn is_tcp(&self) -> bool {
        matches!(self, Self::Tcp { .. })
    }

    /// Ends the target's input. A TCP target whose input was not shut down is reset once the other half is dropped, because
    /// half an upload must not look whole. It gets `limit` to take the bytes written.
    pub(super) async fn end(self, limit: Duration) {
        let Self::Tcp { half, has_ended: false } = self else { return };
        let taken = async {
            while tcp::info(half.as_ref()).is_some_and(|tcp| tcp.queued) {
                sleep(LOOK).await;
            }
        };
        // A reset discards what is still queued.
        let _ = timeout(limit, taken).await;
        half.forget();
    }

    fn inner(&mut self) -> Pin<&mut (dyn AsyncWrite + Send + Unpin)> {
        match self {
            Self::Tcp { half, .. } => Pin::new(half),
            Self::Other(other) => Pin::new(other),
        }
    }
}

impl AsyncWrite for Writer {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.get_mut().inner().poll_write(cx, bytes)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.get_mut().inner().poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        ready!(this.inner().poll_shutdown(cx))?;
        if let Self::Tcp { half, has_ended } = this {
            *has_ended = true;
            tcp::reset_on_close(half.as_ref(), false);
        }
        Poll::Ready(Ok(()))
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
    async fn a_command_has_the_stream_as_stdin_and_stdout() {
        let facts = Facts {
            id: 1,
            stream: "cat",
            target: "command cat".into(),
            device: "dev-1",
            service: "hub",
            request_id: None,
            requester: None,
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
        assert!(missing.is_err_and(|problem| problem.to_string().contains("No such file")));
    }
}
