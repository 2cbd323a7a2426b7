//! The process that started this one, as Linux shows it. Where it cannot be seen, nothing is known of it.

use std::fs::{self, Metadata};
use std::future::pending;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{Stat, fstat};
use rustix::process::{Pid, PidfdFlags, getppid, pidfd_open};
use tokio::io::unix::AsyncFd;

pub(crate) struct Parent {
    pid: Pid,
    /// Readable once it has ended.
    end: OwnedFd,
}

impl Parent {
    pub(crate) fn find() -> Option<Self> {
        let pid = getppid()?;
        let end = pidfd_open(pid, PidfdFlags::empty()).ok()?;
        // Had it ended before, its number could be another process's by now.
        (getppid() == Some(pid)).then_some(Self { pid, end })
    }

    pub(crate) fn is_ssh(&self) -> bool {
        let program = fs::read_link(self.proc("exe")).unwrap_or_default();
        let name = program.file_name().unwrap_or_default().to_string_lossy();
        // So the kernel calls a program that was replaced since.
        name.trim_end_matches(" (deleted)") == "ssh"
    }

    /// Whether it is an ssh that shows what our stdout has to say on the terminal that is our stderr.
    pub(crate) fn speaks_where_we_do(&self) -> bool {
        let Ok(stderr) = fstat(rustix::stdio::stderr()) else { return false };
        let has_our_stderr = fs::metadata(self.proc("fd/2")).is_ok_and(|its| is_same(&its, &stderr));
        has_our_stderr
            && rustix::termios::isatty(rustix::stdio::stderr())
            && self.is_ssh()
            && !self.may_be_quiet()
    }

    /// Whether a word of its command line looks as if it were to show nothing, as scp's -q makes ssh's, or to show it
    /// elsewhere: -E in a file, -y in the system's log.
    fn may_be_quiet(&self) -> bool {
        let words = fs::read(self.proc("cmdline")).unwrap_or_default().to_ascii_lowercase();
        let is_flags = |word: &[u8]| word.starts_with(b"-") && word[1..].iter().all(u8::is_ascii_alphabetic);
        words.split(|byte| *byte == 0).any(|word| {
            let has = |flag| is_flags(word) && word.contains(&flag);
            // In lower case, -E is -e, too: then the reason is told twice, which does no harm.
            b"qye".iter().any(|flag| has(*flag))
                || word.windows(5).any(|part| part == b"quiet" || part == b"fatal")
        })
    }

    /// Resolves once it has ended and left the other end of `stdin` to a child of its own, as `ssh -f` does.
    pub(crate) async fn hands_over(self, stdin: OwnedFd) {
        #[expect(deprecated, reason = "an OwnedFd keeps the promise that the unsafe successor asks for")]
        let end = AsyncFd::new(self.end);
        let Ok(end) = end else { return pending().await };
        if end.readable().await.is_err() || is_closed(&stdin) {
            pending::<()>().await;
        }
    }

    fn proc(&self, name: &str) -> PathBuf {
        format!("/proc/{}/{name}", self.pid).into()
    }
}

fn is_same(metadata: &Metadata, file: &Stat) -> bool {
    (metadata.dev(), metadata.ino()) == (file.st_dev, file.st_ino)
}

/// Whether nobody is left who could write to the other end.
fn is_closed(fd: impl AsFd) -> bool {
    let mut ask = [PollFd::new(&fd, PollFlags::empty())];
    poll(&mut ask, Some(&Timespec::default())).is_ok()
        && ask[0].revents().intersects(PollFlags::HUP | PollFlags::ERR)
}
