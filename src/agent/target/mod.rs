//! The targets of streams on the device.

mod builtin;
mod command_exit;
mod connection;
mod environment;
mod server;
mod stderr_log;

use std::fmt;
use std::io;
use std::process::Stdio;
use std::time::Duration;

use tokio::process::Command;
use tokio::time::{Instant, timeout};

pub use self::builtin::Builtin;
pub(super) use self::connection::Connection;
pub(super) use self::environment::Facts;
pub use self::server::Server;
pub(super) use self::stderr_log::StderrLog;

use self::command_exit::Process;
use self::connection::Writer;
use self::server::RECEIVE_BUFFER;
use super::approval::Approve;
use crate::error::Problem;
use crate::platform::child::{Group, attach_stdio};
use crate::text::pattern;
use crate::text::ports::{self, Ports};

/// How long connecting to a target may take: the hub and the user are waiting.
const CONNECT_LIMIT: Duration = Duration::from_secs(5);

/// The streams with certain names, and what they are connected to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// A stream's name, or a pattern of names.
    pub stream: String,
    /// The ports that the streams' names must stand for.
    pub(crate) ports: Option<Ports>,
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
            ports: None,
            address,
            approve: Approve::Always,
            max_sessions: None,
            pass_environment: Vec::new(),
        }
    }

    /// Whether it serves the stream of this name.
    pub(in crate::agent) fn serves(&self, stream: &str) -> bool {
        pattern::matches(&self.stream, stream)
            && self.ports.as_ref().is_none_or(|ports| ports.include(stream))
    }

    /// Whether it has host keys, if it is a server of ssh.
    pub(in crate::agent) fn may_have_host_keys(&self) -> bool {
        !matches!(self.address, Address::Builtin(_)) && !self.address.has_port_of_stream()
    }

    /// Whether it is called so by its stream alone, or by its name.
    pub(in crate::agent) fn is_called(&self, text: &str) -> bool {
        text == self.stream || text == self.name()
    }

    /// Its name among the targets of a configuration: the stream, and the ports.
    pub(in crate::agent) fn name(&self) -> String {
        match &self.ports {
            Some(ports) => format!("{} ({ports})", self.stream),
            None => self.stream.clone(),
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Address {
    /// Servers, which are tried in turn.
    Servers(Vec<Server>),
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
        Ok(Self::Servers(vec![Server::parse(text)?]))
    }

    /// Whether the port of the stream is a part of it.
    pub(in crate::agent) fn has_port_of_stream(&self) -> bool {
        matches!(self, Self::Servers(servers) if servers.iter().any(Server::has_port_of_stream))
    }

    /// The address for a stream, with the stream's port.
    pub(in crate::agent) fn for_stream(&self, stream: &str) -> Self {
        match (self, ports::of_stream(stream)) {
            (Self::Servers(servers), Some(port)) => {
                Self::Servers(servers.iter().map(|server| server.for_port(port)).collect())
            }
            _ => self.clone(),
        }
    }

    /// Connects to the target, before the stream is accepted: a service that is down rejects it.
    ///
    /// # Errors
    /// Why the target cannot be reached, for the log.
    pub(in crate::agent) async fn connect(&self, facts: &Facts<'_>) -> Result<Connection, Problem> {
        match self {
            Self::Servers(servers) => first_to_answer(servers).await,
            Self::Command(words) => Ok(start(words, self.to_string(), facts)?),
            Self::Builtin(builtin) => {
                let (read, write) = builtin.connect();
                Ok(Connection::new(self.to_string(), read, Writer::Other(write)))
            }
        }
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Servers(servers) => {
                f.write_str(&servers.iter().map(Server::to_string).collect::<Vec<_>>().join(", "))
            }
            Self::Command(words) => write!(f, "command {}", words.first().map_or("", String::as_str)),
            Self::Builtin(builtin) => write!(f, "builtin {}", builtin.name()),
        }
    }
}

/// Connects to the first of the servers that answers. Of several, the error names each.
async fn first_to_answer(servers: &[Server]) -> Result<Connection, Problem> {
    let end = Instant::now() + CONNECT_LIMIT;
    let mut problems = Vec::new();
    for (at, server) in servers.iter().enumerate() {
        let left = u32::try_from(servers.len() - at).unwrap_or(u32::MAX);
        // One that does not answer leaves time for the others.
        let limit = end.saturating_duration_since(Instant::now()) / left;
        let problem = match timeout(limit, server.connect()).await {
            Ok(Ok(connection)) => return Ok(connection),
            Ok(Err(error)) => Problem::of(error),
            Err(_elapsed) => format!("no answer in {:.0} s", limit.as_secs_f64()).into(),
        };
        if servers.len() == 1 {
            return Err(problem);
        }
        problems.push(format!("{server}: {problem}"));
    }
    Err(problems.join("; ").into())
}

