//! stdin and stdout: every byte arrives, whichever pipes the caller makes, and each end reaches the other side.

use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::thread;
use std::time::Duration;

use windows_tests::pipe::Pipes;

use crate::support::{Background, DEVICE, Host, Hub, LIMIT, Pattern, Sandbox, agent, serve, verify};

const LONG: Duration = Duration::from_secs(600);
const SIZE: usize = 256 << 20;

const BOTH: [Pipes; 2] = [Pipes::Overlapped, Pipes::Anonymous];

/// A hub, and an agent with one target.
fn device(target: String) -> (Sandbox, Hub, Background) {
    let sandbox = Sandbox::new();
    let hub = Hub::start(Host::Linux, &sandbox, &["--device", DEVICE]);
    let agent = agent(Host::Linux, &sandbox, &hub, DEVICE, &[target]);
    (sandbox, hub, agent)
}

/// Runs `test` for each kind of pipes, with an agent whose only target is `target`.
fn for_both(target: fn(TcpStream), test: impl Fn(&Sandbox, &Hub, Pipes)) {
    let (sandbox, hub, _agent) = device(format!("ssh=127.0.0.1:{}", serve(target)));
    for pipes in BOTH {
        test(&sandbox, &hub, pipes);
    }
}

#[test]
fn every_byte_arrives_in_both_directions_at_once() {
    // The target is not in this process: wine's send() returns 0 now and then.
    let (sandbox, hub, _agent) = device("ssh=builtin:echo".into());
    for pipes in BOTH {
        let mut helper = hub.helper(&sandbox, &["--stats", DEVICE]).pipes(pipes).start();
        let (mut to, from) = (helper.stdin.take().unwrap(), helper.stdout.take().unwrap());
        let sender = thread::spawn(move || io::copy(&mut Pattern::new(SIZE), &mut to).map(drop));
        let receiver = thread::spawn(move || verify(from, SIZE));
        // A helper that failed says more than the bytes that are missing.
        let done = helper.finish(LONG).succeeded();
        sender.join().unwrap().unwrap();
        receiver.join().unwrap();
        assert_eq!(done.stderr.matches(&SIZE.to_string()).count(), 2, "{pipes:?}: {}", done.stderr);
    }
}

#[test]
fn the_end_of_stdin_reaches_the_target_which_may_still_answer() {
    fn target(mut stream: TcpStream) {
        let mut said = String::new();
        stream.read_to_string(&mut said).unwrap();
        write!(stream, "{said} and more").unwrap();
    }
    for_both(target, |sandbox, hub, pipes| {
        let done = hub.helper(sandbox, &[DEVICE]).pipes(pipes).finish("this").succeeded();
        assert_eq!((done.text(), &*done.stderr), ("this and more", ""), "{pipes:?}");
    });
}

#[test]
fn the_end_of_the_stream_ends_the_helper_while_stdin_is_open() {
    fn target(mut stream: TcpStream) {
        stream.write_all(b"all there is").unwrap();
        stream.shutdown(Shutdown::Write).unwrap();
        // An earlier close could reset the connection.
        let _ = io::copy(&mut stream, &mut io::sink());
    }
    for_both(target, |sandbox, hub, pipes| {
        let mut helper = hub.helper(sandbox, &[DEVICE]).pipes(pipes).start();
        let stdin = helper.stdin.take();
        let done = helper.finish(LIMIT).succeeded();
        assert_eq!((done.text(), &*done.stderr), ("all there is", ""), "{pipes:?}");
        drop(stdin);
    });
}

#[test]
fn a_reader_that_has_gone_ends_the_helper() {
    fn target(mut stream: TcpStream) {
        // Until the agent disconnects.
        let _ = io::copy(&mut io::repeat(b'x'), &mut stream);
    }
    for_both(target, |sandbox, hub, pipes| {
        let mut helper = hub.helper(sandbox, &[DEVICE]).pipes(pipes).start();
        let mut stdout = helper.stdout.take().unwrap();
        stdout.read_exact(&mut [0; 100_000]).unwrap();
        drop(stdout);
        let done = helper.finish(LIMIT);
        assert_eq!(done.status, 74, "{pipes:?}: {}", done.stderr);
        assert!(!done.stderr.contains("panicked"), "{}", done.stderr);
    });
}

#[test]
fn each_piece_is_passed_on_at_once() {
    for_both(
        |stream| {
            let _ = io::copy(&mut &stream, &mut &stream);
        },
        |sandbox, hub, pipes| {
            let mut helper = hub.helper(sandbox, &[DEVICE]).pipes(pipes).start();
            let mut stdout = helper.stdout.take().unwrap();
            for piece in ["a", "bc", "def"] {
                helper.say(piece);
                let mut echoed = vec![0; piece.len()];
                stdout.read_exact(&mut echoed).unwrap();
                assert_eq!(echoed, piece.as_bytes(), "{pipes:?}");
            }
            drop(helper.stdin.take());
            helper.finish(LIMIT).succeeded();
        },
    );
}
