//! What the programs of streams say on stderr, in the agent's log: in lines of a bounded length, and not too many.

use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::process::ChildStderr;
use tokio::sync::oneshot;
use tokio::time::{Instant, sleep};

/// The longest line that is shown whole, in bytes.
const LONGEST: usize = 1000;

/// How many lines may come at once, and how soon there may be another.
const AT_ONCE: u32 = 100;
const EACH: Duration = Duration::from_millis(100);

/// How long a program may be silent about its end: what it has started may hold its stderr for ever.
const GRACE: Duration = Duration::from_secs(1);

/// A program's stderr is read while this lives, and for a moment longer.
#[derive(Debug)]
pub(super) struct Said {
    _lives: oneshot::Sender<()>,
}

impl Said {
    /// Logs what comes from `stderr`, which is that of `program`, started for `stream`.
    pub(super) fn by(program: &str, stream: &str, stderr: ChildStderr) -> Self {
        let (lives, ended) = oneshot::channel::<()>();
        let by = format!("stream '{stream}': {program}");
        tokio::spawn(async move {
            tokio::select! {
                () = relay(stderr, |line| log::warn!("{by}: {line}")) => {}
                () = async { drop(ended.await); sleep(GRACE).await } => {}
            }
        });
        Self { _lives: lives }
    }
}

/// Gives the lines of `stderr` to `log` until it ends. All of it is read, so that nobody who writes there is held up.
async fn relay(mut stderr: impl AsyncRead + Unpin, mut log: impl FnMut(&str)) {
    let (mut line, mut cut) = (Vec::new(), false);
    let mut rate = Rate { left: AT_ONCE, since: Instant::now(), dropped: 0 };
    let mut end = |line: &mut Vec<u8>, cut: &mut bool, rate: &mut Rate| {
        let text = String::from_utf8_lossy(line.trim_ascii_end());
        if !text.is_empty() && rate.allows() {
            if let Some(dropped) = rate.take_dropped() {
                log(&format!("({dropped} lines are left out)"));
            }
            log(&if *cut { format!("{text}…") } else { text.into_owned() });
        }
        (*line, *cut) = (Vec::new(), false);
    };
    let mut buffer = [0; 1024];
    // What cannot be read is at its end.
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
        log(&format!("({dropped} lines are left out)"));
    }
}

struct Rate {
    left: u32,
    since: Instant,
    dropped: u64,
}

impl Rate {
    fn allows(&mut self) -> bool {
        let new = u32::try_from(self.since.elapsed().as_millis() / EACH.as_millis()).unwrap_or(AT_ONCE);
        if new > 0 {
            (self.left, self.since) = (self.left.saturating_add(new).min(AT_ONCE), Instant::now());
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
    async fn lines_are_whole_and_bounded() {
        assert_eq!(relayed(b"a\r\n\n b\nlast \xff").await, ["a", " b", "last \u{fffd}"]);
        let long = relayed(&[&vec![b'x'; 1_000_000][..], b"\nnext"].concat()).await;
        assert_eq!(long, [format!("{}…", "x".repeat(LONGEST)), "next".into()]);
        assert_eq!(relayed(&[b'y'; LONGEST]).await, ["y".repeat(LONGEST)]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_flood_is_counted_and_ends() {
        let (mut write, read) = tokio::io::duplex(64);
        let flood = async move {
            use tokio::io::AsyncWriteExt;
            write.write_all("flood\n".repeat(100_000).as_bytes()).await.unwrap();
            tokio::time::sleep(Duration::from_secs(1)).await;
            write.write_all(b"after\n").await.unwrap();
        };
        let mut lines = Vec::new();
        tokio::join!(flood, relay(read, |line| lines.push(line.to_owned())));
        assert_eq!(lines.len(), AT_ONCE as usize + 2);
        assert_eq!(lines[lines.len() - 2..], ["(99900 lines are left out)", "after"]);
    }
}
