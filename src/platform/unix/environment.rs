//! The variables that a program gets whose environment is chosen for it.

use std::env;
use std::ffi::OsString;

/// Those that any program may need and that hold no secret.
const KEPT: [&str; 7] = ["PATH", "HOME", "USER", "LOGNAME", "SHELL", "LANG", "TZ"];

/// The PATH where this process has none.
pub(crate) const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Whether a program gets this process's variable `name`.
pub(crate) fn is_kept(name: &str) -> bool {
    KEPT.contains(&name) || name.starts_with("LC_")
}

/// What a program gets where this process lacks a variable.
pub(crate) fn defaults() -> Vec<(&'static str, OsString)> {
    let home = env::home_dir().map(|home| ("HOME", home.into_os_string()));
    [("PATH", PATH.into())].into_iter().chain(home).collect()
}
