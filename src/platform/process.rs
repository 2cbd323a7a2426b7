//! This process: when it started, and what it keeps from the programs it starts.

use std::collections::BTreeSet;
use std::env;
use std::ffi::OsString;
use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::Instant;

pub(crate) use super::system::process::user_name;
pub use super::system::process::{is_root, no_core_dumps, user};

static STARTED: OnceLock<Instant> = OnceLock::new();

/// When this process started, which is the time of the first call, in `main`.
pub fn started() -> Instant {
    *STARTED.get_or_init(Instant::now)
}

static UNATTENDED: OnceLock<Instant> = OnceLock::new();

/// Has the programs that print credentials end before `until`, and not ask the user.
pub fn be_unattended(until: Instant) {
    UNATTENDED.get_or_init(|| until);
}

/// The time of the first call of [`be_unattended`].
pub fn unattended_until() -> Option<Instant> {
    UNATTENDED.get().copied()
}

/// Environment variables that hold a key, according to the user's files.
static KEYS: Mutex<BTreeSet<String>> = Mutex::new(BTreeSet::new());

/// Notes that the variable `name` holds a key.
pub fn withhold(name: &str) {
    KEYS.lock().unwrap_or_else(PoisonError::into_inner).insert(name.to_owned());
}

/// The variable in which `az ssh arc` passes the credentials of a relay.
pub const RELAY_INFO: &str = "SSHPROXY_RELAY_INFO";

/// The variables that are removed from the environment of programs this one starts: those that hold a key, and those of
/// iotstream's own that hold a password.
pub fn withheld() -> Vec<OsString> {
    let keys = KEYS.lock().unwrap_or_else(PoisonError::into_inner);
    let ours = env::vars_os().filter(|(name, value)| {
        let value = value.to_string_lossy();
        name.as_encoded_bytes().starts_with(b"IOTSTREAM_") && value.contains("://") && value.contains('@')
    });
    ours.map(|(name, _)| name).chain(keys.iter().map(OsString::from)).chain([RELAY_INFO.into()]).collect()
}
