//! Handles that only block, such as the two kinds of pipes on stdin and stdout: each is served by a thread of its own.

use std::fs::File;
use std::io::{self, BufRead, BufReader, ErrorKind, Write};
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker, ready};
use std::thread;

use bytes::{Buf, Bytes};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::mpsc;

/// Bytes that are read from a handle at a time. What waits here delays the next keystroke.
const READ: usize = 16 * 1024;

/// Bytes that may wait for the thread that writes.
const QUEUE: usize = 64 * 1024;

/// ERROR_PIPE_NOT_CONNECTED: the other end of a named pipe has gone. The standard library has no kind for it.
const NOT_CONNECTED: i32 = 233;

/// Whether the other end of a pipe has gone.
fn is_broken(error: &io::Error) -> bool {
    error.kind() == ErrorKind::BrokenPipe || error.raw_os_error() == Some(NOT_CONNECTED)
}

/// The reading end of a handle. The thread ends with the handle's end, or with the process.
#[derive(Debug)]
pub(crate) struct Reader {
    chunks: mpsc::Receiver<io::Result<Bytes>>,
    chunk: Bytes,
    has_ended: Arc<AtomicBool>,
}

impl Reader {
    /// Starts reading.
    ///
    /// # Errors
    /// When the system starts no thread.
    pub(crate) fn start(file: File) -> io::Result<Self> {
        let (to, chunks) = mpsc::channel(1);
        let has_ended = Arc::new(AtomicBool::new(false));
        let ended = has_ended.clone();
        thread::Builder::new().name("reader".into()).spawn(move || {
            read_all(file, &to);
            ended.store(true, Relaxed);
        })?;
        Ok(Self { chunks, chunk: Bytes::new(), has_ended })
    }

    /// Becomes true once the end has been read from the handle, even if not all before it has been read from here.
    pub(crate) fn ended(&self) -> Arc<AtomicBool> {
        self.has_ended.clone()
    }
}

fn read_all(file: File, to: &mpsc::Sender<io::Result<Bytes>>) {
    let mut file = BufReader::with_capacity(READ, file);
    loop {
        let chunk = match file.fill_buf() {
            Err(error) if error.kind() == ErrorKind::Interrupted => continue,
            Err(error) if is_broken(&error) => return,
            Err(error) => Err(error),
            Ok([]) => return,
            Ok(bytes) => Ok(Bytes::copy_from_slice(bytes)),
        };
        let count = chunk.as_ref().map_or(0, Bytes::len);
        if to.blocking_send(chunk).is_err() || count == 0 {
            return;
        }
        file.consume(count);
    }
}

impl AsyncRead for Reader {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if this.chunk.is_empty() {
            match ready!(this.chunks.poll_recv(cx)) {
                Some(chunk) => this.chunk = chunk?,
                None => return Poll::Ready(Ok(())),
            }
        }
        let count = this.chunk.len().min(buf.remaining());
        buf.put_slice(&this.chunk[..count]);
        this.chunk.advance(count);
        Poll::Ready(Ok(()))
    }
}

/// The writing end of a handle. What is written is on its way only: flushing waits until the handle has taken it, and
/// shutting down until the handle is closed as well. A failure shows at the next call.
#[derive(Debug)]
pub(crate) struct Writer(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug)]
struct State {
    queue: Vec<u8>,
    /// The thread is writing.
    is_writing: bool,
    /// No more follow.
    is_last: bool,
    /// The thread has closed the handle.
    is_closed: bool,
    failure: Option<io::Error>,
    waker: Option<Waker>,
}

impl State {
    fn wake(&mut self) {
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Writer {
    /// Starts the thread that writes.
    ///
    /// # Errors
    /// When the system starts no thread.
    pub(crate) fn start(file: File) -> io::Result<Self> {
        let state = State {
            queue: Vec::new(),
            is_writing: false,
            is_last: false,
            is_closed: false,
            failure: None,
            waker: None,
        };
        let shared = Arc::new(Shared { state: Mutex::new(state), changed: Condvar::new() });
        let its = shared.clone();
        thread::Builder::new().name("writer".into()).spawn(move || write_all(file, &its))?;
        Ok(Self(shared))
    }

    /// Watches for the reader to go while the handle is in use.
    pub(crate) fn watch(&self) -> WriterWatch {
        WriterWatch(self.0.clone())
    }

    /// Waits until `is_done`, or a failure.
    fn poll_until(
        &self,
        cx: &mut Context<'_>,
        is_done: impl FnOnce(&State) -> bool,
    ) -> Poll<io::Result<MutexGuard<'_, State>>> {
        let mut state = self.0.lock();
        if let Some(failure) = &state.failure {
            return Poll::Ready(Err(repeat(failure)));
        }
        if is_done(&state) {
            return Poll::Ready(Ok(state));
        }
        state.waker = Some(cx.waker().clone());
        Poll::Pending
    }
}

/// The same error once more.
fn repeat(error: &io::Error) -> io::Error {
    match error.raw_os_error() {
        _ if is_broken(error) => ErrorKind::BrokenPipe.into(),
        Some(code) => io::Error::from_raw_os_error(code),
        None => io::Error::new(error.kind(), error.to_string()),
    }
}

fn write_all(file: File, shared: &Shared) {
    let mut bytes = Vec::new();
    loop {
        let mut state = shared.lock();
        state.is_writing = false;
        while state.queue.is_empty() && !state.is_last {
            state.wake();
            state = shared.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        if state.queue.is_empty() {
            break;
        }
        bytes.clear();
        std::mem::swap(&mut state.queue, &mut bytes);
        state.is_writing = true;
        state.wake();
        drop(state);
        if let Err(error) = (&file).write_all(&bytes) {
            shared.lock().failure = Some(error);
            break;
        }
    }
    drop(file);
    let mut state = shared.lock();
    state.is_closed = true;
    state.wake();
}

impl AsyncWrite for Writer {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let has_room = |state: &State| state.is_last || state.queue.len() < QUEUE;
        let mut state = ready!(self.poll_until(cx, has_room))?;
        if state.is_last {
            return Poll::Ready(Err(ErrorKind::BrokenPipe.into()));
        }
        let count = bytes.len().min(QUEUE - state.queue.len());
        state.queue.extend_from_slice(&bytes[..count]);
        self.0.changed.notify_one();
        Poll::Ready(Ok(count))
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        drop(ready!(self.poll_until(cx, |state| state.queue.is_empty() && !state.is_writing))?);
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.0.lock().is_last = true;
        self.0.changed.notify_one();
        drop(ready!(self.poll_until(cx, |state| state.is_closed))?);
        Poll::Ready(Ok(()))
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.0.lock().is_last = true;
        self.0.changed.notify_one();
    }
}

/// Tells whether the reader of a [`Writer`] has gone.
#[derive(Debug)]
pub(crate) struct WriterWatch(Arc<Shared>);

impl WriterWatch {
    /// Whether a write has failed.
    pub(crate) fn has_failed(&self) -> bool {
        self.0.lock().failure.is_some()
    }
}
