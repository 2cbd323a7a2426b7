//! How the end of a stream is reported: an ordinary end by exit status 0, after every byte, and any other by 75, in
//! both logs.

use std::fs;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::process::{Child, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::Signal;

use crate::support::*;

/// Longer than an earlier version waited after one side had ended.
const LONG: Duration = Duration::from_secs(12);
const SOON: Duration = Duration::from_secs(5);

/// A target that reads to the end, and sends `answer` after `pause`.
fn answers(pause: Duration, answer: &'static [u8]) -> u16 {
    serve(move |mut stream| {
        let _ = stream.read_to_end(&mut Vec::new());
        thread::sleep(pause);
        let _ = stream.write_all(answer);
    })
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Service {
    IotHub,
    Relay,
}

const SERVICES: [Service; 2] = [Service::IotHub, Service::Relay];

struct AuditedAgent {
    agent: Process,
    hub: Hub,
    sandbox: Sandbox,
    service: Service,
}

impl AuditedAgent {
    /// An agent with these `[[target]]` entries and an audit log.
    fn new(targets: &str) -> Self {
        Self::at(Service::IotHub, targets)
    }

    fn at(service: Service, targets: &str) -> Self {
        let sandbox = Sandbox::new();
        let hub = Hub::start(&sandbox, &["--device", DEVICE, "--relay-entity", DEVICE]);
        let config = format!("audit-log = \"audit.log\"\n{targets}");
        let agent = match service {
            Service::IotHub => agent_with_config(&sandbox, &hub, DEVICE, &config),
            Service::Relay => relay_agent_with_config(&sandbox, &hub.dir, &config),
        };
        Self { agent, hub, sandbox, service }
    }

    fn to_port(port: u16) -> Self {
        Self::to_port_at(Service::IotHub, port)
    }

    fn to_port_at(service: Service, port: u16) -> Self {
        Self::at(service, &target("s", &format!("connect = \"127.0.0.1:{port}\"")))
    }

    fn helper(&self, stream: &str) -> std::process::Command {
        let mut helper = self.hub.helper(&self.sandbox);
        if self.service == Service::Relay {
            helper.args(["--profile", "relay"]);
        }
        helper.args(["--stream", stream, DEVICE]);
        helper
    }

    /// A helper whose stdin stays open.
    fn running(&self, stream: &str) -> Process {
        Process::start("helper", &mut self.helper(stream))
    }

    /// Waits for `count` ends in the audit log, and returns their reasons.
    #[track_caller]
    fn reasons(&self, count: usize, limit: Duration) -> Vec<String> {
        eventually(limit, || {
            let audit = fs::read_to_string(self.sandbox.path("audit.log")).unwrap_or_default();
            let lines = audit.lines().map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap());
            let ends: Vec<_> = lines
                .filter(|line| line["event"] == "end")
                .map(|line| line["reason"].as_str().unwrap().to_owned())
                .collect();
            if ends.len() >= count { Ok(ends) } else { Err(format!("{count} streams have ended: {audit}")) }
        })
    }
}

#[track_caller]
fn exit_code(child: &mut Child) -> Option<i32> {
    eventually(LIMIT, || child.try_wait().unwrap().ok_or_else(|| "the helper ends".to_owned())).code()
}

fn target(stream: &str, rest: &str) -> String {
    format!("[[target]]\nstream = \"{stream}\"\n{rest}\n")
}

#[test]
fn a_late_answer_is_waited_for() {
    const ANSWER: &[u8] = &[b'x'; 1_000_000];
    let audited = AuditedAgent::to_port(answers(LONG, ANSWER));
    let done = run(&mut audited.helper("s"), Stdin::Ends(b"GET\n"), 3 * LIMIT).succeeded();
    assert_eq!((done.stdout.len(), &*done.stderr), (ANSWER.len(), ""));
    assert_eq!(audited.reasons(1, SOON), ["the user ended"]);
}

#[test]
fn a_truncated_answer_is_a_failure() {
    for killed in ["hub", "agent"] {
        let mut audited = AuditedAgent::to_port(serve(|mut stream| {
            let _ = stream.read_to_end(&mut Vec::new());
            let _ = stream.write_all(b"the first half");
            thread::sleep(Duration::from_secs(600));
        }));
        let mut helper = audited.running("s");
        helper.close_stdin();
        helper.reads(14, LIMIT);
        match killed {
            "hub" => audited.hub.process.kill(),
            _ => audited.agent.kill(),
        }
        assert_eq!(helper.ends(LIMIT).code(), Some(75), "{killed}");
        let record = run(audited.sandbox.iotstream().arg("last"), Stdin::Ends(b""), LIMIT).succeeded();
        assert!(record.text().contains("the stream was cut"), "{killed}: {}", record.text());
    }
}

#[test]
fn a_signal_during_input_is_a_failure_and_the_device_learns_of_it() {
    for service in SERVICES {
        let port = serve(|mut stream| drop(stream.read_to_end(&mut Vec::new())));
        let audited = AuditedAgent::to_port_at(service, port);
        let mut helper = audited.running("s");
        helper.say(&"x".repeat(300_000));
        helper.signal(Signal::TERM);
        let begin = Instant::now();
        assert_eq!(helper.ends(LIMIT).code(), Some(75), "{service:?}");
        assert!(begin.elapsed() < Duration::from_secs(1), "{service:?}: {:?}", begin.elapsed());
        let reason = "it was closed with 1001 the user's helper was ended by SIGTERM";
        assert_eq!(audited.reasons(1, SOON), [reason], "{service:?}");
    }
}

/// A target that takes an upload. It tells of a first byte, and of the upload's length and end.
fn takes_an_upload() -> (u16, mpsc::Receiver<(usize, Option<ErrorKind>)>) {
    let (tell, told) = mpsc::channel();
    let port = serve(move |mut stream| {
        let mut all = vec![0];
        stream.read_exact(&mut all).unwrap();
        tell.send((1, None)).unwrap();
        let end = stream.read_to_end(&mut all).err().map(|error| error.kind());
        // The test may have ended.
        let _ = tell.send((all.len(), end));
    });
    (port, told)
}

#[test]
fn half_an_upload_is_not_a_whole_one_to_the_target() {
    const SIZE: usize = 300_000;
    const RESET: Option<ErrorKind> = Some(ErrorKind::ConnectionReset);
    for service in SERVICES {
        for (what, seen) in [("end", None), ("terminate", RESET), ("kill", RESET), ("kill the agent", RESET)]
        {
            let (port, told) = takes_an_upload();
            let mut audited = AuditedAgent::to_port_at(service, port);
            let mut helper = audited.running("s");
            helper.say(&"x".repeat(SIZE));
            assert_eq!(told.recv_timeout(LIMIT), Ok((1, None)));
            match what {
                "end" => helper.close_stdin(),
                "terminate" => helper.signal(Signal::TERM),
                "kill" => helper.kill(),
                _ => audited.agent.kill(),
            }
            let (size, end) = told.recv_timeout(LIMIT).unwrap();
            assert_eq!(end, seen, "{service:?}: {what}");
            // What was read from stdin before a signal is not lost.
            assert!(size == SIZE || what.starts_with("kill"), "{service:?}: {what}: {size}");
        }
    }
}

/// A target that says goodbye, ends its side, waits for `resume` and takes what still comes.
fn ends_first(resume: mpsc::Receiver<()>) -> (u16, mpsc::Receiver<usize>) {
    let (tell, told) = mpsc::channel();
    let resume = std::sync::Arc::new(std::sync::Mutex::new(resume));
    let port = serve(move |mut stream| {
        stream.write_all(b"goodbye").unwrap();
        stream.shutdown(Shutdown::Write).unwrap();
        let _ = resume.lock().unwrap().recv();
        let mut all = Vec::new();
        // The test may have ended.
        let _ = stream.read_to_end(&mut all);
        let _ = tell.send(all.len());
    });
    (port, told)
}

/// A helper at the other end of [`ends_first`], once stdout has ended.
fn at_the_end_of_stdout(audited: &AuditedAgent) -> Child {
    let mut helper = audited.helper("s");
    helper.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = helper.spawn().unwrap();
    assert_eq!(io::read_to_string(child.stdout.take().unwrap()).unwrap(), "goodbye");
    assert_eq!(child.try_wait().unwrap(), None);
    child
}

#[test]
fn input_after_the_devices_end_arrives() {
    const SIZE: usize = 4 << 20;
    for service in SERVICES {
        let (resume, resumed) = mpsc::channel();
        let (port, told) = ends_first(resumed);
        let audited = AuditedAgent::to_port_at(service, port);
        let mut child = at_the_end_of_stdout(&audited);
        drop(resume);
        child.stdin.take().unwrap().write_all(&vec![b'x'; SIZE]).unwrap();
        assert_eq!(exit_code(&mut child), Some(0), "{service:?}");
        assert_eq!(told.recv_timeout(LIMIT), Ok(SIZE), "{service:?}");
        assert_eq!(audited.reasons(1, SOON), ["the target ended"], "{service:?}");
    }
}

#[test]
fn a_silent_stdin_does_not_keep_the_helper_after_the_devices_end() {
    for service in SERVICES {
        let (resume, resumed) = mpsc::channel();
        let (port, told) = ends_first(resumed);
        let audited = AuditedAgent::to_port_at(service, port);
        let mut child = at_the_end_of_stdout(&audited);
        let begin = Instant::now();
        child.stdin.as_mut().unwrap().write_all(b"late").unwrap();
        assert_eq!(exit_code(&mut child), Some(0), "{service:?}");
        assert!(begin.elapsed() < SOON, "{service:?}: {:?}", begin.elapsed());
        drop(resume);
        assert_eq!(told.recv_timeout(LIMIT), Ok(4), "{service:?}");
    }
}

#[test]
fn input_that_is_lost_after_the_devices_end_is_a_failure() {
    for service in SERVICES {
        let (resume, resumed) = mpsc::channel();
        let (port, _) = ends_first(resumed);
        let mut audited = AuditedAgent::to_port_at(service, port);
        let mut child = at_the_end_of_stdout(&audited);
        let mut stdin = child.stdin.take().unwrap();
        // More than the pipe holds, and then more than all the buffers hold.
        stdin.write_all(&[b'x'; 100_000]).unwrap();
        let writing = thread::spawn(move || stdin.write_all(&vec![b'x'; 1 << 28]));
        audited.agent.kill();
        assert_eq!(exit_code(&mut child), Some(75), "{service:?}");
        assert!(writing.join().unwrap().is_err(), "{service:?}");
        let said = io::read_to_string(child.stderr.take().unwrap()).unwrap();
        assert!(said.contains("the stream was cut"), "{service:?}: {said}");
        drop(resume);
    }
}

/// Ends a connection with a reset.
fn reset(stream: TcpStream) {
    socket2::SockRef::from(&stream).set_linger(Some(Duration::ZERO)).unwrap();
}

#[test]
fn a_target_that_resets_its_connection_is_reported_to_the_user() {
    let audited = AuditedAgent::to_port(serve(|mut stream| {
        stream.write_all(b"up").unwrap();
        stream.read_exact(&mut [0; 2]).unwrap();
        reset(stream);
    }));
    let mut helper = audited.running("s");
    helper.reads(2, LIMIT);
    helper.say("go");
    assert_eq!(helper.ends(LIMIT).code(), Some(75));
    let reasons = audited.reasons(1, SOON);
    assert!(reasons[0].starts_with("the target failed: Connection reset by peer"), "{reasons:?}");
}

#[test]
fn a_failed_command_target_is_distinguished_from_one_that_ends() {
    let command = |stream: &str, script: &str| {
        target(stream, &format!("command = [\"/bin/sh\", \"-c\", \"{script}\"]"))
    };
    let mut audited = AuditedAgent::new(
        &[
            command("at-once", "exit 3"),
            command("after-a-word", "read word; echo $word; exit 3"),
            command("by-a-signal", "echo hello; kill -9 $$"),
            command("unread", "exec 0<&-; echo bye"),
            command("late", "sleep 0.3; exit 7"),
            command("ten", "head -c 10 >/dev/null; echo done"),
        ]
        .concat(),
    );
    for (stream, code, says) in
        [("at-once", 75, ""), ("after-a-word", 0, "word\n"), ("by-a-signal", 75, "hello\n")]
    {
        let done = run(&mut audited.helper(stream), Stdin::Stays(b"word\n"), LIMIT);
        assert_eq!((done.status.code(), done.text()), (Some(code), says), "{stream}: {}", done.stderr);
    }
    assert_eq!(
        audited.reasons(3, SOON),
        [
            "the target failed: its command ended: exit status: 3",
            "the target ended (exit status: 3)",
            "the target failed: its command ended: signal: 9 (SIGKILL)",
        ]
    );
    audited.agent.says("stream 'after-a-word': the target command ended: exit status: 3", 1, SOON);
    // Input that it does not read is not a failure.
    let done = run(&mut audited.helper("unread"), Stdin::Ends(&[b'x'; 500_000]), LIMIT);
    assert_eq!(done.text(), "bye\n", "{}", done.stderr);
    // A command that fails is a failure even if it has not read its input.
    let done = run(&mut audited.helper("late"), Stdin::Stays(b"word\n"), LIMIT);
    assert_eq!(done.status.code(), Some(75), "{}", done.stderr);
    // Unsent input does not keep the helper from ending.
    let zeros = fs::File::open("/dev/zero").unwrap();
    let mut child = audited.helper("ten").stdin(zeros).stdout(Stdio::piped()).spawn().unwrap();
    assert_eq!(exit_code(&mut child), Some(75));
    assert!(!audited.agent.stderr().contains("Broken pipe"), "{}", audited.agent.stderr());
}

#[test]
fn killed_users_leave_no_stream_to_a_target_that_never_reads() {
    const USERS: usize = 10;
    let _quiet = timed();
    let audited = AuditedAgent::to_port(serve(|stream| {
        thread::sleep(Duration::from_secs(600));
        drop(stream);
    }));
    let mut users: Vec<_> = (0..USERS).map(|_| audited.running("s")).collect();
    for user in &mut users {
        // More than the buffers between them hold.
        drop(user.write(vec![0; 1 << 28]));
    }
    eventually(LIMIT, || match audited.agent.stderr().matches("open to").count() {
        USERS => Ok(()),
        open => Err(format!("{open} streams are open")),
    });
    thread::sleep(Duration::from_secs(2));
    for user in &mut users {
        user.kill();
    }
    let reasons = audited.reasons(USERS, 2 * SOON);
    assert!(reasons.iter().all(|reason| reason != "the target ended"), "{reasons:?}");
}

#[test]
fn a_stopped_agent_is_recorded_on_the_user_side() {
    let audited = AuditedAgent::to_port(serve(|mut stream| {
        drop(std::io::copy(&mut stream.try_clone().unwrap(), &mut stream));
    }));
    let mut helper = audited.running("s");
    helper.say("up");
    helper.reads(2, LIMIT);
    for _ in 0..2 {
        audited.agent.signal(Signal::TERM);
    }
    assert_eq!(helper.ends(LIMIT).code(), Some(75));
    let record = run(audited.sandbox.iotstream().arg("last"), Stdin::Ends(b""), LIMIT).succeeded();
    assert!(record.text().contains("the agent was stopped"), "{}", record.text());
}

#[test]
fn a_limit_reached_during_a_download_is_reported_to_the_user() {
    let sandbox = Sandbox::new();
    let hub = Hub::start(&sandbox, &["--device", DEVICE]);
    let config = format!("max-duration = \"1s\"\n{}", target("yes", "command = [\"yes\"]"));
    let _agent = agent_with_config(&sandbox, &hub, DEVICE, &config);
    let mut helper = hub.helper(&sandbox);
    helper
        .args(["--stream", "yes", DEVICE])
        .stdin(Stdio::null())
        .stdout(fs::File::create("/dev/null").unwrap());
    let done = run_without_stdout(&mut helper);
    assert_eq!(done.0, Some(75));
    assert!(done.1.contains("the other side ended the stream: its time is up (max-duration)"), "{}", done.1);
}

fn run_without_stdout(helper: &mut std::process::Command) -> (Option<i32>, String) {
    let mut child = helper.stderr(Stdio::piped()).spawn().unwrap();
    let code = exit_code(&mut child);
    let mut said = String::new();
    child.stderr.take().unwrap().read_to_string(&mut said).unwrap();
    (code, said)
}
