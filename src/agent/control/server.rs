//! Takes questions at the control socket.

use std::convert::Infallible;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::sync::{mpsc, oneshot};
use tokio::task::AbortHandle;
use tokio::time::timeout;

use super::message::{Reply, Request};
use super::{LIMIT, LONGEST_QUESTION};
use crate::agent::approval::Approvals;
use crate::agent::clients::serve_each;
use crate::agent::patience::until_opened;
use crate::platform::local_socket::{self, LocalListener, LocalStream};
use crate::platform::process;

/// The users of the socket: root and the agent's.
pub(in crate::agent) const MODE: u32 = 0o600;

/// The most clients at a time.
const CLIENTS: usize = 16;

/// A question, and the user who asks.
pub(in crate::agent) struct Question {
    pub(in crate::agent) request: Request,
    pub(in crate::agent) uid: u32,
    reply: oneshot::Sender<Reply>,
}

impl Question {
    /// Answers. The client may have gone.
    pub(in crate::agent) fn answer(self, reply: Reply) {
        let _ = self.reply.send(reply);
    }
}

/// The agent's end of the control socket.
pub(in crate::agent) struct ControlSocket {
    path: Option<PathBuf>,
    approvals: Arc<Approvals>,
    to: mpsc::Sender<Question>,
    from: mpsc::Receiver<Question>,
    task: Option<AbortHandle>,
}

impl ControlSocket {
    /// Opens the socket at `path` in the background. One that cannot be opened is a warning, and is tried again.
    pub(in crate::agent) fn open(path: Option<&Path>, approvals: Arc<Approvals>) -> Self {
        let (to, from) = mpsc::channel(1);
        let mut socket = Self { path: None, approvals, to, from, task: None };
        socket.reload(path);
        socket
    }

    /// Waits for a question. Cancel-safe.
    pub(in crate::agent) async fn next(&mut self) -> Question {
        match self.from.recv().await {
            Some(question) => question,
            // There is a sender in this value.
            None => std::future::pending().await,
        }
    }

    /// Moves the socket to `path`.
    pub(in crate::agent) fn reload(&mut self, path: Option<&Path>) {
        if self.path.as_deref() == path {
            return;
        }
        self.close();
        self.path = path.map(Path::to_owned);
        if let Some(path) = self.path.clone() {
            let serving = serve(path, self.approvals.clone(), self.to.clone());
            self.task = Some(tokio::spawn(serving).abort_handle());
        }
    }

    /// Closes the socket, and removes its file.
    pub(in crate::agent) fn close(&mut self) {
        if let Some(task) = self.task.take() {
            task.abort();
        }
        self.path = None;
        self.approvals.set_takes_control(false);
    }
}

async fn serve(path: PathBuf, approvals: Arc<Approvals>, questions: mpsc::Sender<Question>) -> Infallible {
    let what = format!("control socket {}", path.display());
    let listener = until_opened(&what, || LocalListener::claim(&path, MODE)).await;
    log::debug!("control socket: {}", path.display());
    approvals.set_takes_control(true);
    let serve = |stream| {
        let questions = questions.clone();
        async move {
            if let Err(error) = converse(stream, &questions).await {
                log::debug!("control socket: a client: {error}");
            }
        }
    };
    serve_each(&what, CLIENTS, || listener.accept(), serve).await
}

/// Takes one question of a client, and answers it.
async fn converse(stream: LocalStream, questions: &mpsc::Sender<Question>) -> io::Result<()> {
    let uid = local_socket::peer(&stream)?;
    let (read, mut write) = local_socket::split(stream);
    let reply = if uid == 0 || uid == process::user() {
        let mut line = Vec::new();
        let mut read = BufReader::new(read.take(LONGEST_QUESTION));
        timeout(LIMIT, read.read_until(b'\n', &mut line)).await??;
        match serde_json::from_slice(&line) {
            Ok(request) => {
                let (reply, answer) = oneshot::channel();
                let question = Question { request, uid, reply };
                let gone = |_| io::Error::other("the agent is stopping");
                questions.send(question).await.map_err(|_| gone(()))?;
                answer.await.map_err(|_| gone(()))?
            }
            Err(error) => Reply::Refused {
                problem: format!("the agent does not understand the question: {error}"),
                hint: None,
            },
        }
    } else {
        log::warn!("control socket: uid {uid} was refused");
        Reply::Denied
    };
    let mut line = serde_json::to_vec(&reply)?;
    line.push(b'\n');
    timeout(LIMIT, async {
        write.write_all(&line).await?;
        write.shutdown().await
    })
    .await?
}
