//! The hub's files in the emulator's directory: what outlives a restart, and what clients are given.
//!
//! ```text
//! service.conn                 the connection string of the policy `service`
//! policies/NAME.conn           those of the other policies
//! devices/ID.conn              a registered identity, percent-encoded: `dev%2Fmod.conn` is module mod of dev
//! devices/ID.secondary         its secondary key, where it has keys
//! devices/ID.sha256            the thumbprint of its certificate, where it has one
//! devices/ID.twin              its twin, once it has been written to
//! ```

use super::authentication::Authentication;
use super::twin::Twin;
use crate::backend::iothub::proto::{ConnectionString, HubAddress, Identity, Key, encode};
use crate::emulator::client_certificate::Thumbprint;
use crate::emulator::directory::Directory;
use crate::emulator::key::new_key;
use crate::error::{Error, Problem, Result};
use crate::secret::Secret;

/// The content of a `.sha256` file for [`Authentication::CertificateAuthority`].
const AUTHORITY: &str = "certificateAuthority";

/// The hub's files, all of which their owner alone can read.
#[derive(Debug)]
pub(super) struct Files(Directory);

impl Files {
    /// Makes the folders that the files are in.
    ///
    /// # Errors
    /// A folder cannot be made.
    pub(super) fn open(directory: Directory) -> Result<Self> {
        for folder in ["devices", "policies"] {
            directory.make_folder(folder)?;
        }
        Ok(Self(directory))
    }

    /// A policy's key, made at the first start; its connection string names the hub as it is now.
    ///
    /// # Errors
    /// The file is invalid, or cannot be read or written.
    pub(super) fn policy_key(&self, name: &str, hub: &HubAddress) -> Result<Secret> {
        let file = if name == "service" { "service.conn".into() } else { format!("policies/{name}.conn") };
        let key = match self.connection_string(&file)? {
            None => new_key()?,
            Some((_, Key::Shared(key))) => key,
            Some(_) => return Err(self.no_key(&file)),
        };
        let text = policy_string(hub, name, &key);
        self.0.write_secret(&file, &Secret::new(format!("{}\n", text.expose())))?;
        Ok(key)
    }

    /// Every identity that has a file, and how it authenticates.
    ///
    /// # Errors
    /// A file is invalid, or cannot be read.
    pub(super) fn identities(&self) -> Result<Vec<(Identity, Authentication)>> {
        let mut identities = Vec::new();
        for name in self.0.list("devices", "conn")? {
            let file = format!("devices/{name}");
            let Some((Some(identity), key)) = self.connection_string(&file)? else { continue };
            let authentication = match key {
                Key::Shared(primary) => match self.0.read(&identity_file(&identity, "secondary"))? {
                    Some(text) => {
                        Authentication::SharedKeys { primary, secondary: Secret::new(text.expose().trim()) }
                    }
                    None => Authentication::with_key(primary)?,
                },
                Key::Certificate => {
                    let thumbprint = self.0.read(&identity_file(&identity, "sha256"))?;
                    match thumbprint.as_ref().map(|text| text.expose().trim()) {
                        Some(AUTHORITY) => Authentication::CertificateAuthority,
                        text => Authentication::SelfSigned(
                            text.and_then(Thumbprint::parse)
                                .ok_or_else(|| self.0.invalid(&file, "its .sha256 is not beside it"))?,
                        ),
                    }
                }
                Key::Signature(_) => return Err(self.no_key(&file)),
            };
            identities.push((identity, authentication));
        }
        Ok(identities)
    }

    /// Writes an identity's connection string, which names `hub`, and what it authenticates with beside it.
    ///
    /// # Errors
    /// A file cannot be written.
    pub(super) fn write_identity(
        &self,
        identity: &Identity,
        authentication: &Authentication,
        hub: &HubAddress,
    ) -> Result<()> {
        let module = identity.module().map_or_else(String::new, |module| format!(";ModuleId={module}"));
        let beside = |kind: &str, text: &str| {
            self.0.write_secret(&identity_file(identity, kind), &Secret::new(format!("{text}\n")))
        };
        let certificate = |text: &str| {
            beside("sha256", text)?;
            self.0.remove(&identity_file(identity, "secondary"))?;
            Ok::<_, Error>(Secret::new("x509=true"))
        };
        let key = match authentication {
            Authentication::SharedKeys { primary, secondary } => {
                beside("secondary", secondary.expose())?;
                Secret::new(format!("SharedAccessKey={}", primary.expose()))
            }
            Authentication::SelfSigned(thumbprint) => certificate(&thumbprint.to_string())?,
            Authentication::CertificateAuthority => certificate(AUTHORITY)?,
        };
        let device = identity.device();
        let text = Secret::new(format!("HostName={hub};DeviceId={device}{module};{}\n", key.expose()));
        self.0.write_secret(&identity_file(identity, "conn"), &text)
    }

