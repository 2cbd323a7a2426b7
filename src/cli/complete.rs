//! Completion of words on a command line, from files and never from the network.

use std::io;
use std::path::PathBuf;

use clap_complete::CompletionCandidate;
use clap_complete::env::{EnvCompleter, Shells};

use crate::profile::{Profiles, default_path};
use crate::state::device_ids;

/// Set by the loaders: the shell that asks for completions.
pub const VARIABLE: &str = "IOTSTREAM_COMPLETE";

const NAME: &str = "iotstream";

/// zsh reads a loader in a directory of its fpath at the first TAB, which the loader has to answer, too.
const ZSH_FIRST_TAB: &[u8] = b"if (( $+compstate )); then _clap_dynamic_completer_iotstream; fi\n";

/// The shells that have a loader.
pub fn shells() -> Vec<&'static str> {
    Shells::builtins().names().collect()
}

/// Writes the loader for `shell`, which asks `program` whenever a word is to be completed.
///
/// # Errors
/// When `shell` is none of [`shells`], or `out` fails.
pub fn write_loader(shell: &str, program: &str, out: &mut impl io::Write) -> io::Result<()> {
    let shells = Shells::builtins();
    let shell: &dyn EnvCompleter = shells.completer(shell).ok_or(io::ErrorKind::NotFound)?;
    shell.write_registration(VARIABLE, NAME, NAME, program, out)?;
    if shell.is("zsh") { out.write_all(ZSH_FIRST_TAB) } else { Ok(()) }
}

/// The names of the profiles.
pub(crate) fn profiles() -> Vec<CompletionCandidate> {
    read().map_or_else(Vec::new, |profiles| profiles.all.into_keys().map(CompletionCandidate::new).collect())
}

/// The names of hosts: the aliases and the devices last seen of every profile, as a user gives them to ssh.
pub(crate) fn hosts() -> Vec<CompletionCandidate> {
    let Some(profiles) = read() else { return Vec::new() };
    let mut hosts: Vec<String> = profiles
        .all
        .iter()
        .flat_map(|(name, profile)| {
            let known = device_ids::known(&profiles.path, name);
            profile.devices.keys().cloned().chain(known).map(|id| profile.host_name(&id))
        })
        .collect();
    hosts.sort_unstable();
    hosts.dedup();
    hosts.into_iter().map(CompletionCandidate::new).collect()
}

/// The profile file; without one, or with a malformed one, there is nothing to complete.
fn read() -> Option<Profiles> {
    let path = std::env::var_os("IOTSTREAM_CONFIG").map_or_else(default_path, PathBuf::from);
    Profiles::read(&path).ok()
}
