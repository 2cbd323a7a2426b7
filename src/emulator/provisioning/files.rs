//! The service's files in the emulator's directory.
//!
//! ```text
//! dps/scope                    the id scope
//! dps/group.key                the key of the enrolment group
//! dps/devices/ID.key           the key of an individual enrolment; its registration id is percent-encoded
//! ```

use data_encoding::BASE64;

use crate::backend::provisioning::dps::proto::RegistrationId;
use crate::emulator::directory::Directory;
use crate::emulator::key::new_key;
use crate::error::Result;
use crate::secret::Secret;
use crate::text::percent::encode;

/// The service's files.
#[derive(Debug)]
pub(super) struct Files(Directory);

impl Files {
    /// Makes the folders that the files are in.
    ///
    /// # Errors
    /// A folder cannot be made.
    pub(super) fn open(directory: Directory) -> Result<Self> {
        directory.make_folder("dps")?;
        directory.make_folder("dps/devices")?;
        Ok(Self(directory))
    }

    /// Writes the id scope.
    ///
    /// # Errors
    /// The file cannot be written.
    pub(super) fn write_scope(&self, scope: &str) -> Result<()> {
        self.0.write_public("dps/scope", &format!("{scope}\n"))
    }

    /// The key of the enrolment group, made at the first start.
    ///
    /// # Errors
    /// The file is invalid, or cannot be read or written.
    pub(super) fn group_key(&self) -> Result<Secret> {
        self.key("dps/group.key")
    }

    /// The key of an individual enrolment, made at the first start.
    ///
    /// # Errors
    /// The file is invalid, or cannot be read or written.
    pub(super) fn device_key(&self, id: &RegistrationId) -> Result<Secret> {
        self.key(&format!("dps/devices/{}.key", encode(id.as_str())))
    }

    fn key(&self, file: &str) -> Result<Secret> {
        match self.0.read(file)? {
            Some(text) => {
                let key = text.expose().trim();
                match BASE64.decode(key.as_bytes()) {
                    Ok(bytes) if !bytes.is_empty() => Ok(Secret::new(key)),
                    _ => Err(self.0.invalid(file, "it is not a key in base64")),
                }
            }
            None => {
                let key = new_key()?;
                self.0.write_secret(file, &Secret::new(format!("{}\n", key.expose())))?;
                Ok(key)
            }
        }
    }
}
