//! stdin and stdout as a byte stream: through epoll where the kernel can wait for them, which is pipes and sockets.

use std::fs::File;
use std::future::pending;
use std::io::{self, IsTerminal, Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::fs::{FileType, OFlags, fcntl_getfl, fcntl_setfl, fstat};
use tokio::io::unix::AsyncFd;
use tokio::io::{AsyncRead, AsyncWrite, Interest, ReadBuf};
use tokio::time::sleep;

use crate::tunnel::Paced;

/// Capacity asked of the pipe on stdout: the more fits, the fewer wake-ups, as long as the processor's cache holds it.
const STDOUT_PIPE: usize = 256 * 1024;

/// The same of the pipe on stdin, first, and on a fast line.
const STDIN_PIPE: usize = 16 * 1024;
const LONG_STDIN_PIPE: usize = 64 * 1024;

/// How often a socket is looked at whose reader may have gone.
const LOOK: Duration = Duration::from_millis(250);

/// stdin.
#[derive(Debug)]
pub enum Input {
    Polled(Paced<Polled>),
    /// A file or a device that is always ready, which epoll refuses.
    Direct(File),
    /// A terminal: O_NONBLOCK on it would reach every other program that has it open.
    Terminal(tokio::io::Stdin),
}

/// stdout.
#[derive(Debug)]
pub enum Output {
    Polled(Polled),
    Direct(File),
    Terminal(tokio::io::Stdout),
}

/// Takes stdin and stdout over for the stream. From then on descriptors 0 and 1 are /dev/null, so that no stray print
/// can get into the stream and dropping the [`Output`] is what its reader sees as EOF.
///
/// # Errors
/// When the descriptors cannot be duplicated, or /dev/null cannot be opened.
pub fn take_stdio() -> io::Result<(Input, Output)> {
    let null = File::options().read(true).write(true).open("/dev/null")?;
    let input = if io::stdin().is_terminal() {
        Input::Terminal(tokio::io::stdin())
    } else {
        let fd = rustix::stdio::stdin().try_clone_to_owned()?;
        rustix::stdio::dup2_stdin(&null)?;
        resize(&fd, STDIN_PIPE);
        Input::new(fd)?
    };
    let output = if io::stdout().is_terminal() {
        Output::Terminal(tokio::io::stdout())
    } else {
        let fd = rustix::stdio::stdout().try_clone_to_owned()?;
        rustix::stdio::dup2_stdout(&null)?;
        resize(&fd, STDOUT_PIPE);
        Output::new(fd)?
    };
    Ok((input, output))
}

fn resize(pipe: impl AsFd, size: usize) {
    // Refused for what is no pipe, for less than waits in it, and beyond the user's limit: then it stays as it is.
    let _ = rustix::pipe::fcntl_setpipe_size(pipe, size);
}

fn lengthen(stdin: &Polled) {
    if let Some(fd) = &stdin.fd {
        resize(fd.get_ref(), LONG_STDIN_PIPE);
    }
}

/// A pipe or a socket, without blocking. Its flags are put back when it is dropped: somebody else may have it open.
#[derive(Debug)]
pub struct Polled {
    /// `None` once shut down.
    fd: Option<AsyncFd<OwnedFd>>,
    flags: OFlags,
    is_socket: bool,
}

impl Polled {
    /// `Err` gives the descriptor back when it is neither pipe nor socket.
    fn new(fd: OwnedFd) -> io::Result<Result<Self, OwnedFd>> {
        let kind = FileType::from_raw_mode(fstat(&fd)?.st_mode);
        if !matches!(kind, FileType::Fifo | FileType::Socket) {
            return Ok(Err(fd));
        }
        let flags = fcntl_getfl(&fd)?;
        fcntl_setfl(&fd, flags | OFlags::NONBLOCK)?;
        #[expect(deprecated, reason = "an OwnedFd keeps the promise that the unsafe successor asks for")]
        let fd = AsyncFd::new(fd)?;
        Ok(Ok(Self { fd: Some(fd), flags, is_socket: kind == FileType::Socket }))
    }

    fn open(&self) -> io::Result<&AsyncFd<OwnedFd>> {
        self.fd.as_ref().ok_or_else(|| io::ErrorKind::BrokenPipe.into())
    }

    fn poll_write(&self, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let fd = self.open()?;
        loop {
            let mut guard = ready!(fd.poll_write_ready(cx))?;
            if let Ok(result) = guard.try_io(|fd| rustix::io::write(fd, bytes).map_err(io::Error::from)) {
                return Poll::Ready(result);
            }
        }
    }

    /// For a pipe, EOF at its reader comes with the last descriptor; for a socket, which may be stdin too, by shutdown.
    fn close(&mut self) -> io::Result<()> {
        if let Some(fd) = &self.fd
            && self.is_socket
        {
            rustix::net::shutdown(fd.get_ref().as_fd(), rustix::net::Shutdown::Write)?;
        }
        self.restore();
        Ok(())
    }

    fn restore(&mut self) {
        if let Some(fd) = self.fd.take() {
            // Whoever shares the description may be gone with it; there is nothing to do about that.
            let _ = fcntl_setfl(fd.get_ref(), self.flags);
        }
    }
}

impl AsyncRead for Polled {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let fd = self.open()?;
        loop {
            let mut guard = ready!(fd.poll_read_ready(cx))?;
            let room = buf.initialize_unfilled();
            let wanted = room.len();
            match guard.try_io(|fd| rustix::io::read(fd, room).map_err(io::Error::from)) {
                Ok(result) => {
                    let count = result?;
                    // A short read has emptied the pipe: the next read need not ask the kernel to learn that.
                    if count > 0 && count < wanted {
                        guard.clear_ready();
                    }
                    buf.advance(count);
                    return Poll::Ready(Ok(()));
                }
                Err(_would_block) => {}
            }
        }
    }
}

