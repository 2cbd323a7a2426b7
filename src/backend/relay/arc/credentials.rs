//! The credentials of a machine's relay: from Azure Resource Manager, or from `az ssh`.

use std::time::{Duration, Instant, SystemTime};

use super::error::Error as ArcError;
use super::{RelayInfo, ResourceId, service};
use crate::backend::arm::{ARM, Arm};
use crate::backend::relay::proto::Malformed;
use crate::error::{Error, Problem, Result};
use crate::secret::Secret;
use crate::state::arc_credentials;
use crate::time::clock::unix_seconds;
use crate::time::phase::Phases;

/// How long before their expiry credentials are no longer used: a start takes some seconds, and clocks differ.
const MARGIN: Duration = Duration::from_secs(60);

/// A source of the credentials.
#[derive(Debug)]
pub(super) enum Credentials {
    /// Azure Resource Manager lists them.
    Listed(Listed),
    /// `az ssh` has passed them.
    Passed {
        /// The credentials.
        info: RelayInfo,
        /// Where they were, for messages.
        source: String,
    },
}

/// The credentials that Azure Resource Manager lists.
#[derive(Debug)]
pub(super) struct Listed {
    pub(super) arm: Arm,
    pub(super) machine: ResourceId,
    /// The domain of relays.
    pub(super) suffix: String,
}

impl Credentials {
    /// Credentials that have not expired.
    ///
    /// # Errors
    /// Returns an error if they have, or cannot be listed.
    pub(super) async fn get(&self, phases: &mut Phases) -> Result<RelayInfo> {
        match self {
            Self::Passed { info, source } if is_over(info, Duration::ZERO) => {
                Err(ArcError::Expired { source_name: source.clone() }.into())
            }
            Self::Passed { info, .. } => Ok(info.clone()),
            Self::Listed(listed) => match listed.kept() {
                Some(info) => Ok(info),
                None => listed.list(phases).await,
            },
        }
    }

    /// New credentials in place of those that the relay refuses; `None` if there are no others.
    ///
    /// # Errors
    /// Returns an error if they cannot be listed.
    pub(super) async fn renew(&self, phases: &mut Phases) -> Result<Option<RelayInfo>> {
        match self {
            Self::Passed { .. } => Ok(None),
            Self::Listed(listed) => listed.list(phases).await.map(Some),
        }
    }
}

impl Listed {
    /// The kept credentials, if they have not expired.
    fn kept(&self) -> Option<RelayInfo> {
        let text = arc_credentials::known(&self.arm.endpoint().authority(), &self.machine.to_string())?;
        let info = RelayInfo::parse(text.expose()).ok()?;
        // Credentials without a time are used once.
        (info.expiry.is_some() && !is_over(&info, MARGIN) && info.check_cloud(&self.suffix).is_ok())
            .then_some(info)
    }

    /// Lists and keeps the credentials.
    async fn list(&self, phases: &mut Phases) -> Result<RelayInfo> {
        let since = Instant::now();
        let reply = self.arm.post(&self.machine.list_credentials(), &service()).await?;
        if reply.status != 200 {
            let refusal = self.arm.refusal("list the credentials of the machine's relay", &reply);
            return Err(match refusal {
                Error::Backend(refusal) => {
                    ArcError::NotListed { machine: self.machine.clone(), status: reply.status, refusal }
                        .into()
                }
                other => other,
            });
        }
        phases.done(ARM, self.arm.endpoint(), since);
        let malformed = |problem: Malformed| self.arm.malformed(Problem::of(problem));
        let text =
            std::str::from_utf8(&reply.body).map_err(|_| malformed(Malformed::new("it is not text")))?;
        let info = RelayInfo::parse(text).map_err(malformed)?;
        info.check_cloud(&self.suffix).map_err(malformed)?;
        let endpoint = self.arm.endpoint().authority();
        arc_credentials::keep(&endpoint, &self.machine.to_string(), &Secret::new(text));
        Ok(info)
    }
}

/// Whether credentials expire within `margin`.
fn is_over(info: &RelayInfo, margin: Duration) -> bool {
    info.expiry.is_some_and(|expiry| expiry.0 <= unix_seconds(SystemTime::now()).0 + margin.as_secs())
}