/// Starts a program whose stdin and stdout are the stream.
fn start(words: &[String], target: String, facts: &Facts<'_>) -> io::Result<Connection> {
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
    Ok(Connection { target, read: Box::new(read), write: Writer::Other(Box::new(write)), process })
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::{TcpSocket, TcpStream};

    fn facts(stream: &str) -> Facts<'_> {
        Facts::without_offer(stream, String::new())
    }

    #[tokio::test]
    async fn a_command_has_the_stream_as_stdin_and_stdout() {
        let cat = Address::Command(vec!["cat".into()]);
        let Connection { target, mut read, mut write, process } = cat.connect(&facts("cat")).await.unwrap();
        assert_eq!(target, "command cat");
        write.write_all(b"to cat and back").await.unwrap();
        write.shutdown().await.unwrap();
        let mut answer = String::new();
        read.read_to_string(&mut answer).await.unwrap();
        assert_eq!(answer, "to cat and back");
        process.end("test").await;

        let missing = Address::Command(vec!["/no/such/program".into()]).connect(&facts("none")).await;
        assert!(missing.is_err_and(|problem| problem.to_string().contains("No such file")));
    }

    #[test]
    fn a_target_serves_the_streams_of_its_ports() {
        let ports = Ports::parse("22, 8000-8999");
        let target = Target { ports, ..Target::new("*", Address::parse("127.0.0.1:{port}").unwrap()) };
        for (stream, address) in [
            ("ssh", Some("127.0.0.1:22")),
            ("tcp-8080", Some("127.0.0.1:8080")),
            ("tcp-80", None),
            ("console", None),
        ] {
            let served = target.serves(stream).then(|| target.address.for_stream(stream).to_string());
            assert_eq!(served.as_deref(), address, "{stream}");
        }
        assert_eq!(target.name(), "* (22, 8000-8999)");
        assert!(!Target { stream: "tcp-*".into(), ..target }.serves("ssh"));
    }

    #[tokio::test]
    async fn the_first_server_that_answers_is_connected() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let up = listener.local_addr().unwrap().to_string();
        let down = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
        let server = |text: &str| Server::parse(text).unwrap();
        let servers = [&down, "/no/such.sock", &up].map(server);
        let connection = Address::Servers(servers.to_vec()).connect(&facts("x")).await.unwrap();
        assert_eq!(connection.target, up);
        let problem = Address::Servers(servers[..2].to_vec()).connect(&facts("x")).await.err().unwrap();
        let problem = problem.to_string();
        let [first, second] = problem.split("; ").collect::<Vec<_>>()[..] else { panic!("{problem}") };
        assert!(first.starts_with(&format!("{down}: Connection refused")), "{problem}");
        assert!(second.starts_with("/no/such.sock: No such file"), "{problem}");
        let problem = Address::Servers(servers[..1].to_vec()).connect(&facts("x")).await.err().unwrap();
        assert!(problem.to_string().starts_with("Connection refused"), "{problem}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_server_that_does_not_answer_leaves_time_for_the_next() {
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let silent = socket.listen(0).unwrap();
        let address = silent.local_addr().unwrap();
        // Connections that nobody accepts, until the kernel answers no more of them.
        let mut waiting = Vec::new();
        while let Ok(connected) = timeout(CONNECT_LIMIT, TcpStream::connect(address)).await {
            waiting.push(connected.unwrap());
        }
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let up = listener.local_addr().unwrap().to_string();
        let servers = |texts: &[&String]| {
            Address::Servers(texts.iter().map(|text| Server::parse(text).unwrap()).collect())
        };
        let silent = address.to_string();
        let since = Instant::now();
        let connection = servers(&[&silent, &up]).connect(&facts("x")).await.unwrap();
        assert_eq!((connection.target, since.elapsed()), (up, CONNECT_LIMIT / 2));
        let since = Instant::now();
        let problem = servers(&[&silent, &silent]).connect(&facts("x")).await.err().unwrap();
        assert_eq!(since.elapsed(), CONNECT_LIMIT);
        assert_eq!(problem.to_string(), format!("{silent}: no answer in 2 s; {silent}: no answer in 2 s"));
        let problem = servers(&[&silent]).connect(&facts("x")).await.err().unwrap();
        assert_eq!(problem.to_string(), "no answer in 5 s");
    }
}
