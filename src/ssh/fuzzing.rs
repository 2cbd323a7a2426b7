//! What fuzzing runs of this room: the user's configuration, host keys, and a server's key exchange.

use std::fs;
use std::path::Path;

use tokio::io::{AsyncRead, AsyncWrite};

use super::config::{Change, SshDirectory};
use super::key_exchange::host_key;
use super::known_hosts::HostField;
use crate::platform::Runner;
use crate::text::public_key::PublicKey;

/// Includes the blocks in the configuration of a user who has this one, and takes them out again. `directory` is empty
/// before and after.
pub fn include(directory: &Path, config: Option<&[u8]>, blocks: &str) {
    let user = directory.join("config");
    if let Some(config) = config {
        fs::write(&user, config).expect("a file");
    }
    let ssh = SshDirectory::new(Runner::Shell, directory.to_owned());
    let written = ssh.write(blocks).expect("changes");
    make(&written);
    assert_eq!(ssh.write(blocks).expect("no changes"), [], "a second time changes something");
    let now = fs::read(&user).expect("a configuration");
    let rest = config.unwrap_or_default();
    assert!(now.ends_with(rest), "the user's lines are not kept");
    let has_own = now == rest;
    assert!(has_own || now[..now.len() - rest.len()].ends_with(b"\"\n\n"), "the Include is not at the top");
    make(&ssh.remove().expect("changes"));
    let after = fs::read(&user).ok();
    assert_eq!(after.as_deref(), config, "removing does not restore the configuration");
    let left: Vec<_> =
        fs::read_dir(directory).expect("a directory").flatten().map(|entry| entry.path()).collect();
    assert!(left.iter().all(|path| *path == user), "{left:?} are left");
    if config.is_some() {
        fs::remove_file(&user).expect("the configuration");
    }
}

fn make(changes: &[Change]) {
    for Change { path, after, .. } in changes {
        match after {
            Some(after) => fs::write(path, after).expect("a file"),
            None => fs::remove_file(path).expect("a file"),
        }
    }
}

/// Lines of a known_hosts file, for one name.
pub fn known_hosts(name: &str, keys: &[&[u8]]) {
    let keys: Vec<PublicKey> = keys.iter().filter_map(|key| PublicKey::of_blob(key)).collect();
    let Some(host) = HostField::new(name) else { return };
    for (lines, fields) in [(host.lines(&keys), 3), (host.authority_lines(&keys), 4)] {
        assert_eq!(lines.lines().count(), keys.len());
        for line in lines.lines() {
            let words: Vec<&str> = line.split(' ').collect();
            assert_eq!(words.len(), fields, "{line}");
            assert_eq!(words[fields - 3], name);
            assert!(keys.iter().any(|key| key.to_string() == words[fields - 2..].join(" ")));
        }
    }
}

/// Reads a host key of the server at the other end: its type and the key, or why there is none.
pub async fn server(io: impl AsyncRead + AsyncWrite + Unpin) -> Result<String, String> {
    let answer = host_key(io, None).await.map_err(|problem| problem.to_string())?;
    Ok(format!("{:?} {:?} {:?}", answer.key_type, answer.key, answer.offered))
}
