//! Asks the running agent.

use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};

use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::time::timeout;

use super::message::{Reply, Request};
use super::{LIMIT, LONGEST_ANSWER};
use crate::error::{Error, Result};
use crate::platform::{directories, local_socket};

const NAME: &str = "control.sock";

/// Where an agent of this user listens, unless its configuration says otherwise; `None` on a system without such sockets.
/// For a command, `is_client`, it is the agent of the machine where the user has none.
pub fn default_socket(is_client: bool) -> Option<PathBuf> {
    let path = directories::runtime()?.join(NAME);
    let of_the_machine = directories::system_runtime();
    let is_there = |path: &Path| path.symlink_metadata().is_ok();
    Some(if is_client && !is_there(&path) && is_there(&of_the_machine) {
        of_the_machine.join(NAME)
    } else {
        path
    })
}

/// Asks the agent that listens at `path`.
///
/// # Errors
/// No agent listens there, this user may not ask it, or it refuses.
pub async fn ask(path: &Path, request: &Request) -> Result<Reply> {
    let stream = local_socket::connect(path).await.map_err(|problem| match problem.kind() {
        ErrorKind::PermissionDenied => Error::ControlDenied { path: path.to_owned() },
        _ => Error::NoAgent { path: path.to_owned(), problem: problem.into() },
    })?;
    let failed = |problem: io::Error| Error::NoAgent { path: path.to_owned(), problem: problem.into() };
    let (read, mut write) = local_socket::split(stream);
    let mut question = serde_json::to_vec(request).map_err(|error| Error::Bug(error.to_string()))?;
    question.push(b'\n');
    let mut answer = Vec::new();
    let asking = async {
        // One that refuses this user does not read the question.
        let _ = write.write_all(&question).await;
        BufReader::new(read.take(LONGEST_ANSWER)).read_until(b'\n', &mut answer).await
    };
    match timeout(LIMIT, asking).await {
        Ok(read) => read.map_err(failed)?,
        Err(_elapsed) => return Err(failed(ErrorKind::TimedOut.into())),
    };
    let invalid = |error: serde_json::Error| Error::protocol(path.display(), error.to_string());
    match serde_json::from_slice(&answer).map_err(invalid)? {
        Reply::Denied => Err(Error::ControlDenied { path: path.to_owned() }),
        Reply::Refused { problem, hint } => Err(Error::AgentRefused { problem, hint }),
        reply => Ok(reply),
    }
}
