//! The emulator's directory: what outlives a restart, and the files clients are given.
//!
//! ```text
//! ca.pem  ca.key               the authority
//! service.conn                 the connection string of the policy `service`
//! policies/NAME.conn           those of the other policies
//! devices/ID.conn              a registered identity, percent-encoded: `dev%2Fmod.conn` is module mod of dev
//! devices/ID.sha256            the thumbprint of its certificate, where it has one
//! devices/ID.twin              its twin, once somebody has written to it
//! profiles.toml                the connect side's configuration
//! ```

use std::fs;
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};

use crate::backend::iothub::proto::{ConnectionString, HubAddress, Identity, Key, encode};
use crate::error::{Error, Result};
use crate::platform::private_file::{Access, create_directories, replacement};
use crate::secret::Secret;

use super::certificate::Authority;
use super::client_certificate::Thumbprint;
use super::twins::Twin;

/// The policies of a new hub [D].
pub(super) const POLICIES: [&str; 5] =
    ["service", "device", "registryRead", "registryReadWrite", "iothubowner"];

/// What stands in the place of a thumbprint.
const AUTHORITY: &str = "certificateAuthority";

/// How a device or module proves itself.
#[derive(Clone, Debug)]
pub(super) enum Proof {
    /// With tokens that this key signs.
    Key(Secret),
    Certificate(Thumbprint),
    /// With a certificate that an authority signed; the emulator knows none, so it lets nobody in.
    Authority,
}

/// The directory, whose secret files only their owner can read.
#[derive(Debug)]
pub(super) struct Directory {
    path: PathBuf,
}

impl Directory {
    /// Makes the directory where there is none, closed to others; one that exists keeps its mode.
    pub(super) fn open(path: &Path) -> Result<Self> {
        for part in ["devices", "policies"] {
            let path = path.join(part);
            let made = create_directories(&path, Access::Owner);
            made.map_err(Error::local_io(format!("emulator's directory {}", path.display())))?;
        }
        let path = path.canonicalize();
        Ok(Self { path: path.map_err(Error::local_io("emulator's directory"))? })
    }

    /// The authority, made at the first start.
    pub(super) fn authority(&self) -> Result<Authority> {
        let (certificate, key) = (self.read("ca.pem")?, self.read("ca.key")?);
        if let (Some(certificate), Some(key)) = (certificate, key) {
            return Ok(Authority { certificate: certificate.expose().to_owned(), key });
        }
        let authority = Authority::generate().map_err(anyhow::Error::new)?;
        self.write("ca.key", Access::Owner, authority.key.expose())?;
        self.write("ca.pem", Access::Everyone, &authority.certificate)?;
        Ok(authority)
    }

    /// A policy's key, made at the first start; its connection string names the hub as it is now.
    pub(super) fn policy(&self, name: &str, hub: &HubAddress) -> Result<Secret> {
        let file = if name == "service" { "service.conn".into() } else { format!("policies/{name}.conn") };
        let key = match self.connection_string(&file)? {
            None => new_key()?,
            Some((_, Key::Shared(key))) => key,
            Some(_) => return Err(self.broken(&file, "it holds no SharedAccessKey".into())),
        };
        let text = policy_string(hub, name, &key);
        self.write(&file, Access::Owner, &format!("{}\n", text.expose()))?;
        Ok(key)
    }

    /// Every identity registered earlier, and how it proves itself.
    pub(super) fn identities(&self) -> Result<Vec<(Identity, Proof)>> {
        let folder = self.path.join("devices");
        let unreadable = || Error::local_io(format!("directory {}", folder.display()));
        let mut identities = Vec::new();
        for entry in fs::read_dir(&folder).map_err(unreadable())? {
            let name = entry.map_err(unreadable())?.file_name();
            let Some(name) =
                name.to_str().filter(|name| Path::new(name).extension().is_some_and(|e| e == "conn"))
            else {
                continue;
            };
            let file = format!("devices/{name}");
            let Some((Some(identity), key)) = self.connection_string(&file)? else { continue };
            let proof = match key {
                Key::Shared(key) => Proof::Key(key),
                Key::Certificate => {
                    let thumbprint = self.read(&identity_file(&identity, "sha256"))?;
                    match thumbprint.as_ref().map(|text| text.expose().trim()) {
                        Some(AUTHORITY) => Proof::Authority,
                        text => Proof::Certificate(
                            text.and_then(Thumbprint::parse)
                                .ok_or_else(|| self.broken(&file, "its .sha256 is not beside it".into()))?,
                        ),
                    }
                }
                Key::Signature(_) => return Err(self.broken(&file, "it holds no SharedAccessKey".into())),
            };
            identities.push((identity, proof));
        }
        Ok(identities)
    }

