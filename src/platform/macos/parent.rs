//! The process that started this one.

use std::ffi::OsStr;
use std::future::pending;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::process::Stdio;

use nix::sys::event::{EvFlags, EventFilter, FilterFlag, KEvent, Kqueue};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, getppid};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::process::Command;

/// Nothing: macOS kills no process for that. launchd kills all that are left of a service.
pub(crate) fn die_with_it(_: bool) {}

pub(crate) struct Parent {
    pid: Pid,
    /// Becomes readable when the parent ends.
    end: OwnedFd,
}

impl Parent {
    /// The parent, unless it has ended or cannot be seen.
    pub(crate) fn find() -> Option<Self> {
        let pid = getppid()?;
        let number = pid.as_raw_nonzero().get().try_into().ok()?;
        let queue = Kqueue::new().ok()?;
        let exit = KEvent::new(
            number,
            EventFilter::EVFILT_PROC,
            EvFlags::EV_ADD | EvFlags::EV_ONESHOT,
            FilterFlag::NOTE_EXIT,
            0,
            0,
        );
        queue.kevent(&[exit], &mut [], None).ok()?;
        // Had the parent ended before, its pid could name another process by now.
        (getppid() == Some(pid)).then(|| Self { pid, end: queue.into() })
    }

    /// Which terminal the parent writes to is not known.
    pub(crate) fn shows_disconnect_on_our_stderr(&self) -> bool {
        false
    }

    /// Watches for the parent, if that is OpenSSH's client, to hand over to a child of its own. To be called while stdin is
    /// still the parent's.
    pub(crate) fn watch_hand_over(self) -> Option<HandOver> {
        let stdin = rustix::stdio::stdin().try_clone_to_owned().ok()?;
        Some(HandOver { parent: self, stdin })
    }

    /// Whether the parent is OpenSSH's client. No system call with a safe interface tells; ps does, if it is asked before the
    /// parent ends.
    async fn is_ssh(&self) -> bool {
        let mut ps = Command::new("/bin/ps");
        ps.args(["-o", "comm=", "-p", &self.pid.to_string()]).env_clear();
        let said = ps.stdin(Stdio::null()).stderr(Stdio::null()).kill_on_drop(true).output().await;
        let said = said.map(|said| said.stdout).unwrap_or_default();
        Path::new(String::from_utf8_lossy(&said).trim()).file_name() == Some(OsStr::new("ssh"))
    }
}

/// Tells when the parent has ended and left the other end of stdin to a child of its own, as `ssh -f` does.
pub(crate) struct HandOver {
    parent: Parent,
    stdin: OwnedFd,
}

impl HandOver {
    /// Resolves once the parent has handed over; never if it ends in another way.
    pub(crate) async fn done(self) {
        if !self.parent.is_ssh().await {
            return pending().await;
        }
        #[expect(deprecated, reason = "an OwnedFd keeps the promise that the unsafe successor asks for")]
        let end = AsyncFd::with_interest(self.parent.end, Interest::READABLE);
        let Ok(end) = end else { return pending().await };
        if end.readable().await.is_err() || is_closed(&self.stdin) {
            pending::<()>().await;
        }
    }
}

/// Whether no writer is left at the other end.
fn is_closed(stdin: &OwnedFd) -> bool {
    let mut polled = [PollFd::new(stdin, PollFlags::empty())];
    poll(&mut polled, Some(&Timespec::default())).is_ok()
        && polled[0].revents().intersects(PollFlags::HUP | PollFlags::ERR)
}
