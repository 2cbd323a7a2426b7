//! Where files are. In the local application data, not the roaming one: that is copied to servers, secrets included.

use std::env;
use std::path::PathBuf;

use directories::BaseDirs;

/// The folder of a variable, if it is an absolute path.
fn variable(name: &str) -> Option<PathBuf> {
    env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute())
}

/// `%LOCALAPPDATA%\iotstream`.
fn local() -> Option<PathBuf> {
    let known = || BaseDirs::new().map(|known| known.data_local_dir().to_owned());
    Some(variable("LOCALAPPDATA").or_else(known)?.join("iotstream"))
}

/// The directory of the profile file.
pub(crate) fn config() -> PathBuf {
    local().unwrap_or_else(|| r"\".into())
}

/// The directory of what can be made again.
pub(crate) fn state() -> Option<PathBuf> {
    local().map(|local| local.join("state"))
}

/// The directory of what cannot be made again.
pub(crate) fn data() -> Option<PathBuf> {
    local().map(|local| local.join("data"))
}

/// The user's home directory.
pub(crate) fn home() -> Option<PathBuf> {
    variable("USERPROFILE").or_else(|| BaseDirs::new().map(|known| known.home_dir().to_owned()))
}

/// `%ProgramData%\iotstream`, the directory of the agent's configuration.
pub(crate) fn agent() -> PathBuf {
    variable("ProgramData").unwrap_or_else(|| r"C:\ProgramData".into()).join("iotstream")
}

/// The directory of an agent's sockets: there are none.
pub(crate) fn runtime() -> Option<PathBuf> {
    None
}

/// The same.
pub(crate) fn system_runtime() -> PathBuf {
    agent()
}
