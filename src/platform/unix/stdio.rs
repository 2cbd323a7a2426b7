//! stdin and stdout as a byte stream. Pipes and sockets are polled; files and terminals cannot be.

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

use crate::platform::auto_tuned::AutoTuned;
use crate::platform::extra::pipe::{RDHUP, set_capacity};

/// The capacity of the pipe on stdout, in bytes: a larger one saves wake-ups as long as it fits the processor's cache.
const STDOUT_PIPE: usize = 256 * 1024;

/// The capacity of the pipe on stdin, in bytes: at first, and for a fast connection.
const STDIN_PIPE: usize = 16 * 1024;
const LARGE_STDIN_PIPE: usize = 64 * 1024;

/// How often a socket is checked for a reader.
const CHECK_EVERY: Duration = Duration::from_millis(250);

/// Points stderr at /dev/null if it is a pipe or a socket, whose reader would otherwise wait for its end; a terminal or a
/// file has no such reader. Returns whether it did.
pub fn release_stderr() -> bool {
    let has_reader = fstat(rustix::stdio::stderr()).is_ok_and(|stderr| {
        matches!(FileType::from_raw_mode(stderr.st_mode), FileType::Fifo | FileType::Socket)
    });
    let null = has_reader.then(|| File::options().write(true).open("/dev/null").ok()).flatten();
    null.is_some_and(|null| rustix::stdio::dup2_stderr(null).is_ok())
}

/// Another handle of stdout, for writing to it as to a file.
///
/// # Errors
/// When the descriptor cannot be duplicated.
pub fn stdout_file() -> io::Result<File> {
    Ok(io::stdout().as_fd().try_clone_to_owned()?.into())
}

/// Whether `file` takes bytes at once: always for a regular file, for a pipe while its reader keeps up.
///
/// # Errors
/// When the system cannot tell.
pub fn is_writable_now(file: &File) -> io::Result<bool> {
    let mut polled = [PollFd::new(file, PollFlags::OUT)];
    Ok(rustix::event::poll(&mut polled, Some(&Timespec::default()))? > 0)
}

/// stdin.
#[derive(Debug)]
pub enum Input {
    Polled(AutoTuned<Polled>),
    /// A file or a device that is always ready. epoll refuses it.
    Direct(File),
    /// A terminal. O_NONBLOCK would also apply to every other program that has it open.
    Terminal(tokio::io::Stdin),
}

/// stdout.
#[derive(Debug)]
pub enum Output {
    Polled(Polled),
    Direct(File),
    Terminal(tokio::io::Stdout),
}

/// Takes over stdin and stdout. Descriptors 0 and 1 become /dev/null, so that no stray print ends up in the stream, and
/// the reader of stdout sees EOF when the [`Output`] is dropped.
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
        set_capacity(&fd, STDIN_PIPE);
        Input::new(fd)?
    };
    let output = if io::stdout().is_terminal() {
        Output::Terminal(tokio::io::stdout())
    } else {
        let fd = rustix::stdio::stdout().try_clone_to_owned()?;
        rustix::stdio::dup2_stdout(&null)?;
        set_capacity(&fd, STDOUT_PIPE);
        Output::new(fd)?
    };
    Ok((input, output))
}

fn grow(stdin: &Polled) {
    if let Some(fd) = &stdin.fd {
        set_capacity(fd.get_ref(), LARGE_STDIN_PIPE);
    }
}

/// A non-blocking pipe or socket. Dropping it restores the flags, since another process may have it open.
#[derive(Debug)]
pub struct Polled {
    /// `None` once shut down.
    fd: Option<AsyncFd<OwnedFd>>,
    flags: OFlags,
    is_socket: bool,
}

impl Polled {
    /// `Err` returns a descriptor that is neither a pipe nor a socket.
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

    /// Makes the reader see EOF: closing the last descriptor does for a pipe, and shutdown for a socket, which may be stdin
    /// as well.
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
            // If it fails, no other process has it open any more.
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
                    // A short read has emptied the pipe: this saves the read that would find it empty.
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

    /// Whether the reader has gone.
    pub fn is_broken(&self) -> bool {
        match self {
            Self::Polled(Polled { fd: Some(fd), .. }) => is_broken(fd.get_ref()),
            _ => false,
        }
    }

    /// Watches for the reader to go while the output is in use. It must be dropped before the output, or the reader would
    /// see no EOF.
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

/// Tells when the reader of an [`Output`] has gone.
#[derive(Debug)]
pub enum OutputWatch {
    Pipe(AsyncFd<OwnedFd>),
    /// It may be stdin as well, so that its readiness means nothing.
    Socket(OwnedFd),
    /// A file or a terminal.
    Whole,
}

impl OutputWatch {
    /// Whether the reader has gone.
    pub fn is_broken(&self) -> bool {
        match self {
            Self::Pipe(fd) => is_broken(fd.get_ref()),
            Self::Socket(fd) => is_broken(fd),
            Self::Whole => false,
        }
    }

    /// Resolves once the reader has gone. Cancel-safe.
    pub async fn broken(&self) {
        while !self.is_broken() {
            match self {
                // The writing end of a pipe becomes readable only when the reader has gone.
                Self::Pipe(fd) => match fd.readable().await {
                    Ok(mut ready) => ready.clear_ready(),
                    Err(_) => return,
                },
                Self::Socket(_) => sleep(CHECK_EVERY).await,
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
            Ok(polled) => Self::Polled(AutoTuned::new(polled, grow)),
            Err(fd) => Self::Direct(fd.into()),
        })
    }

    pub fn is_terminal(&self) -> bool {
        matches!(self, Self::Terminal(_))
    }

    /// Watches for the writers to go while the input is in use.
    ///
    /// # Errors
    /// When the descriptor cannot be duplicated.
    pub fn watch(&self) -> io::Result<InputWatch> {
        Ok(InputWatch(match self {
            Self::Polled(polled) => {
                polled.get_ref().fd.as_ref().map(|fd| fd.get_ref().try_clone()).transpose()?
            }
            _ => None,
        }))
    }
}

/// Tells whether the writers of an [`Input`] have gone.
#[derive(Debug)]
pub struct InputWatch(Option<OwnedFd>);

impl InputWatch {
    /// Whether all writers have gone, even if not all they wrote has been read.
    pub fn is_ended(&self) -> bool {
        self.0.as_ref().is_some_and(|fd| has(fd, RDHUP, PollFlags::HUP | RDHUP))
    }
}

fn is_broken(fd: &OwnedFd) -> bool {
    has(fd, PollFlags::empty(), PollFlags::ERR | PollFlags::HUP | PollFlags::NVAL)
}

/// Whether polling shows any of `flags`. `requested` are those of them that poll reports only on request.
fn has(fd: &OwnedFd, requested: PollFlags, flags: PollFlags) -> bool {
    let mut polled = [PollFd::new(fd, requested)];
    let now = Timespec::default();
    rustix::event::poll(&mut polled, Some(&now)).is_ok() && polled[0].revents().intersects(flags)
}

impl AsyncRead for Input {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Polled(polled) => Pin::new(polled).poll_read(cx, buf),
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
