//! What concerns this process as a whole.

use std::collections::BTreeSet;
use std::env;
use std::ffi::OsString;
use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::Instant;

pub use super::system::process::{is_root, no_core_dumps};

static STARTED: OnceLock<Instant> = OnceLock::new();

/// When this process started, as soon as it could tell: the first call is in `main`.
pub fn started() -> Instant {
    *STARTED.get_or_init(Instant::now)
}

/// Variables that hold a key, as the user's files say.
static KEYS: Mutex<BTreeSet<String>> = Mutex::new(BTreeSet::new());

/// Notes that the variable called `name` holds a key.
pub fn withhold(name: &str) {
    KEYS.lock().unwrap_or_else(PoisonError::into_inner).insert(name.to_owned());
}

/// The variables that a program which we start has no business with: what holds a key, and those of our own that hold a
/// password.
pub fn withheld() -> Vec<OsString> {
    let keys = KEYS.lock().unwrap_or_else(PoisonError::into_inner);
    let ours = env::vars_os().filter(|(name, value)| {
        let value = value.to_string_lossy();
        name.as_encoded_bytes().starts_with(b"IOTSTREAM_") && value.contains("://") && value.contains('@')
    });
    ours.map(|(name, _)| name).chain(keys.iter().map(OsString::from)).collect()
}
