//! Completion of words on a command line, from files and never from the network.

use std::collections::HashSet;
use std::io;
use std::path::PathBuf;

use clap_complete::CompletionCandidate;
use clap_complete::env::{EnvCompleter, Shells};

use crate::backend::Reported;
use crate::profile::{Name, Profile, Profiles, default_path};
use crate::state::{device_ids, reports};
use crate::text::ports;

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
    let hosts: Vec<String> = profiles
        .all
        .iter()
        .flat_map(|(name, profile)| {
            let known = device_ids::known(&profiles.path, name);
            profile.devices.keys().cloned().chain(known).map(|id| profile.host_name(&id))
        })
        .collect();
    candidates(hosts)
}

/// The streams that agents have reported, as far as they are known here: those of the device on the command line, else of all
/// devices.
pub(crate) fn streams() -> Vec<CompletionCandidate> {
    candidates(reported_streams(read().as_ref()))
}

/// The ports that ask for these streams.
pub(crate) fn ports() -> Vec<CompletionCandidate> {
    let Some(profiles) = read() else { return Vec::new() };
    let streams = reported_streams(Some(&profiles));
    let asking = |profile: &Profile| -> Vec<u16> {
        let mapped = profile.ports.keys().map(|port| port.0);
        let ports = mapped.chain(streams.iter().filter_map(|stream| ports::of_stream(stream)));
        ports.filter(|port| streams.contains(&profile.stream(*port))).collect()
    };
    let mut ports: Vec<u16> = profiles.all.values().flat_map(asking).collect();
    ports.sort_unstable();
    ports.dedup();
    ports.into_iter().map(|port| CompletionCandidate::new(port.to_string())).collect()
}

/// The names of the streams in the reports of the device on the command line, else in all reports. No name needs quoting
/// in a shell.
fn reported_streams(profiles: Option<&Profiles>) -> Vec<String> {
    let all: Vec<Reported> = reports::all();
    let line = std::env::args_os().skip_while(|word| word != "--").skip(1);
    let words: Vec<String> = line.filter_map(|word| word.into_string().ok()).collect();
    let devices: HashSet<String> = profiles.map(|profiles| devices(profiles, &words)).unwrap_or_default();
    let is_named = |reported: &&Reported| devices.contains(device(reported));
    let is_plain =
        |name: &str| name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte));
    let named: Vec<&Reported> = all.iter().filter(is_named).collect();
    let chosen = if named.is_empty() { all.iter().collect() } else { named };
    let names = chosen.into_iter().flat_map(|reported| &reported.streams).map(|stream| stream.name.clone());
    names.filter(|name| is_plain(name)).collect()
}

/// The devices that the words may mean, each word in each profile.
fn devices(profiles: &Profiles, words: &[String]) -> HashSet<String> {
    let find = |profile: &String, word: &String| {
        let known = |profile: &str| device_ids::known(&profiles.path, profile);
        let found = profiles.destination(&Name { host: word, typed: None }, Some(profile), known);
        Some(found.ok()?.device)
    };
    profiles.all.keys().flat_map(|profile| words.iter().filter_map(move |word| find(profile, word))).collect()
}

/// The device of a report, which may be a module's.
fn device(reported: &Reported) -> &str {
    reported.device.split('/').next().unwrap_or_default()
}

fn candidates(mut words: Vec<String>) -> Vec<CompletionCandidate> {
    words.sort_unstable();
    words.dedup();
    words.into_iter().map(CompletionCandidate::new).collect()
}

/// The profile file; without one, or with a malformed one, there is nothing to complete.
fn read() -> Option<Profiles> {
    let path = std::env::var_os("IOTSTREAM_CONFIG").map_or_else(default_path, PathBuf::from);
    Profiles::read(&path).ok()
}
