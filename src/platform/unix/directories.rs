//! Where files are.

use std::path::{Path, PathBuf};

use directories::ProjectDirs;

use super::private_file::home_of_user;

/// A relative path, from a relative HOME, could lead to another user's file.
fn absolute(path: Option<&Path>) -> Option<PathBuf> {
    path.filter(|path| path.is_absolute()).map(Path::to_owned)
}

fn ours() -> Option<ProjectDirs> {
    ProjectDirs::from("", "", "iotstream")
}

/// The directory of the profile file: `~/.config/iotstream` on Linux.
pub(crate) fn config() -> Option<PathBuf> {
    let found = absolute(ours().as_ref().map(ProjectDirs::config_dir));
    found.or_else(|| home().map(|home| home.join(".config/iotstream")))
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
