//! Where files are.

use std::path::{Path, PathBuf};

use directories::ProjectDirs;
use rustix::fs::{Access, access};

use super::private_file::home_of_user;
use super::process::is_root;
use crate::platform::extra::{PREFERS_DOT_CONFIG, RUNTIME};

/// A relative path, from a relative HOME, could lead to another user's file.
fn absolute(path: Option<&Path>) -> Option<PathBuf> {
    path.filter(|path| path.is_absolute()).map(Path::to_owned)
}

fn ours() -> Option<ProjectDirs> {
    ProjectDirs::from("", "", "iotstream")
}

/// The directory of the profile file: `~/.config/iotstream` on Linux, and on macOS where `~/.config` exists.
pub(crate) fn config() -> PathBuf {
    let dotted = || home().unwrap_or_else(|| "/".into()).join(".config");
    let preferred = PREFERS_DOT_CONFIG.then(dotted).filter(|dotted| dotted.is_dir());
    match preferred {
        Some(dotted) => dotted.join("iotstream"),
        None => absolute(ours().as_ref().map(ProjectDirs::config_dir))
            .unwrap_or_else(|| dotted().join("iotstream")),
    }
}

/// The directory of what can be made again: `~/.local/state/iotstream` on Linux.
pub(crate) fn state() -> Option<PathBuf> {
    let ours = ours()?;
    absolute(Some(ours.state_dir().unwrap_or(ours.data_local_dir())))
}

/// The directory of what cannot be made again: `~/.local/share/iotstream` on Linux.
pub(crate) fn data() -> Option<PathBuf> {
    absolute(ours().as_ref().map(ProjectDirs::data_local_dir))
}

/// The user's home directory: `HOME` where that is an absolute path, else the one in /etc/passwd.
pub(crate) fn home() -> Option<PathBuf> {
    let variable = std::env::var_os("HOME").map(PathBuf::from).filter(|home| home.is_absolute());
    variable.or_else(|| home_of_user("/etc/passwd".as_ref()))
}

/// The directory of the agent's configuration.
pub(crate) fn agent() -> PathBuf {
    "/etc/iotstream".into()
}

/// The directory of an agent's sockets: `/run/iotstream` for root and a user who may write there, else
/// `$XDG_RUNTIME_DIR/iotstream`.
pub(crate) fn runtime() -> Option<PathBuf> {
    let system = system_runtime();
    if is_root() || access(&system, Access::WRITE_OK).is_ok() {
        return Some(system);
    }
    let own = absolute(std::env::var_os("XDG_RUNTIME_DIR").as_deref().map(Path::new));
    Some(own.map_or(system, |own| own.join("iotstream")))
}

/// The directory of the sockets of the machine's own agent.
pub(crate) fn system_runtime() -> PathBuf {
    Path::new(RUNTIME).join("iotstream")
}
