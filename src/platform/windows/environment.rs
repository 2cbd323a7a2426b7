//! The variables that a program gets whose environment is chosen for it.

use std::ffi::OsString;

/// Those that any program may need and that hold no secret.
const KEPT: [&str; 27] = [
    "ALLUSERSPROFILE",
    "APPDATA",
    "CommonProgramFiles",
    "CommonProgramFiles(x86)",
    "CommonProgramW6432",
    "COMPUTERNAME",
    "ComSpec",
    "HOMEDRIVE",
    "HOMEPATH",
    "LOCALAPPDATA",
    "NUMBER_OF_PROCESSORS",
    "OS",
    "PATH",
    "PATHEXT",
    "PROCESSOR_ARCHITECTURE",
    "ProgramData",
    "ProgramFiles",
    "ProgramFiles(x86)",
    "ProgramW6432",
    "PUBLIC",
    "SystemDrive",
    "SystemRoot",
    "TEMP",
    "TMP",
    "USERNAME",
    "USERPROFILE",
    "windir",
];

/// The PATH where this process has none.
pub(crate) const PATH: &str = r"C:\Windows\System32;C:\Windows";

/// Whether a program gets this process's variable `name`.
pub(crate) fn is_kept(name: &str) -> bool {
    KEPT.iter().any(|kept| kept.eq_ignore_ascii_case(name))
}

/// What a program gets where this process lacks a variable.
pub(crate) fn defaults() -> Vec<(&'static str, OsString)> {
    Vec::new()
}
