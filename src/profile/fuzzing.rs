//! What fuzzing runs of this room: profile files, and host names.

use std::path::Path;

use super::{Name, Profiles, fits, is_pattern};
use crate::config::Keys;

/// A secret, which no error may contain.
pub const SECRET: &str = "c4n4ry-s3cret";

/// Reads a profile file, and looks for the device of a host name in it. Errors are returned.
pub fn profiles(text: &str, host: &str, typed: Option<&str>) -> Option<String> {
    let profiles = match Profiles::parse(Path::new("/etc/profiles.toml"), text) {
        Ok(profiles) => profiles,
        Err(error) => return Some(shown(&error)),
    };
    assert!(
        !format!("{profiles:?}").contains(&format!("\"{SECRET}\"")) || !text.contains("connection-string")
    );
    for profile in profiles.all.values() {
        assert!(profile.hosts.iter().all(|pattern| is_pattern(pattern)));
        let _ = (Keys::from(profile).is_empty(), profile.asks_for_host_keys(), profile.stream(22));
    }
    let known = |_: &str| vec!["Gw-07".to_owned(), "gw-08".to_owned(), "GW-08".to_owned()];
    match profiles.destination(&Name { host, typed }, None, known) {
        Ok(found) => {
            // The name that the configuration of ssh gets leads back to the device.
            assert!(profiles.all.contains_key(found.profile_name));
            let _ = found.profile.host_name(&found.device);
            None
        }
        Err(error) => Some(shown(&error)),
    }
}

/// An error with its hint.
fn shown(error: &crate::error::Error) -> String {
    format!("{error}\n{}\n{error:?}", error.hint().unwrap_or_default())
}

/// Whether a pattern matches a host name.
pub fn pattern(pattern: &str, name: &str) -> bool {
    fits(pattern, name)
}
