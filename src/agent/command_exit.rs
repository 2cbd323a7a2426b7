//! How the program behind a command target ended: an ordinary end of its stream, or a failure.

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

use super::said::Said;
use crate::platform::child::Group;

/// How long a program may take to end once its stream has.
const EXIT_LIMIT: Duration = Duration::from_secs(5);

/// How long its exit is waited for once it has closed stdout: the stream's end is to say how it went.
const STATUS_LIMIT: Duration = Duration::from_millis(250);

/// How long something that a program has started may go on with the stream's other end once the program itself has ended.
const GRACE: Duration = Duration::from_secs(1);

/// The program behind a stream, if the target is a command. Dropped, it is killed.
#[derive(Debug)]
pub(super) struct Process(Option<Running>);

#[derive(Debug)]
struct Running {
    exit: Exit,
    kill: oneshot::Sender<()>,
    /// What it says on stderr.
    _said: Option<Said>,
}

type Exit = watch::Receiver<Option<ExitStatus>>;

impl Process {
    /// Of a target that is no command.
    pub(super) fn none() -> Self {
        Self(None)
    }

    /// Looks after a program that was started with the far end of a socket as stdin and stdout, whose near end is `socket`.
    pub(super) fn watch<R, W>(
        mut child: Child,
        said: Option<Said>,
        socket: (R, W),
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
        let seen = Arc::new(Seen::default());
        let output =
            Output { inner: socket.0, exit: exit.clone(), seen: seen.clone(), left: None, ending: None };
        (output, Input { inner: socket.1, seen }, Self(Some(Running { exit, kill, _said: said })))
    }

    /// How the program ended, if it has.
    pub(super) fn status(&self) -> Option<ExitStatus> {
        self.0.as_ref().and_then(|running| *running.exit.borrow())
    }

    /// Waits for the program, whose stdin and stdout have ended, kills it if it stays, and logs how it ended.
    pub(super) async fn end(self, stream: &str) {
        let Some(Running { mut exit, kill, _said }) = self.0 else { return };
        if timeout(EXIT_LIMIT, exit.wait_for(Option::is_some)).await.is_err() {
            log::warn!(
                "stream '{stream}': the target command did not end within {} s of its stream, and is killed",
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

/// What was seen of a program's stdin and stdout.
#[derive(Debug, Default)]
struct Seen {
    said: AtomicBool,
    heard: AtomicBool,
    /// It ended with something unread.
    unread: AtomicBool,
    /// The end of what it says has been passed on.
    over: AtomicBool,
}

impl Seen {
    /// Whether an exit status other than 0 is a failure. `sshd -i` ends with 255 after ordinary sessions.
    fn is_idle(&self) -> bool {
        !self.said.load(Relaxed) && (!self.heard.load(Relaxed) || self.unread.load(Relaxed))
    }
}

/// What a program writes.
pub(super) struct Output<R> {
    inner: R,
    exit: Exit,
    seen: Arc<Seen>,
    /// Resolves once it has ended and there is nothing more to read.
    left: Option<Pin<Box<dyn Future<Output = ()> + Send>>>,
    /// The wait for its exit, once it has closed stdout.
    ending: Option<Pin<Box<dyn Future<Output = Option<ExitStatus>> + Send>>>,
}

impl<R: AsyncRead + Unpin> AsyncRead for Output<R> {
    /// Fails at the end if the program did: if it died of a signal, or had said nothing, and not read what it was told, when
    /// it ended with a status other than 0.
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if this.ending.is_none() {
            let before = buf.filled().len();
            match Pin::new(&mut this.inner).poll_read(cx, buf) {
                Poll::Ready(Ok(())) if buf.filled().len() > before => {
                    this.seen.said.store(true, Relaxed);
                    this.left = None;
                    return Poll::Ready(Ok(()));
                }
                // A program that ends with something unread resets its socket.
                Poll::Ready(Err(error)) if error.kind() == io::ErrorKind::ConnectionReset => {
                    this.seen.unread.store(true, Relaxed);
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
        // For whoever reads again.
        this.ending = Some(Box::pin(std::future::ready(status)));
        this.seen.over.store(true, Relaxed);
        let has_failed = |status: ExitStatus| match status.code() {
            Some(code) => code != 0 && this.seen.is_idle(),
            None => true,
        };
        Poll::Ready(match status.filter(|status| has_failed(*status)) {
            Some(status) => Err(io::Error::other(format!("its command ended: {status}"))),
            None => Ok(()),
        })
    }
}

/// What a program reads.
pub(super) struct Input<W> {
    inner: W,
    seen: Arc<Seen>,
}

impl<W: AsyncWrite + Unpin> AsyncWrite for Input<W> {
    /// What a program that has ended does not read is dropped until its own end has been passed on, for that says how the
    /// stream ended.
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        match ready!(Pin::new(&mut this.inner).poll_write(cx, bytes)) {
            Ok(count) => {
                this.seen.heard.fetch_or(count > 0, Relaxed);
                Poll::Ready(Ok(count))
            }
            Err(error) if this.seen.over.load(Relaxed) => Poll::Ready(Err(error)),
            Err(error)
                if matches!(error.kind(), io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset) =>
            {
                this.seen.unread.fetch_or(error.kind() == io::ErrorKind::ConnectionReset, Relaxed);
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
