//! stdin and stdout as a byte stream. They may be named pipes, overlapped ones too, anonymous pipes or files: a thread
//! reads or writes each, because no system call covers them all.

use std::fs::File;
use std::io::{self, IsTerminal};
use std::os::windows::io::AsHandle;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use filedescriptor::{FileDescriptor, StdioDescriptor};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::sleep;

use super::blocking::{Reader, Writer, WriterWatch};

/// How often stdout is checked for a reader.
const CHECK_EVERY: Duration = Duration::from_millis(250);

/// The first bytes of an SSH client.
const SSH: &[u8] = b"SSH-";

/// Does nothing: no ssh on Windows goes on as another process.
pub fn release_stderr() -> bool {
    false
}

/// Another handle of stdout, for writing to it as to a file.
///
/// # Errors
/// When the handle cannot be duplicated.
pub fn stdout_file() -> io::Result<File> {
    Ok(io::stdout().as_handle().try_clone_to_owned()?.into())
}

/// Whether `file` takes bytes at once, which Windows does not tell: always true.
///
/// # Errors
/// None.
pub fn is_writable_now(_: &File) -> io::Result<bool> {
    Ok(true)
}

/// stdin.
#[derive(Debug)]
pub enum Input {
    Pipe(InputPipe),
    Terminal(tokio::io::Stdin),
}

/// A stdin that is not a terminal.
#[derive(Debug)]
pub struct InputPipe {
    reader: Reader,
    /// The first bytes, as far as they are those of an SSH client.
    begun: usize,
    caller: Arc<Caller>,
}

/// What stdin tells of the program behind it.
#[derive(Debug, Default)]
struct Caller {
    /// It began as an SSH client does.
    is_ssh: AtomicBool,
    /// It has closed stdin.
    has_ended: Arc<AtomicBool>,
}

impl Caller {
    /// Whether it reads stdout no more, as far as stdin tells: an SSH client never closes one direction alone.
    fn has_gone(&self) -> bool {
        self.is_ssh.load(Relaxed) && self.has_ended.load(Relaxed)
    }
}

/// stdout.
#[derive(Debug)]
pub enum Output {
    Pipe(OutputPipe),
    Terminal(tokio::io::Stdout),
}

/// A stdout that is not a terminal.
#[derive(Debug)]
pub struct OutputPipe {
    writer: Writer,
    caller: Arc<Caller>,
}

impl OutputPipe {
    fn watch(&self) -> PipeWatch {
        PipeWatch { writer: self.writer.watch(), caller: self.caller.clone() }
    }
}

/// Takes over stdin and stdout. The standard handles become those of NUL, so that no stray print ends up in the stream, and
/// the reader of stdout sees EOF when the [`Output`] is shut down or dropped.
///
/// # Errors
/// When the handles cannot be duplicated, or NUL cannot be opened.
pub fn take_stdio() -> io::Result<(Input, Output)> {
    let (input, caller) = if io::stdin().is_terminal() {
        (Input::Terminal(tokio::io::stdin()), Arc::default())
    } else {
        let reader = Reader::start(take(StdioDescriptor::Stdin)?)?;
        let caller = Arc::new(Caller { has_ended: reader.ended(), ..Caller::default() });
        (Input::Pipe(InputPipe { reader, begun: 0, caller: caller.clone() }), caller)
    };
    let output = if io::stdout().is_terminal() {
        Output::Terminal(tokio::io::stdout())
    } else {
        Output::Pipe(OutputPipe { writer: Writer::start(take(StdioDescriptor::Stdout)?)?, caller })
    };
    Ok((input, output))
}

/// The only handle of stdin or stdout, which NUL replaces.
fn take(which: StdioDescriptor) -> io::Result<File> {
    let null = File::options().read(true).write(true).open("NUL")?;
    let original = FileDescriptor::redirect_stdio(&null, which).map_err(io::Error::other)?;
    original.as_file().map_err(io::Error::other)
}

impl Input {
    /// Watches for the writers to go while the input is in use.
    ///
    /// # Errors
    /// None.
    pub fn watch(&self) -> io::Result<InputWatch> {
        Ok(InputWatch(match self {
            Self::Pipe(pipe) => Some(pipe.reader.ended()),
            Self::Terminal(_) => None,
        }))
    }

    pub fn is_terminal(&self) -> bool {
        matches!(self, Self::Terminal(_))
    }
}

/// Tells whether the writers of an [`Input`] have gone.
#[derive(Debug)]
pub struct InputWatch(Option<Arc<AtomicBool>>);

impl InputWatch {
    /// Whether all writers have gone, even if not all they wrote has been read.
    pub fn is_ended(&self) -> bool {
        self.0.as_ref().is_some_and(|ended| ended.load(Relaxed))
    }
}

impl AsyncRead for InputPipe {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let before = buf.filled().len();
        ready!(Pin::new(&mut this.reader).poll_read(cx, buf))?;
        let read = &buf.filled()[before..];
        if let Some(expected) = SSH.get(this.begun..).filter(|expected| !expected.is_empty()) {
            let count = expected.len().min(read.len());
            // Another beginning leaves it beyond the end for good.
            this.begun = if expected[..count] == read[..count] { this.begun + count } else { usize::MAX };
            this.caller.is_ssh.store(this.begun == SSH.len(), Relaxed);
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncRead for Input {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Pipe(pipe) => Pin::new(pipe).poll_read(cx, buf),
            Self::Terminal(stdin) => Pin::new(stdin).poll_read(cx, buf),
        }
    }
}

impl Output {
    /// Whether the reader has gone, as far as Windows tells: a write has failed, or an SSH client has closed stdin.
    pub fn is_broken(&self) -> bool {
        match self {
            Self::Pipe(pipe) => pipe.watch().is_broken(),
            Self::Terminal(_) => false,
        }
    }

    /// Watches for the reader to go while the output is in use.
    ///
    /// # Errors
    /// None.
    pub fn watch(&self) -> io::Result<OutputWatch> {
        Ok(OutputWatch(match self {
            Self::Pipe(pipe) => Some(pipe.watch()),
            Self::Terminal(_) => None,
        }))
    }

    pub fn is_terminal(&self) -> bool {
        matches!(self, Self::Terminal(_))
    }
}

/// Tells when the reader of an [`Output`] has gone.
#[derive(Debug)]
pub struct OutputWatch(Option<PipeWatch>);

#[derive(Debug)]
struct PipeWatch {
    writer: WriterWatch,
    caller: Arc<Caller>,
}

impl PipeWatch {
    fn is_broken(&self) -> bool {
        self.caller.has_gone() || self.writer.has_failed()
    }
}

impl OutputWatch {
    /// Whether the reader has gone, as [`Output::is_broken`].
    pub fn is_broken(&self) -> bool {
        self.0.as_ref().is_some_and(PipeWatch::is_broken)
    }

    /// Resolves once the reader has gone. Cancel-safe.
    pub async fn broken(&self) {
        while !self.is_broken() {
            sleep(CHECK_EVERY).await;
        }
    }
}

impl AsyncWrite for Output {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Pipe(pipe) => Pin::new(&mut pipe.writer).poll_write(cx, bytes),
            Self::Terminal(stdout) => Pin::new(stdout).poll_write(cx, bytes),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Pipe(pipe) => Pin::new(&mut pipe.writer).poll_flush(cx),
            Self::Terminal(stdout) => Pin::new(stdout).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Pipe(pipe) => Pin::new(&mut pipe.writer).poll_shutdown(cx),
            Self::Terminal(stdout) => Pin::new(stdout).poll_flush(cx),
        }
    }
}
