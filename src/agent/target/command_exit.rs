//! The program of a command target, and whether its exit is an ordinary end of the stream or a failure.

use std::io;
use std::pin::Pin;
use std::process::ExitStatus;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::process::Child;
use tokio::sync::{oneshot, watch};
use tokio::time::{sleep, timeout};

use super::stderr_log::StderrLog;
use crate::platform::child::Group;

/// How long a program may take to exit once its stream has ended.
const EXIT_LIMIT: Duration = Duration::from_secs(5);

/// How long the stream's end waits for the exit status once the program has closed stdout.
const STATUS_LIMIT: Duration = Duration::from_millis(250);

/// How long another process may keep the stream open once the program that started it has exited.
const GRACE: Duration = Duration::from_secs(1);

/// The program of a stream, if its target is a command. Dropping this kills it.
#[derive(Debug)]
pub(in crate::agent) struct Process(Option<Running>);

#[derive(Debug)]
struct Running {
    exit: Exit,
    kill: oneshot::Sender<()>,
    _stderr: Option<StderrLog>,
}

type Exit = watch::Receiver<Option<ExitStatus>>;

impl Process {
    /// For a target that is not a command.
    pub(super) fn none() -> Self {
        Self(None)
    }

    /// Watches a program whose stdin and stdout are the other end of `stdio`.
    pub(super) fn watch<R, W>(
        mut child: Child,
        stderr: Option<StderrLog>,
        stdio: (R, W),
    ) -> (Output<R>, Input<W>, Self) {
        let (tell, exit) = watch::channel(None);
        let (kill, killed) = oneshot::channel::<()>();
        let group = Group::of(&child);
        tokio::spawn(async move {
            let status = tokio::select! {
                status = child.wait() => status,
                _ = killed => {
                    if let Some(group) = group {
                        group.kill();
                    }
                    // It may have ended just now.
                    let _ = child.start_kill();
                    child.wait().await
                }
            };
            match status {
                Ok(status) => drop(tell.send(Some(status))),
                Err(error) => log::warn!("target command: {error}"),
            }
        });
        let activity = Arc::new(Activity::default());
        let output = Output {
            inner: stdio.0,
            exit: exit.clone(),
            activity: activity.clone(),
            left: None,
            ending: None,
        };
        (output, Input { inner: stdio.1, activity }, Self(Some(Running { exit, kill, _stderr: stderr })))
    }

    /// The exit status, if the program has exited.
    pub(in crate::agent) fn status(&self) -> Option<ExitStatus> {
        self.0.as_ref().and_then(|running| *running.exit.borrow())
    }

    /// Waits for the program, whose stdin and stdout have ended, kills it if it does not exit, and logs its exit status.
    pub(in crate::agent) async fn end(self, stream: &str) {
        let Some(Running { mut exit, kill, _stderr }) = self.0 else { return };
        if timeout(EXIT_LIMIT, exit.wait_for(Option::is_some)).await.is_err() {
            log::warn!(
                "stream '{stream}': the target command is still running {} s after the end of its stream: killing it",
                EXIT_LIMIT.as_secs()
            );
            drop(kill);
            let _ = timeout(EXIT_LIMIT, exit.wait_for(Option::is_some)).await;
        }
        if let Some(status) = *exit.borrow() {
            log::info!("stream '{stream}': the target command ended: {status}");
        }
    }
}

/// The state of the program's stdin and stdout.
#[derive(Debug, Default)]
struct Activity {
    has_written: AtomicBool,
    /// It was sent input.
    has_input: AtomicBool,
    /// It exited with input unread.
    left_unread: AtomicBool,
    /// The end of its output has been passed on.
    output_ended: AtomicBool,
}

impl Activity {
    /// Whether the program did nothing: then an exit status other than 0 is a failure. `sshd -i` exits with 255 after
    /// ordinary sessions.
    fn is_none(&self) -> bool {
        !self.has_written.load(Relaxed) && (!self.has_input.load(Relaxed) || self.left_unread.load(Relaxed))
    }
}

/// The program's output.
pub(super) struct Output<R> {
    inner: R,
    exit: Exit,
    activity: Arc<Activity>,
    /// Resolves a moment after the exit, while nothing can be read.
    left: Option<Pin<Box<dyn Future<Output = ()> + Send>>>,
    /// Waits for the exit status, once the output has ended.
    ending: Option<Pin<Box<dyn Future<Output = Option<ExitStatus>> + Send>>>,
}

impl<R: AsyncRead + Unpin> AsyncRead for Output<R> {
    /// Fails at the end if the program failed: if a signal killed it, or if it exited with a status other than 0 without
    /// having written anything, or read its input.
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if this.ending.is_none() {
            let before = buf.filled().len();
            match Pin::new(&mut this.inner).poll_read(cx, buf) {
                Poll::Ready(Ok(())) if buf.filled().len() > before => {
                    this.activity.has_written.store(true, Relaxed);
                    this.left = None;
                    return Poll::Ready(Ok(()));
                }
                // The socket of a program that exits with input unread is reset.
                Poll::Ready(Err(error)) if error.kind() == io::ErrorKind::ConnectionReset => {
                    this.activity.left_unread.store(true, Relaxed);
                }
                Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                Poll::Ready(_) => {}
                Poll::Pending => {
                    let mut exit = this.exit.clone();
                    let left = this.left.get_or_insert_with(|| {
                        Box::pin(async move {
                            let _ = exit.wait_for(Option::is_some).await;
                            sleep(GRACE).await;
                        })
                    });
                    ready!(left.as_mut().poll(cx));
                }
            }
        }
        let exit = &this.exit;
        let ending = this.ending.get_or_insert_with(|| {
            let mut exit = exit.clone();
            Box::pin(async move {
                timeout(STATUS_LIMIT, exit.wait_for(Option::is_some)).await.ok()?.ok().and_then(|exit| *exit)
            })
        });
        let status = ready!(ending.as_mut().poll(cx));
        // For the next read.
        this.ending = Some(Box::pin(std::future::ready(status)));
        this.activity.output_ended.store(true, Relaxed);
        let has_failed = |status: ExitStatus| match status.code() {
            Some(code) => code != 0 && this.activity.is_none(),
            None => true,
        };
        Poll::Ready(match status.filter(|status| has_failed(*status)) {
            Some(status) => Err(io::Error::other(format!("its command ended: {status}"))),
            None => Ok(()),
        })
    }
}

/// The program's input.
pub(super) struct Input<W> {
    inner: W,
    activity: Arc<Activity>,
}

impl<W: AsyncWrite + Unpin> AsyncWrite for Input<W> {
    /// Drops what a program that has exited does not read, until the end of its output has been passed on: that tells how
    /// the stream ended.
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        match ready!(Pin::new(&mut this.inner).poll_write(cx, bytes)) {
            Ok(count) => {
                this.activity.has_input.fetch_or(count > 0, Relaxed);
                Poll::Ready(Ok(count))
            }
            Err(error) if this.activity.output_ended.load(Relaxed) => Poll::Ready(Err(error)),
            Err(error)
                if matches!(error.kind(), io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset) =>
            {
                this.activity.left_unread.fetch_or(error.kind() == io::ErrorKind::ConnectionReset, Relaxed);
                Poll::Ready(Ok(bytes.len()))
            }
            Err(error) => Poll::Ready(Err(error)),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().inner).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().inner).poll_shutdown(cx)
    }
}