    /// Writes an identity's connection string.
    pub(super) fn keep(&self, identity: &Identity, proof: &Proof, hub: &HubAddress) -> Result<()> {
        let module = identity.module().map_or_else(String::new, |module| format!(";ModuleId={module}"));
        let proof = match proof {
            Proof::Key(key) => Secret::new(format!("SharedAccessKey={}", key.expose())),
            Proof::Certificate(thumbprint) => {
                self.write(&identity_file(identity, "sha256"), Access::Owner, &format!("{thumbprint}\n"))?;
                Secret::new("x509=true")
            }
            Proof::Authority => {
                self.write(&identity_file(identity, "sha256"), Access::Owner, &format!("{AUTHORITY}\n"))?;
                Secret::new("x509=true")
            }
        };
        let text = Secret::new(format!(
            "HostName={hub};DeviceId={}{module};{}\n",
            identity.device(),
            proof.expose()
        ));
        self.write(&identity_file(identity, "conn"), Access::Owner, text.expose())
    }

    /// An identity's twin, if it was kept.
    pub(super) fn twin(&self, identity: &Identity) -> Result<Option<Twin>> {
        let file = identity_file(identity, "twin");
        let Some(text) = self.read(&file)? else { return Ok(None) };
        serde_json::from_str(text.expose()).map(Some).map_err(|error| self.broken(&file, error.to_string()))
    }

    pub(super) fn keep_twin(&self, identity: &Identity, twin: &Twin) -> Result<()> {
        let text = serde_json::to_string(twin).map_err(anyhow::Error::new)?;
        self.write(&identity_file(identity, "twin"), Access::Owner, &text)
    }

