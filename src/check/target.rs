//! The check of a stream's target. An ssh server sends its identification first.

use std::future::pending;
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader, DuplexStream};
use tokio::time::{Instant, timeout_at};

use super::finding::Outcome;
use crate::error::Exit;
use crate::tunnel::{self, Close, Controls, Direction, Meter, Remote, Settings};

/// The time limit for an ssh server's first line. A server on a slow device that resolves the client's address needs many
/// seconds.
const SSH_LIMIT: Duration = Duration::from_secs(30);

/// The time limit for another target, which need not speak first, and for an ssh server after other lines.
const OTHER_LIMIT: Duration = Duration::from_secs(5);

/// The bytes read from a target. An ssh server may send other lines before its identification (RFC 4253, section 4.2).
const MOST: u64 = 16 << 10;

/// The characters shown of another server's line.
const SHOWN: usize = 60;

const BRIDGE: Settings = Settings {
    direction: Some(Direction::Up),
    failed: |_| Close::new(Close::GOING_AWAY, "the check has ended"),
    ..Settings::BRIEF
};

/// Checks the target of a joined stream by its first line, and ends the stream. `early` are the bytes that have arrived.
///
/// Not cancel-safe: dropping the future drops the stream.
pub(crate) async fn target(io: impl Remote, early: &[u8], stream: &str) -> Outcome {
    let (ours, theirs) = tokio::io::duplex(4096);
    let meter = Meter::default();
    let controls = Controls { hangup: pending(), gone: pending(), ends_with_peer: || false };
    let local = tokio::io::split(theirs);
    let bridge = tunnel::bridge(local, io, early, &BRIDGE, &meter, controls);
    let (said, _end) = tokio::join!(listen(ours, stream == "ssh"), bridge);
    judge(said, stream)
}

/// The first line of a target.
#[derive(Debug, PartialEq, Eq)]
enum Greeting {
    /// An ssh server's identification, or the first line of another target.
    Line(String),
    Nothing,
    /// The target ended the stream first.
    Ended,
}

/// Judges a greeting. A target other than ssh need not send one.
fn judge(said: Greeting, stream: &str) -> Outcome {
    let problem = match said {
        Greeting::Line(line) if line.starts_with("SSH-") || stream != "ssh" => return Outcome::Pass(line),
        Greeting::Line(line) => {
            let begins: String = line.chars().take(SHOWN).collect();
            format!("it is not an ssh server: it sent '{begins}'")
        }
        Greeting::Nothing if stream != "ssh" => {
            return Outcome::Pass("connected; it waits for the client to speak".into());
        }
        Greeting::Nothing => {
            format!("it sent nothing in {} s, and an ssh server speaks first", SSH_LIMIT.as_secs())
        }
        Greeting::Ended => "it ended the stream and sent nothing".into(),
    };
    let hint =
        format!("on the device, check the target of the stream '{stream}' in the agent's configuration");
    if stream == "ssh" {
        Outcome::Fail(problem, Some(hint), Exit::Protocol)
    } else {
        Outcome::Warn(problem, hint)
    }
}

/// Reads lines up to an ssh server's identification, or the first line of another target, and ends the stream.
async fn listen(stream: DuplexStream, is_ssh: bool) -> Greeting {
    let (reader, mut writer) = tokio::io::split(stream);
    let mut reader = BufReader::new(reader.take(MOST));
    let mut said = Greeting::Nothing;
    let mut by = Instant::now() + if is_ssh { SSH_LIMIT } else { OTHER_LIMIT };
    let mut line = Vec::new();
    loop {
        let read = timeout_at(by, reader.read_until(b'\n', &mut line)).await;
        let text = String::from_utf8_lossy(&line).trim_end().to_owned();
        if !text.is_empty() && (said == Greeting::Nothing || text.starts_with("SSH-")) {
            said = Greeting::Line(text.clone());
            by = by.min(Instant::now() + OTHER_LIMIT);
        }
        match read {
            Ok(Ok(1..)) if is_ssh && !text.starts_with("SSH-") => line.clear(),
            Ok(Ok(0) | Err(_)) if said == Greeting::Nothing => {
                said = Greeting::Ended;
                break;
            }
            _ => break,
        }
    }
    let _ = writer.shutdown().await;
    said
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The greeting of a target that sends `parts`, each after so many seconds, and then stays or ends the stream.
    async fn heard(parts: &[(u64, &str)], stays: bool, is_ssh: bool) -> Greeting {
        let (ours, mut theirs) = tokio::io::duplex(4096);
        let target = async {
            for (seconds, part) in parts {
                tokio::time::sleep(Duration::from_secs(*seconds)).await;
                let _ = theirs.write_all(part.as_bytes()).await;
            }
            if stays {
                // Until the check ends the stream.
                let _ = theirs.read_u8().await;
            }
            drop(theirs);
        };
        tokio::join!(listen(ours, is_ssh), target).0
    }

    #[tokio::test(start_paused = true)]
    async fn waits_for_a_slow_ssh_server() {
        let line = |text: &str| Greeting::Line(text.into());
        for (parts, stays, is_ssh, said) in [
            (&[(7, "SSH-2.0-slow\r\n")][..], true, true, line("SSH-2.0-slow")),
            (&[(20, "SSH-"), (7, "2.0-slower\n")], true, true, line("SSH-2.0-slower")),
            (&[(1, "welcome\n\nto\n"), (3, "SSH-2.0-x\n")], true, true, line("SSH-2.0-x")),
            (&[(1, "welcome\nSSH-2.0-x")], false, true, line("SSH-2.0-x")),
            (&[(1, "220 mail\r\n")], true, true, line("220 mail")),
            (&[(1, "HTTP/1.1 400 Bad Request\r\n\r\n")], false, true, line("HTTP/1.1 400 Bad Request")),
            (&[(31, "SSH-2.0-late\n")], true, true, Greeting::Nothing),
            (&[], false, true, Greeting::Ended),
            (&[(1, "RFB 003.008\n")], true, false, line("RFB 003.008")),
            (&[(6, "late\n")], true, false, Greeting::Nothing),
            (&[], false, false, Greeting::Ended),
        ] {
            assert_eq!(heard(parts, stays, is_ssh).await, said, "{parts:?}");
        }
    }

    #[test]
    fn only_an_ssh_target_must_send_an_identification() {
        let told = |said, stream| match judge(said, stream) {
            Outcome::Fail(problem, ..) => problem,
            Outcome::Warn(problem, _) => format!("warning: {problem}"),
            Outcome::Pass(_) => "pass".into(),
            Outcome::Skip | Outcome::Absent(_) => "skip".into(),
        };
        assert_eq!(told(Greeting::Line("SSH-2.0-x".into()), "ssh"), "pass");
        assert!(
            told(Greeting::Line("220 mail".into()), "ssh").contains("not an ssh server: it sent '220 mail'")
        );
        assert!(told(Greeting::Nothing, "ssh").contains("sent nothing in 30 s"));
        assert!(told(Greeting::Ended, "ssh").starts_with("it ended the stream"));
        assert!(told(Greeting::Ended, "tcp-80").starts_with("warning: it ended the stream"));
        assert_eq!(told(Greeting::Nothing, "tcp-80"), "pass");
    }
}
