//! Which devices may register, and with what.

use std::collections::HashMap;
use std::path::PathBuf;

use super::certificates::Authorities;
use super::files::Files;
use crate::backend::iothub::proto::Identity;
use crate::backend::provisioning::dps::proto::RegistrationId;
use crate::emulator::client_certificate::Thumbprint;
use crate::emulator::directory::Directory;
use crate::error::{Error, Result};
use crate::secret::Secret;

/// The settings of the service.
#[derive(Clone, Debug)]
pub(crate) struct Options {
    /// The id scope.
    pub scope: String,
    /// A file with the certificates of authorities whose devices may register.
    pub authorities: Option<PathBuf>,
    /// Individual enrolments with a key, as `ID` or `ID=DEVICE`.
    pub devices: Vec<String>,
    /// Individual enrolments with a certificate.
    pub x509_devices: Vec<(String, Thumbprint)>,
}

/// The enrolments of an id scope.
#[derive(Debug)]
pub(super) struct Enrolments {
    pub(super) scope: String,
    /// The key of the enrolment group.
    pub(super) group_key: Secret,
    /// The authorities of the enrolment group with certificates.
    pub(super) authorities: Option<Authorities>,
    individual: HashMap<RegistrationId, Individual>,
}

/// An individual enrolment.
#[derive(Debug)]
pub(super) struct Individual {
    pub(super) device: Identity,
    pub(super) means: Means,
}

/// What a device proves an individual enrolment with.
#[derive(Debug)]
pub(super) enum Means {
    Key(Secret),
    Certificate(Thumbprint),
}

impl Enrolments {
    /// Reads the enrolments that `directory` and `options` have, and writes the files for clients.
    ///
    /// # Errors
    /// The scope or an id is invalid, an id is enrolled twice, or a file is invalid, or cannot be read or written.
    pub(super) fn open(directory: Directory, options: Options) -> Result<Self> {
        let Options { scope, authorities, devices, x509_devices } = options;
        if scope.is_empty() || !scope.bytes().all(|byte| byte.is_ascii_alphanumeric()) {
            let hint = "an id scope has letters and digits in it, as in 0ne00000001";
            return Err(Error::usage(format!("'{scope}' is not an id scope"), hint));
        }
        let files = Files::open(directory)?;
        files.write_scope(&scope)?;
        let group_key = files.group_key()?;
        let authorities = authorities.as_deref().map(Authorities::read).transpose()?;
        let mut enrolments = Self { scope, group_key, authorities, individual: HashMap::new() };
        for text in &devices {
            let (id, device) = text.split_once('=').unwrap_or((text, text));
            let id = registration_id(id)?;
            let means = Means::Key(files.device_key(&id)?);
            enrolments.enrol(id, device, means)?;
        }
        for (id, thumbprint) in &x509_devices {
            enrolments.enrol(registration_id(id)?, id, Means::Certificate(*thumbprint))?;
        }
        Ok(enrolments)
    }

    fn enrol(&mut self, id: RegistrationId, device: &str, means: Means) -> Result<()> {
        let wrong = |problem: &str| {
            Error::usage(format!("device '{device}': {problem}"), "an id has letters, digits and -._: in it")
        };
        let identity = Identity::new(device, None).map_err(|problem| wrong(&problem.0))?;
        if device.contains(';') {
            return Err(wrong("a connection string cannot carry the ';'"));
        }
        let text = id.to_string();
        match self.individual.insert(id, Individual { device: identity, means }) {
            None => Ok(()),
            Some(_) => {
                let problem = format!("registration id '{text}' is enrolled twice");
                Err(Error::usage(problem, "case does not distinguish registration ids"))
            }
        }
    }

    /// The individual enrolment of a registration id.
    pub(super) fn individual(&self, id: &RegistrationId) -> Option<&Individual> {
        self.individual.get(id)
    }
}

fn registration_id(text: &str) -> Result<RegistrationId> {
    text.parse().map_err(|problem| {
        Error::usage(
            format!("registration id '{text}': {problem}"),
            "it has up to 128 letters, digits and -._: in it, and ends with a letter, a digit or -",
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn open(scope: &str, devices: &[&str]) -> Result<Enrolments> {
        let temporary = tempfile::tempdir().unwrap();
        let devices = devices.iter().map(|device| (*device).to_owned()).collect();
        let x509_devices = vec![("cert".to_owned(), Thumbprint::parse(&"0f".repeat(32)).unwrap())];
        let options = Options { scope: scope.into(), authorities: None, devices, x509_devices };
        Enrolments::open(Directory::open(temporary.path()).unwrap(), options)
    }

    #[test]
    fn an_enrolment_may_name_a_device() {
        let enrolments = open("0ne00000001", &["a=Line(3),Press", "b"]).unwrap();
        let device = |id: &str| {
            enrolments.individual(&id.parse().unwrap()).map(|found| found.device.device().to_owned())
        };
        assert_eq!(device("A").as_deref(), Some("Line(3),Press"));
        assert_eq!(
            (device("b").as_deref(), device("CERT").as_deref(), device("c")),
            (Some("b"), Some("cert"), None)
        );
    }

    #[test]
    fn what_cannot_be_enrolled_is_named() {
        for (scope, device, problem) in [
            ("", "a", "not an id scope"),
            ("0ne/1", "a", "'0ne/1' is not an id scope"),
            ("0ne1", "a b", "registration id 'a b'"),
            ("0ne1", "a=x y", "device 'x y'"),
            ("0ne1", "a=x;y", "device 'x;y'"),
            ("0ne1", "Cert", "'cert' is enrolled twice"),
        ] {
            let error = open(scope, &[device]).unwrap_err().to_string();
            assert!(error.contains(problem), "{scope} {device}: {error}");
        }
    }
}