    /// Removes an identity's files.
    pub(super) fn forget(&self, identity: &Identity) -> Result<()> {
        for kind in ["conn", "sha256", "twin"] {
            let path = self.path.join(identity_file(identity, kind));
            match fs::remove_file(&path) {
                Err(error) if error.kind() != ErrorKind::NotFound => {
                    return Err(Error::LocalIo { what: format!("file {}", path.display()), source: error });
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// Writes the connect side's configuration, so that `iotstream --config DIR/profiles.toml ID` just works. `rate` is
    /// what the hub's quota allows.
    pub(super) fn write_profiles(
        &self,
        hub: &HubAddress,
        service_key: &Secret,
        rate: Option<u32>,
    ) -> Result<()> {
        let string = policy_string(hub, "service", service_key);
        let quoted = |text: &str| toml::Value::String(text.to_owned()).to_string();
        let ca_file = self.path.join("ca.pem");
        let ca_file = ca_file.to_str().ok_or_else(|| Error::File {
            path: ca_file.clone(),
            line: None,
            problem: "the path is not UTF-8 and cannot go into profiles.toml".into(),
            hint: "choose another directory".into(),
        })?;
        let rate = rate.map_or_else(String::new, |rate| format!("streams-per-second = {rate}\n"));
        let text = Secret::new(format!(
            "default = \"emulator\"\n\n[profile.emulator]\nconnection-string = {}\nhosts = [\"*.emulator\"]\n\
             ca-file = {}\n{rate}",
            quoted(string.expose()),
            quoted(ca_file)
        ));
        self.write("profiles.toml", Access::Owner, text.expose())
    }

    fn connection_string(&self, file: &str) -> Result<Option<(Option<Identity>, Key)>> {
        let Some(text) = self.read(file)? else { return Ok(None) };
        match ConnectionString::parse(text.expose()) {
            Ok(ConnectionString { key, identity, .. }) => Ok(Some((identity, key))),
            Err(problem) => Err(self.broken(file, problem.0)),
        }
    }

    fn broken(&self, file: &str, problem: String) -> Error {
        Error::File {
            path: self.path.join(file),
            line: None,
            problem,
            hint: "remove the file, and it is made anew".into(),
        }
    }

    fn read(&self, file: &str) -> Result<Option<Secret>> {
        let path = self.path.join(file);
        match fs::read_to_string(&path) {
            Ok(text) => Ok(Some(Secret::new(text))),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(source) => Err(Error::LocalIo { what: format!("file {}", path.display()), source }),
        }
    }

    /// Replaces a file in one step: whoever reads it sees the old text or the new.
    fn write(&self, file: &str, access: Access, text: &str) -> Result<()> {
        let path = self.path.join(file);
        let replace = || {
            let mut file = replacement(&path, access)?;
            file.write_all(text.as_bytes())?;
            file.persist(&path)?;
            Ok(())
        };
        replace().map_err(Error::local_io(format!("file {}", path.display())))
    }
}

/// A new shared access key: 32 random bytes, as the service makes them [D].
pub(super) fn new_key() -> Result<Secret> {
    let mut key = zeroize::Zeroizing::new([0; 32]);
    getrandom::fill(&mut key[..]).map_err(anyhow::Error::new)?;
    Ok(Secret::new(data_encoding::BASE64.encode(&key[..])))
}

fn policy_string(hub: &HubAddress, name: &str, key: &Secret) -> Secret {
    Secret::new(format!("HostName={hub};SharedAccessKeyName={name};SharedAccessKey={}", key.expose()))
}

fn identity_file(identity: &Identity, kind: &str) -> String {
    format!("devices/{}.{kind}", encode(&identity.client_id()))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn hub() -> HubAddress {
        HubAddress::parse("localhost:8443").unwrap()
    }

    #[test]
    fn keys_and_the_authority_are_stable() {
        let temporary = tempfile::tempdir().unwrap();
        let path = temporary.path().join("a \"b\" \\c");
        let first = Directory::open(&path).unwrap();
        let authority = first.authority().unwrap();
        let key = first.policy("service", &hub()).unwrap();
        let identity = Identity::new("Line(3),Press", Some("m%")).unwrap();
        first.keep(&identity, &Proof::Key(new_key().unwrap()), &hub()).unwrap();
        first.write_profiles(&hub(), &key, Some(5)).unwrap();

        let second = Directory::open(&path).unwrap();
        assert_eq!(second.authority().unwrap().certificate, authority.certificate);
        assert_eq!(second.policy("service", &hub()).unwrap(), key);
        assert_eq!(second.identities().unwrap()[0].0, identity);
        assert!(path.join("devices/Line%283%29%2CPress%2Fm%25.conn").exists());

        let profiles: toml::Table = fs::read_to_string(path.join("profiles.toml")).unwrap().parse().unwrap();
        let profile = &profiles["profile"]["emulator"];
        let ca_file = path.canonicalize().unwrap().join("ca.pem");
        assert_eq!(profile["ca-file"].as_str(), ca_file.to_str());
        assert_eq!(profile["streams-per-second"].as_integer(), Some(5));
        let string = ConnectionString::parse(profile["connection-string"].as_str().unwrap()).unwrap();
        assert_eq!((string.hub, string.policy.as_deref()), (hub(), Some("service")));

        for (file, mode) in
            [("service.conn", 0o600), ("ca.key", 0o600), ("profiles.toml", 0o600), ("", 0o700)]
        {
            let found = fs::metadata(path.join(file)).unwrap().permissions().mode();
            assert_eq!(found & 0o777, mode, "{file}");
        }
        second.forget(&identity).unwrap();
        second.forget(&identity).unwrap();
        assert!(second.identities().unwrap().is_empty());
    }

    #[test]
    fn a_broken_file_is_named_and_its_key_is_not() {
        let temporary = tempfile::tempdir().unwrap();
        let directory = Directory::open(temporary.path()).unwrap();
        fs::write(temporary.path().join("service.conn"), "HostName=h;SharedAccessKey=hunter2").unwrap();
        let report = directory.policy("service", &hub()).unwrap_err().report();
        assert!(report.contains("service.conn") && !report.contains("hunter2"), "{report}");
    }
}
