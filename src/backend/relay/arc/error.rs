//! The errors of Arc machines.

use std::time::Duration;

use super::ResourceId;
use crate::error::{Exit, Fault, Retry};
use crate::time::phase::Phase;

/// An error on the way to an Arc machine.
#[derive(Debug, thiserror::Error)]
pub(super) enum Error {
    /// Azure Resource Manager does not list the credentials of the machine's relay.
    #[error("{refusal}")]
    NotListed { machine: ResourceId, status: u16, refusal: Box<dyn Fault> },
    /// The relay refused the stream.
    #[error("{0}")]
    Refused(Box<dyn Fault>),
    /// The credentials that `az ssh` has passed have expired.
    #[error("the relay credentials in {source_name} have expired")]
    Expired { source_name: String },
}

impl Error {
    fn inner(&self) -> Option<&dyn Fault> {
        match self {
            Error::NotListed { refusal, .. } => Some(&**refusal),
            Error::Refused(refusal) => Some(&**refusal),
            Error::Expired { .. } => None,
        }
    }
}

impl From<Error> for crate::error::Error {
    fn from(error: Error) -> Self {
        Self::Backend(Box::new(error))
    }
}

impl Fault for Error {
    fn exit(&self) -> Exit {
        self.inner().map_or(Exit::Denied, Fault::exit)
    }

    fn hint(&self) -> Option<String> {
        match self {
            Error::NotListed { machine, status: 404, .. } => Some(format!(
                "check the machine's name; if it exists, it has no endpoint: {}",
                machine.make_endpoint()
            )),
            Error::NotListed { machine, status: 412, .. } => {
                Some(format!("the machine does not offer SSH: {}", machine.make_configuration()))
            }
            Error::NotListed { refusal, .. } => refusal.hint(),
            Error::Refused(_) => Some(
                "check that the machine is connected in Azure Arc, and on it `azcmagent config get incomingconnections.ports`"
                    .into(),
            ),
            Error::Expired { .. } => Some("run `az ssh arc` or `az ssh config` again".into()),
        }
    }

    fn retry(&self) -> Option<Retry> {
        self.inner().and_then(Fault::retry)
    }

    fn retry_after(&self) -> Option<Duration> {
        self.inner().and_then(Fault::retry_after)
    }

    fn phase(&self) -> Phase {
        self.inner().map_or(Phase::named("credential"), Fault::phase)
    }

    fn is_rejection(&self) -> bool {
        false
    }
}
