//! The hub that a provisioning service assigned the device to, so that a restart needs no service.

use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::directory;
use crate::platform::private_file::{Access, Unwritable, read, replace};

/// What an assignment is for. Another service, id scope or registration id has another one.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) struct Binding {
    /// The provisioning service.
    pub service: String,
    /// The id scope.
    pub id_scope: String,
    /// The registration id in lower case, because case does not distinguish it.
    pub registration_id: String,
}

/// An assignment. It contains no key.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) struct Assignment {
    /// The hub.
    pub hub: String,
    /// The device's id there.
    pub device_id: String,
    /// When the service assigned it, in seconds since 1970.
    pub assigned: u64,
    /// When the last registration began, in seconds since 1970.
    pub registered: u64,
    /// The registrations for refusals of the hub since it last accepted a login.
    pub repeated: u32,
}

#[derive(Deserialize, Serialize)]
struct File {
    #[serde(flatten)]
    binding: Binding,
    #[serde(flatten)]
    assignment: Assignment,
}

impl Binding {
    fn file(&self) -> String {
        let Self { service, id_scope, registration_id } = self;
        let hash = Sha256::digest(format!("{service}\n{id_scope}\n{registration_id}"));
        format!("assignment-{}", data_encoding::HEXLOWER.encode(&hash[..8]))
    }

    fn path(&self) -> Option<PathBuf> {
        directory::of_service().map(|directory| directory.join(self.file()))
    }
}

/// The last assignment.
///
/// # Errors
/// Returns which file is not used, and why.
pub(crate) fn known(binding: &Binding) -> Result<Option<Assignment>, String> {
    let Some(path) = binding.path() else { return Ok(None) };
    read_file(&path, binding).map_err(|problem| format!("{} is not used: {problem}", path.display()))
}

fn read_file(path: &Path, binding: &Binding) -> io::Result<Option<Assignment>> {
    let found = match read(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        found => found?,
    };
    if let Some(exposure) = found.changeable.first() {
        return Err(io::Error::other(exposure.to_string()));
    }
    let file: File = serde_json::from_slice(&found.bytes).map_err(|_| io::Error::other("it is damaged"))?;
    if file.binding != *binding {
        return Err(io::Error::other("it is for another registration"));
    }
    Ok(Some(file.assignment))
}

/// Stores an assignment for [`known`], readable only by its owner.
///
/// # Errors
/// Returns an error if there is no state directory, or it cannot be written.
pub(crate) fn keep(binding: &Binding, assignment: &Assignment) -> Result<(), Unwritable> {
    let path = binding.path().ok_or(io::Error::other("there is no state directory"))?;
    let file = File { binding: binding.clone(), assignment: assignment.clone() };
    let text = serde_json::to_string_pretty(&file).map_err(io::Error::other)?;
    replace(&path, format!("{text}\n").as_bytes(), Access::Owner)
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn binding(id: &str) -> Binding {
        Binding { service: "dps".into(), id_scope: "0ne".into(), registration_id: id.into() }
    }

    fn written(binding: &Binding) -> (tempfile::TempDir, PathBuf, Assignment) {
        let assignment = Assignment {
            hub: "contoso.azure-devices.net".into(),
            device_id: "gw-07".into(),
            assigned: 1_795_396_174,
            registered: 1_795_396_170,
            repeated: 1,
        };
        let file = File { binding: binding.clone(), assignment: assignment.clone() };
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join(binding.file());
        fs::write(&path, serde_json::to_string(&file).unwrap()).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        (directory, path, assignment)
    }

    fn read_as(path: &Path, binding: &Binding) -> Result<Option<Assignment>, String> {
        read_file(path, binding).map_err(|problem| problem.to_string())
    }

    #[test]
    fn an_assignment_is_read_for_its_own_binding_alone() {
        let own = binding("gw-07");
        let (_directory, path, assignment) = written(&own);
        assert_eq!(read_as(&path, &own), Ok(Some(assignment)));
        assert_eq!(read_as(&path, &binding("gw-08")), Err("it is for another registration".into()));
        assert_ne!(own.file(), binding("gw-08").file());
        assert_eq!(read_as(&path.with_extension("none"), &own), Ok(None));
    }

    #[test]
    fn a_damaged_or_changeable_file_is_not_used() {
        let own = binding("gw-07");
        let (_directory, path, _) = written(&own);
        fs::set_permissions(&path, fs::Permissions::from_mode(0o666)).unwrap();
        assert!(read_as(&path, &own).is_err());
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        let whole = fs::read_to_string(&path).unwrap();
        for text in ["", "{}", "null", &whole[..whole.len() / 2], &whole.replace("1795396174", "-1")] {
            fs::write(&path, text).unwrap();
            assert_eq!(read_as(&path, &own), Err("it is damaged".into()), "{text}");
        }
    }
}
