//! The exchange of versions (RFC 4253, section 4.2).

use std::time::Duration;

use tokio::io::{AsyncBufRead, AsyncBufReadExt, AsyncReadExt};
use tokio::time::timeout;

use super::quote::quoted;
use crate::error::Problem;

/// Our version, without the line's end.
pub(super) const OURS: &[u8] = b"SSH-2.0-iotstream";

/// The time limit for the server's version. sshd sends it at once.
const LIMIT: Duration = Duration::from_secs(5);

/// The longest text that is read, in bytes: the server's version and the lines before it.
const LONGEST_TEXT: u64 = 8 * 1024;

/// The longest version that is accepted, in bytes. The protocol allows 255 with the line's end.
const LONGEST: usize = 1024;

/// Reads the server's version and returns it without the line's end. Lines before it are skipped.
///
/// # Errors
/// Returns an error that quotes what the server said if that is no version of the protocol 2.0.
pub(super) async fn read(io: &mut (impl AsyncBufRead + Unpin)) -> Result<Vec<u8>, Problem> {
    let mut text = Vec::new();
    let mut io = io.take(LONGEST_TEXT);
    let reading = async {
        loop {
            let start = text.len();
            io.read_until(b'\n', &mut text).await?;
            match text[start..].strip_suffix(b"\n") {
                Some(line) if line.starts_with(b"SSH-") => {
                    return Ok(Some(line.strip_suffix(b"\r").unwrap_or(line).to_vec()));
                }
                Some(_) => {}
                None => return Ok::<_, std::io::Error>(None),
            }
        }
    };
    let problem = match timeout(LIMIT, reading).await {
        Ok(Ok(Some(version))) => return check(version),
        Ok(Ok(None)) if io.limit() == 0 => "it is not an SSH server".into(),
        Ok(Ok(None)) => "it closed the connection before it sent an SSH version".into(),
        Ok(Err(error)) => error.to_string(),
        Err(_elapsed) => format!("it sent no SSH version in {} s", LIMIT.as_secs()),
    };
    let said = if text.is_empty() { String::new() } else { format!("; it said {}", quoted(&text)) };
    Err((problem + &said).into())
}

fn check(version: Vec<u8>) -> Result<Vec<u8>, Problem> {
    // 1.99 is a server that speaks both versions (RFC 4253, section 5.1).
    if ![&b"SSH-2.0-"[..], b"SSH-1.99-"].iter().any(|prefix| version.starts_with(prefix)) {
        return Err(format!("it speaks another version of the protocol: {}", quoted(&version)).into());
    }
    if version.len() > LONGEST {
        return Err(format!("its SSH version is too long: {}", quoted(&version)).into());
    }
    Ok(version)
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::AsyncWriteExt;

    async fn after(said: &[u8]) -> Result<Vec<u8>, String> {
        read(&mut &*said).await.map_err(|problem| problem.to_string())
    }

    #[tokio::test]
    async fn versions() {
        for (said, version) in [
            (&b"SSH-2.0-OpenSSH_9.2p1 Debian-2\r\nrest"[..], &b"SSH-2.0-OpenSSH_9.2p1 Debian-2"[..]),
            (b"SSH-1.99-Cisco-1.25\n", b"SSH-1.99-Cisco-1.25"),
            (b"Welcome\r\n\r\nto the gateway\nSSH-2.0-x\r\n", b"SSH-2.0-x"),
        ] {
            assert_eq!(after(said).await.as_deref(), Ok(version));
        }
    }

    #[tokio::test]
    async fn what_is_no_version_is_quoted() {
        let closed = "it closed the connection before it sent an SSH version";
        let long = [b"SSH-2.0-".as_slice(), &[b'x'; 2000], b"\r\n"].concat();
        for (said, problem) in [
            (&b""[..], closed.to_owned()),
            (b"Exceeded MaxStartups\r\n", format!("{closed}; it said 'Exceeded MaxStartups'")),
            (b"a\x1b[2J\x80", format!("{closed}; it said 'a\\u{{1b}}[2J\u{fffd}'")),
            (b"SSH-1.5-OpenSSH_1\n", "it speaks another version of the protocol: 'SSH-1.5-OpenSSH_1'".into()),
            (&[b'\n'; 9000], "it is not an SSH server; it said ''".into()),
        ] {
            assert_eq!(after(said).await, Err(problem));
        }
        let problem = after(&long).await.unwrap_err();
        assert!(problem.starts_with("its SSH version is too long: 'SSH-2.0-xxx"), "{problem}");
        assert!(problem.len() < 300, "{problem}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_server_that_waits_for_another_protocol_is_quoted() {
        let (mut server, ours) = tokio::io::duplex(1000);
        server.write_all(b"220 ready\r\n").await.unwrap();
        let problem = read(&mut tokio::io::BufReader::new(ours)).await.unwrap_err();
        assert_eq!(problem.to_string(), "it sent no SSH version in 5 s; it said '220 ready'");
    }
}
