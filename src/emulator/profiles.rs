//! The profile file for the user's side, with a profile for each service.

use super::directory::Directory;
use crate::error::{Error, Result};
use crate::secret::Secret;

/// A profile, whose secrets are in its keys.
#[derive(Debug)]
pub(super) struct Profile {
    pub(super) name: &'static str,
    /// Lines of TOML.
    pub(super) keys: Secret,
}

/// Writes `profiles.toml`, so that `iotstream --config DIR/profiles.toml ID` works at once. The first profile is the
/// default.
///
/// # Errors
/// The directory's path is not UTF-8, or the file cannot be written.
pub(super) fn write(directory: &Directory, profiles: &[Profile]) -> Result<()> {
    let ca_file = directory.path("ca.pem");
    let ca_file = ca_file.to_str().ok_or_else(|| {
        Error::file(
            &ca_file,
            "the path is not UTF-8 and cannot go into profiles.toml",
            "choose another directory",
        )
    })?;
    let ca_file = quoted(ca_file);
    let mut text = String::new();
    if let Some(first) = profiles.first() {
        text += &format!("default = {}\n", quoted(first.name));
    }
    for Profile { name, keys } in profiles {
        text += &format!("\n[profile.{name}]\n{}ca-file = {ca_file}\n", keys.expose());
    }
    directory.write_secret("profiles.toml", &Secret::new(text))
}

/// A string of TOML.
pub(super) fn quoted(text: &str) -> String {
    toml::Value::String(text.to_owned()).to_string()
}
