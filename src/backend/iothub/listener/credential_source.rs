//! Where a device's credential comes from.

use std::any::Any;
use std::fmt;
use std::time::Duration;

use super::credential::DeviceCredential;
use crate::backend::Pending;
use crate::backend::settings::CertificateFiles;
use crate::error::{Exposure, Result};
use crate::net::Network;
use crate::secret::Secret;

/// A source of a device's credential, such as a configuration file or a service that provisions devices.
pub(crate) trait CredentialSource: Any + fmt::Debug + Send + Sync {
    /// The credential as far as it is known without a request; `None` before the first [`Self::obtain`] of a service.
    fn known(&self) -> Option<DeviceCredential>;

    /// The source in words, for messages before the credential is known.
    fn describe(&self) -> String;

    /// The step of `agent --check` that asks the source; `None` if nobody is asked.
    fn step(&self) -> Option<&'static str> {
        None
    }

    /// Gets the credential for a login. `doubt` says whether the last one is in doubt.
    ///
    /// Cancel-safe: dropping the future drops a request.
    ///
    /// # Errors
    /// Returns why there is no credential.
    fn obtain<'a>(&'a self, network: &'a Network, doubt: Doubt) -> Pending<'a, Result<DeviceCredential>>;

    /// The `credential` that was obtained last and how, for a check.
    fn found(&self, credential: &DeviceCredential) -> String {
        format!("{} at {}", credential.identity, credential.hub)
    }

    /// Tells the source that the hub accepted the login.
    fn accepted(&self) {}

    /// Whether `other` asks the same service in the same name, so that a reread configuration keeps what this one knows.
    fn is_same(&self, _other: &dyn CredentialSource) -> bool {
        false
    }
}

/// Doubt about the credential of the last login.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Doubt {
    /// None.
    None,
    /// The hub has been out of reach for this long.
    Unreachable(Duration),
    /// The hub refused it or does not know the device, though the clock is right.
    Refused,
}

/// The credential in a configuration.
#[derive(Debug)]
pub(crate) struct Configured(DeviceCredential);

impl Configured {
    /// The credential in a device's connection string. Tolerated exposures of the certificate's key are added to `warnings`.
    ///
    /// # Errors
    /// Returns an error if the connection string or a file is invalid. The error does not contain it.
    pub(crate) fn of_connection_string(
        source: &str,
        text: &Secret,
        certificate: Option<&CertificateFiles>,
        warnings: &mut Vec<Exposure>,
    ) -> Result<Self> {
        Ok(Self(DeviceCredential::new(source, text, certificate, warnings)?))
    }
}

impl CredentialSource for Configured {
    fn known(&self) -> Option<DeviceCredential> {
        Some(self.0.clone())
    }

    fn describe(&self) -> String {
        self.0.source.clone()
    }

    fn obtain<'a>(&'a self, _: &'a Network, _: Doubt) -> Pending<'a, Result<DeviceCredential>> {
        Box::pin(async { Ok(self.0.clone()) })
    }
}
