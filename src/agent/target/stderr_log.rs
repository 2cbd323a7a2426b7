//! Copies the stderr of a stream's programs to the agent's log, with limits on the length and the number of lines.

use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::process::ChildStderr;
use tokio::sync::oneshot;
use tokio::time::{Instant, sleep};

/// The longest line that is logged whole, in bytes.
const LONGEST: usize = 1000;

/// How many lines are logged in a burst, and how often one more.
const BURST: u32 = 100;
const EACH: Duration = Duration::from_millis(100);

/// How long stderr is read after the program has ended: what it has started may keep stderr open for ever.
const GRACE: Duration = Duration::from_secs(1);

/// Reads a program's stderr until this is dropped, and for a moment longer.
#[derive(Debug)]
pub(in crate::agent) struct StderrLog {
    _dropped: oneshot::Sender<()>,
}

impl StderrLog {
    /// Logs the `stderr` of `program`, which was started for `stream`.
    pub(in crate::agent) fn start(program: &str, stream: &str, stderr: ChildStderr) -> Self {
        let (sender, dropped) = oneshot::channel::<()>();
        let prefix = format!("stream '{stream}': {program}");
        tokio::spawn(async move {
            tokio::select! {
                () = relay(stderr, |line| log::warn!("{prefix}: {line}")) => {}
                () = async { drop(dropped.await); sleep(GRACE).await } => {}
            }
        });
        Self { _dropped: sender }
    }
}

/// Passes the lines of `stderr` to `log` until it ends. It is read to the end, so that no writer blocks.
async fn relay(mut stderr: impl AsyncRead + Unpin, mut log: impl FnMut(&str)) {
    let (mut line, mut cut) = (Vec::new(), false);
    let mut rate = Rate { left: BURST, since: Instant::now(), dropped: 0 };
    let mut end = |line: &mut Vec<u8>, cut: &mut bool, rate: &mut Rate| {
        let text = String::from_utf8_lossy(line.trim_ascii_end());
        if !text.is_empty() && rate.allows() {
            if let Some(dropped) = rate.take_dropped() {
                log(&format!("({dropped} lines omitted)"));
            }
            log(&if *cut { format!("{text}…") } else { text.into_owned() });
        }
        (*line, *cut) = (Vec::new(), false);
    };
    let mut buffer = [0; 1024];
    // An error is an end.
    while let Ok(count @ 1..) = stderr.read(&mut buffer).await {
        for piece in buffer[..count].split_inclusive(|byte| *byte == b'\n') {
            let room = LONGEST - line.len();
            line.extend_from_slice(&piece[..piece.len().min(room)]);
            cut |= piece.trim_ascii_end().len() > room;
            if piece.ends_with(b"\n") {
                end(&mut line, &mut cut, &mut rate);
            }
        }
    }
    end(&mut line, &mut cut, &mut rate);
    if let Some(dropped) = rate.take_dropped() {
        log(&format!("({dropped} lines omitted)"));
    }
}

struct Rate {
    left: u32,
    since: Instant,
    dropped: u64,
}

impl Rate {
    fn allows(&mut self) -> bool {
        let new = u32::try_from(self.since.elapsed().as_millis() / EACH.as_millis()).unwrap_or(BURST);
        if new > 0 {
            (self.left, self.since) = (self.left.saturating_add(new).min(BURST), Instant::now());
        }
        let allows = self.left > 0;
        self.left = self.left.saturating_sub(1);
        self.dropped += u64::from(!allows);
        allows
    }

    fn take_dropped(&mut self) -> Option<u64> {
        Some(std::mem::take(&mut self.dropped)).filter(|dropped| *dropped > 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn relayed(text: &[u8]) -> Vec<String> {
        let mut lines = Vec::new();
        relay(text, |line| lines.push(line.to_owned())).await;
        lines
    }

    #[tokio::test(start_paused = true)]
    async fn long_lines_are_cut() {
        assert_eq!(relayed(b"a\r\n\n b\nlast \xff").await, ["a", " b", "last \u{fffd}"]);
        let long = relayed(&[&vec![b'x'; 1_000_000][..], b"\nnext"].concat()).await;
        assert_eq!(long, [format!("{}…", "x".repeat(LONGEST)), "next".into()]);
        assert_eq!(relayed(&[b'y'; LONGEST]).await, ["y".repeat(LONGEST)]);
    }

    #[tokio::test(start_paused = true)]
    async fn omitted_lines_are_counted() {
        let (mut write, read) = tokio::io::duplex(64);
        let flood = async move {
            use tokio::io::AsyncWriteExt;
            write.write_all("flood\n".repeat(100_000).as_bytes()).await.unwrap();
            tokio::time::sleep(Duration::from_secs(1)).await;
            write.write_all(b"after\n").await.unwrap();
        };
        let mut lines = Vec::new();
        tokio::join!(flood, relay(read, |line| lines.push(line.to_owned())));
        assert_eq!(lines.len(), BURST as usize + 2);
        assert_eq!(lines[lines.len() - 2..], ["(99900 lines omitted)", "after"]);
    }
}
