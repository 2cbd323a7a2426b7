//! The process that started this one.

use std::fs::{self, Metadata};
use std::future::pending;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{Stat, fstat};
use rustix::process::{Pid, PidfdFlags, Signal, getppid, pidfd_open, set_parent_process_death_signal};
use tokio::io::unix::AsyncFd;

/// Whether the kernel kills this process when its parent ends.
pub(crate) fn die_with_it(dies: bool) {
    // It fails for an invalid signal alone.
    let _ = set_parent_process_death_signal(dies.then_some(Signal::KILL));
}

pub(crate) struct Parent {
    pid: Pid,
    /// Becomes readable when the parent ends.
    pidfd: OwnedFd,
}

impl Parent {
    /// The parent, unless it has ended or cannot be seen.
    pub(crate) fn find() -> Option<Self> {
        let pid = getppid()?;
        let pidfd = pidfd_open(pid, PidfdFlags::empty()).ok()?;
        // Had the parent ended before, its pid could name another process by now.
        (getppid() == Some(pid)).then_some(Self { pid, pidfd })
    }

    /// Whether the parent is OpenSSH's client.
    fn is_ssh(&self) -> bool {
        let program = fs::read_link(self.proc("exe")).unwrap_or_default();
        let name = program.file_name().unwrap_or_default().to_string_lossy();
        // The kernel adds the suffix when the program was replaced, as by an upgrade.
        name.trim_end_matches(" (deleted)") == "ssh"
    }

    /// Whether the parent is an ssh that prints an in-band disconnect message on the terminal that is also our stderr.
    pub(crate) fn shows_disconnect_on_our_stderr(&self) -> bool {
        let Ok(stderr) = fstat(rustix::stdio::stderr()) else { return false };
        let has_our_stderr = fs::metadata(self.proc("fd/2")).is_ok_and(|its| is_same(&its, &stderr));
        has_our_stderr
            && rustix::termios::isatty(rustix::stdio::stderr())
            && self.is_ssh()
            && !self.may_be_quiet()
    }

    /// Whether a word of the parent's command line may silence it, as the -q that scp passes to ssh, or send its
    /// messages elsewhere: -E to a file, -y to the system log.
    fn may_be_quiet(&self) -> bool {
        let words = fs::read(self.proc("cmdline")).unwrap_or_default().to_ascii_lowercase();
        let is_flags = |word: &[u8]| word.starts_with(b"-") && word[1..].iter().all(u8::is_ascii_alphabetic);
        words.split(|byte| *byte == 0).any(|word| {
            let has = |flag| is_flags(word) && word.contains(&flag);
            // Lower case makes -E and -e the same: the reason is then printed twice, which does no harm.
            b"qye".iter().any(|flag| has(*flag))
                || word.windows(5).any(|part| part == b"quiet" || part == b"fatal")
        })
    }

    /// Watches for the parent, if that is OpenSSH's client, to hand over to a child of its own. To be called while stdin is
    /// still the parent's.
    pub(crate) fn watch_hand_over(self) -> Option<HandOver> {
        if !self.is_ssh() {
            return None;
        }
        let stdin = rustix::stdio::stdin().try_clone_to_owned().ok()?;
        Some(HandOver { pidfd: self.pidfd, stdin })
    }

    fn proc(&self, name: &str) -> PathBuf {
        format!("/proc/{}/{name}", self.pid).into()
    }
}

/// Tells when the parent has ended and left the other end of stdin to a child of its own, as `ssh -f` does.
pub(crate) struct HandOver {
    pidfd: OwnedFd,
    stdin: OwnedFd,
}

impl HandOver {
    /// Resolves once the parent has handed over; never if it ends in another way.
    pub(crate) async fn done(self) {
        #[expect(deprecated, reason = "an OwnedFd keeps the promise that the unsafe successor asks for")]
        let end = AsyncFd::new(self.pidfd);
        let Ok(end) = end else { return pending().await };
        if end.readable().await.is_err() || is_closed(&self.stdin) {
            pending::<()>().await;
        }
    }
}

fn is_same(metadata: &Metadata, file: &Stat) -> bool {
    (metadata.dev(), metadata.ino()) == (file.st_dev, file.st_ino)
}

/// Whether no writer is left at the other end.
fn is_closed(fd: impl AsFd) -> bool {
    let mut polled = [PollFd::new(&fd, PollFlags::empty())];
    poll(&mut polled, Some(&Timespec::default())).is_ok()
        && polled[0].revents().intersects(PollFlags::HUP | PollFlags::ERR)
}
