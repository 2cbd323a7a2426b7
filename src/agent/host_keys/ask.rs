//! Asks one target for its host keys.

use std::path::Path;
use std::time::Duration;

use tokio::task::spawn_blocking;
use tokio::time::timeout;

use super::{public_files, sshd_config};
use crate::agent::target::{Address, Facts, Server};
use crate::config::WatchedFiles;
use crate::error::Problem;
use crate::ssh::key_exchange::{self, Answer, KeyType};
use crate::text::public_key::PublicKey;

/// The time limit of each key exchange.
const LIMIT: Duration = Duration::from_secs(10);

/// The directory with the `.pub` files of most servers.
const DIRECTORY: &str = "/etc/ssh";

/// What a target tells.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Found {
    pub(super) keys: Vec<PublicKey>,
    /// What cannot be told, and why.
    pub(super) missing: Vec<String>,
}

impl Found {
    /// The fingerprints of the keys, with their types.
    pub(super) fn fingerprints(&self) -> String {
        let fingerprints = self.keys.iter().map(|key| format!("{} ({})", key.fingerprint(), key.key_type()));
        fingerprints.collect::<Vec<_>>().join(", ")
    }
}

/// Asks a target for its host keys: a server with key exchanges, an sshd that a command starts with its files.
///
/// # Errors
/// Returns an error, about a server as "it", if it does not tell any key.
pub(super) async fn ask(address: &Address) -> Result<Found, Problem> {
    match address {
        Address::Command(words) => {
            let words = words.clone();
            blocking(move || of_command(&words)).await?
        }
        Address::Servers(servers) => of_servers(servers).await,
        Address::Builtin(_) => Ok(Found::default()),
    }
}

/// The files that the answer depends on, as they are now. May block.
pub(super) fn files(address: &Address) -> WatchedFiles {
    let mut files = WatchedFiles::default();
    match address {
        Address::Command(words) if sshd_config::is_sshd(words) => {
            let configuration = sshd_config::read(words).unwrap_or_default();
            configuration.files.into_iter().for_each(|file| files.add(file));
            configuration.host_keys.iter().for_each(|file| files.add(public_files::beside(file)));
        }
        Address::Servers(_) => {
            public_files::list(Path::new(DIRECTORY)).into_iter().for_each(|file| files.add(file));
        }
        Address::Command(_) | Address::Builtin(_) => {}
    }
    files
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, Problem> {
    spawn_blocking(work).await.map_err(Problem::of)
}

/// The keys of a command's sshd, from the `.pub` files beside its private keys.
fn of_command(words: &[String]) -> Result<Found, Problem> {
    if !sshd_config::is_sshd(words) {
        let missing = "the host keys of a program other than sshd are not known".into();
        return Ok(Found { keys: Vec::new(), missing: vec![missing] });
    }
    let mut found = Found::default();
    for file in sshd_config::read(words)?.host_keys {
        match public_files::read(&public_files::beside(&file)) {
            Ok(key) => found.keys.push(key),
            Err(problem) => found.missing.push(problem.to_string()),
        }
    }
    match (found.keys.is_empty(), found.missing.is_empty()) {
        (true, true) => Err("sshd's configuration names no host key that exists".into()),
        (true, false) => Err(found.missing.join("; ").into()),
        (false, _) => Ok(found),
    }
}

/// The keys of the first server that tells any. The error names each of several.
async fn of_servers(servers: &[Server]) -> Result<Found, Problem> {
    let mut problems = Vec::new();
    for server in servers {
        match of_server(&Address::Servers(vec![server.clone()])).await {
            Err(problem) if servers.len() > 1 => problems.push(format!("{server}: {problem}")),
            found => return found,
        }
    }
    Err(problems.join("; ").into())
}

/// The keys of a server, each from a key exchange. Of types that cannot be verified, there may be files.
async fn of_server(address: &Address) -> Result<Found, Problem> {
    let first = exchange(address, None).await?;
    let (mut answers, mut refused) = (Vec::new(), Vec::new());
    let others = first.offered.verifiable().into_iter().filter(|other| *other != first.key_type);
    for key_type in others {
        let answer = match exchange(address, Some(key_type)).await {
            Ok(answer) => Ok(answer),
            Err(_) => {
                // A server that answers in between is not merely busy: Dropbear offers RSA without having such a key.
                exchange(address, Some(first.key_type)).await?;
                exchange(address, Some(key_type)).await
            }
        };
        match answer {
            Ok(answer) => answers.push(answer),
            Err(problem) => refused.push(format!("its key of the type {}: {problem}", key_type.name())),
        }
    }
    answers.insert(0, first);
    let keys: Vec<_> = answers.iter().filter_map(|answer| answer.key.clone()).collect();
    let unverified =
        answers.iter().filter(|answer| answer.key.is_none()).map(|answer| answer.key_type.name());
    let unverified: Vec<_> = answers[0].offered.unverifiable().chain(unverified).map(str::to_owned).collect();
    if unverified.is_empty() {
        return Ok(Found { keys, missing: refused });
    }
    blocking(move || {
        let mut found = Found { keys, missing: refused };
        let shown = found.keys.clone();
        for key_type in unverified {
            match public_files::sibling(Path::new(DIRECTORY), &shown, &key_type) {
                Some(key) => found.keys.push(key),
                None => found.missing.push(format!("its key of the type {key_type} cannot be verified")),
            }
        }
        found
    })
    .await
}

/// One connection and one key exchange.
async fn exchange(address: &Address, wanted: Option<KeyType>) -> Result<Answer, Problem> {
    let exchanging = async {
        let facts = Facts::without_offer("", address.to_string());
        let connection = address.connect(&facts).await?;
        key_exchange::host_key(connection.join(), wanted).await
    };
    match timeout(LIMIT, exchanging).await {
        Ok(answer) => answer,
        Err(_elapsed) => Err(format!("the key exchange took more than {} s", LIMIT.as_secs()).into()),
    }
}