    /// An identity's twin; `None` before the first change.
    ///
    /// # Errors
    /// The file is invalid, or cannot be read.
    pub(super) fn twin(&self, identity: &Identity) -> Result<Option<Twin>> {
        let file = identity_file(identity, "twin");
        let Some(text) = self.0.read(&file)? else { return Ok(None) };
        let twin = serde_json::from_str(text.expose());
        twin.map(Some).map_err(|error| self.0.invalid(&file, Problem::of(error)))
    }

    /// Writes an identity's twin.
    ///
    /// # Errors
    /// The file cannot be written.
    pub(super) fn write_twin(&self, identity: &Identity, twin: &Twin) -> Result<()> {
        let text = serde_json::to_string(twin).map_err(anyhow::Error::new)?;
        self.0.write_secret(&identity_file(identity, "twin"), &Secret::new(text))
    }

    /// Removes an identity's files.
    ///
    /// # Errors
    /// One is there and cannot be removed.
    pub(super) fn remove_identity(&self, identity: &Identity) -> Result<()> {
        ["conn", "secondary", "sha256", "twin"]
            .iter()
            .try_for_each(|kind| self.0.remove(&identity_file(identity, kind)))
    }

    fn connection_string(&self, file: &str) -> Result<Option<(Option<Identity>, Key)>> {
        let Some(text) = self.0.read(file)? else { return Ok(None) };
        match ConnectionString::parse(text.expose()) {
            Ok(ConnectionString { key, identity, .. }) => Ok(Some((identity, key))),
            Err(problem) => Err(self.0.invalid(file, Problem::of(problem))),
        }
    }

    fn no_key(&self, file: &str) -> Error {
        self.0.invalid(file, "it has no SharedAccessKey")
    }
}

/// A policy's connection string.
pub(super) fn policy_string(hub: &HubAddress, name: &str, key: &Secret) -> Secret {
    Secret::new(format!("HostName={hub};SharedAccessKeyName={name};SharedAccessKey={}", key.expose()))
}

fn identity_file(identity: &Identity, kind: &str) -> String {
    format!("devices/{}.{kind}", encode(&identity.client_id()))
}

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::{fs, os::unix::fs::PermissionsExt};

    use super::*;

    fn hub() -> HubAddress {
        HubAddress::parse("localhost:8443").unwrap()
    }

    fn open(path: &Path) -> Files {
        Files::open(Directory::open(path).unwrap()).unwrap()
    }

    #[test]
    fn keys_are_stable_over_restarts() {
        let temporary = tempfile::tempdir().unwrap();
        let path = temporary.path().join("a \"b\" \\c");
        let first = open(&path);
        let key = first.policy_key("service", &hub()).unwrap();
        let identity = Identity::new("Line(3),Press", Some("m%")).unwrap();
        let keys = [new_key().unwrap(), new_key().unwrap()];
        let [primary, secondary] = keys.clone();
        first.write_identity(&identity, &Authentication::SharedKeys { primary, secondary }, &hub()).unwrap();

        let second = open(&path);
        assert_eq!(second.policy_key("service", &hub()).unwrap(), key);
        let (found, authentication) = second.identities().unwrap().remove(0);
        assert_eq!(found, identity);
        assert!(
            matches!(authentication, Authentication::SharedKeys { primary, secondary } if [&primary, &secondary] == [&keys[0], &keys[1]])
        );
        assert!(path.join("devices/Line%283%29%2CPress%2Fm%25.conn").exists());

        for (file, mode) in [("service.conn", 0o600), ("", 0o700)] {
            let found = fs::metadata(path.join(file)).unwrap().permissions().mode();
            assert_eq!(found & 0o777, mode, "{file}");
        }
        second.remove_identity(&identity).unwrap();
        second.remove_identity(&identity).unwrap();
        assert!(second.identities().unwrap().is_empty());
    }

    #[test]
    fn an_error_names_the_invalid_file_and_not_its_key() {
        let temporary = tempfile::tempdir().unwrap();
        let files = open(temporary.path());
        fs::write(temporary.path().join("service.conn"), "HostName=h;SharedAccessKey=hunter2").unwrap();
        let report = files.policy_key("service", &hub()).unwrap_err().report();
        assert!(report.contains("service.conn") && !report.contains("hunter2"), "{report}");
    }
}