impl Drop for Polled {
    fn drop(&mut self) {
        self.restore();
    }
}

impl Output {
    /// An output that is not a terminal. Needs a runtime.
    ///
    /// # Errors
    /// When the descriptor cannot be polled.
    pub fn new(fd: OwnedFd) -> io::Result<Self> {
        Ok(match Polled::new(fd)? {
            Ok(polled) => Self::Polled(polled),
            Err(fd) => Self::Direct(fd.into()),
        })
    }

    /// Whether nobody can read any more what would be written.
    pub fn is_broken(&self) -> bool {
        match self {
            Self::Polled(Polled { fd: Some(fd), .. }) => is_broken(fd.get_ref()),
            _ => false,
        }
    }

    /// As [`Self::is_broken`], for whoever watches while the output is in use. It has to be dropped before the output, whose
    /// reader would not see an end.
    ///
    /// # Errors
    /// When the descriptor cannot be duplicated.
    pub fn watch(&self) -> io::Result<OutputWatch> {
        Ok(match self {
            Self::Polled(Polled { fd: Some(fd), is_socket, .. }) => {
                let fd = fd.get_ref().try_clone()?;
                match is_socket {
                    true => OutputWatch::Socket(fd),
                    #[expect(deprecated, reason = "as in `Polled::new`")]
                    false => OutputWatch::Pipe(AsyncFd::with_interest(fd, Interest::READABLE)?),
                }
            }
            _ => OutputWatch::Whole,
        })
    }

    pub fn is_terminal(&self) -> bool {
        matches!(self, Self::Terminal(_))
    }
}

/// Tells when nobody reads an [`Output`] any more.
#[derive(Debug)]
pub enum OutputWatch {
    Pipe(AsyncFd<OwnedFd>),
    /// Which may be stdin, too, so that its readiness says nothing.
    Socket(OwnedFd),
    /// A file or a terminal.
    Whole,
}

impl OutputWatch {
    /// Whether nobody can read any more what would be written.
    pub fn is_broken(&self) -> bool {
        match self {
            Self::Pipe(fd) => is_broken(fd.get_ref()),
            Self::Socket(fd) => is_broken(fd),
            Self::Whole => false,
        }
    }

    /// Resolves once nobody can read any more what would be written. Cancel-safe.
    pub async fn broken(&self) {
        while !self.is_broken() {
            match self {
                // The writing end of a pipe becomes readable only by its error.
                Self::Pipe(fd) => match fd.readable().await {
                    Ok(mut ready) => ready.clear_ready(),
                    Err(_) => return,
                },
                Self::Socket(_) => sleep(LOOK).await,
                Self::Whole => pending().await,
            }
        }
    }
}

impl Input {
    /// An input that is not a terminal. Needs a runtime.
    ///
    /// # Errors
    /// When the descriptor cannot be polled.
    pub fn new(fd: OwnedFd) -> io::Result<Self> {
        Ok(match Polled::new(fd)? {
            Ok(polled) => Self::Polled(Paced::new(polled, lengthen)),
            Err(fd) => Self::Direct(fd.into()),
        })
    }

    /// For whoever watches while the input is in use.
    ///
    /// # Errors
    /// When the descriptor cannot be duplicated.
    pub fn watch(&self) -> io::Result<InputWatch> {
        Ok(InputWatch(match self {
            Self::Polled(paced) => {
                paced.get_ref().fd.as_ref().map(|fd| fd.get_ref().try_clone()).transpose()?
            }
            _ => None,
        }))
    }
}

/// Tells whether anybody can still write to an [`Input`].
#[derive(Debug)]
pub struct InputWatch(Option<OwnedFd>);

impl InputWatch {
    /// Whether all of its writers have gone, also where what they wrote has not been read yet.
    pub fn is_ended(&self) -> bool {
        self.0.as_ref().is_some_and(|fd| has(fd, PollFlags::RDHUP, PollFlags::HUP | PollFlags::RDHUP))
    }
}

fn is_broken(fd: &OwnedFd) -> bool {
    has(fd, PollFlags::empty(), PollFlags::ERR | PollFlags::HUP | PollFlags::NVAL)
}

/// Whether any of `flags` is so, of which `asked` are those that are not told without being asked for.
fn has(fd: &OwnedFd, asked: PollFlags, flags: PollFlags) -> bool {
    let mut ask = [PollFd::new(fd, asked)];
    let now = Timespec::default();
    rustix::event::poll(&mut ask, Some(&now)).is_ok() && ask[0].revents().intersects(flags)
}

impl AsyncRead for Input {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Polled(paced) => Pin::new(paced).poll_read(cx, buf),
            Self::Direct(file) => {
                let count = file.read(buf.initialize_unfilled())?;
                buf.advance(count);
                Poll::Ready(Ok(()))
            }
            Self::Terminal(stdin) => Pin::new(stdin).poll_read(cx, buf),
        }
    }
}

impl AsyncWrite for Output {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Polled(polled) => polled.poll_write(cx, bytes),
            Self::Direct(file) => Poll::Ready(file.write(bytes)),
            Self::Terminal(stdout) => Pin::new(stdout).poll_write(cx, bytes),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Terminal(stdout) => Pin::new(stdout).poll_flush(cx),
            Self::Polled(_) | Self::Direct(_) => Poll::Ready(Ok(())),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Polled(polled) => Poll::Ready(polled.close()),
            Self::Direct(_) => Poll::Ready(Ok(())),
            Self::Terminal(stdout) => Pin::new(stdout).poll_flush(cx),
        }
    }
}
