//! Lists the devices of a namespace: its hybrid connections.

use super::credential::Credential;
use super::dialer::template;
use crate::backend::arm::Arm;
use crate::backend::relay::proto::{Malformed, Page, Template, list_path};
use crate::backend::{Access, Activity, Device, Pending, Progress, Registry, State, Stored};
use crate::error::{Error, Problem, Result};

/// The most hybrid connections of a namespace \[P], and the most pages of their list.
const MOST: usize = 10_000;

/// The hybrid connections of a namespace, as Azure Resource Manager lists them.
#[derive(Debug)]
pub(crate) struct Namespaces {
    arm: Arm,
    first: String,
    template: Template,
}

impl Namespaces {
    /// The list of a profile's namespace.
    ///
    /// # Errors
    /// Returns an error if the profile does not name the namespace's resource id, or its devices share a hybrid connection.
    pub(crate) fn new(access: &Access<'_>, stored: Stored<'_>) -> Result<Self> {
        let Access { name, profile, .. } = *access;
        let wrong =
            |problem: Problem, hint: &str| Err(Error::credential(format!("profile '{name}'"), problem, hint));
        let Some(resource) = &profile.resource else {
            return wrong(
                "a relay has no list of devices without `resource`".into(),
                "set resource = \"/subscriptions/…/providers/Microsoft.Relay/namespaces/NAME\", and a token-command",
            );
        };
        let first = match list_path(resource) {
            Ok(first) => first,
            Err(problem) => {
                return wrong(
                    Problem::of(problem),
                    "`az relay namespace show` prints it as id: /subscriptions/…/providers/Microsoft.Relay/namespaces/NAME",
                );
            }
        };
        let credential = Credential::of(name, profile.relay_suffix.as_deref(), stored)?;
        let template = template(name, profile, credential.entity.as_ref())?;
        if template.is_shared() {
            return wrong(
                "its devices share one hybrid connection, and a relay does not name them".into(),
                "list the ids under [profile.NAME.devices], or use one hybrid connection for each device",
            );
        }
        Ok(Self { arm: Arm::of(access)?, first, template })
    }

    async fn devices(&self, progress: &mut (dyn FnMut(Progress) + Send)) -> Result<Vec<Device>> {
        let malformed = |problem: Malformed| self.arm.malformed(Problem::of(problem));
        let authority = self.arm.endpoint().authority();
        let mut devices = Vec::new();
        let mut path = self.first.clone();
        for _ in 0..MOST {
            let reply = self.arm.get(&path).await?;
            if reply.status != 200 {
                return Err(self.arm.refusal("list the hybrid connections", &reply));
            }
            let page = Page::parse(&reply.body).map_err(malformed)?;
            let found = page.value.iter().filter_map(|found| {
                let id = self.template.device(&found.path())?;
                let state = if found.has_listener() { State::Online } else { State::Offline };
                Some(Device { id, state, last_activity: Activity::Unknown, reported: None })
            });
            devices.extend(found);
            progress(Progress { devices: devices.len(), pause: None });
            let next = page.next_path(&authority).map_err(malformed)?;
            if devices.len() > MOST {
                break;
            }
            match next {
                Some(next) if next != path => path = next,
                _ => return Ok(devices),
            }
        }
        Err(self.arm.malformed(format!("its list of hybrid connections goes on after {MOST}")))
    }
}

impl Registry for Namespaces {
    fn devices<'a>(
        &'a self,
        progress: &'a mut (dyn FnMut(Progress) + Send),
    ) -> Pending<'a, Result<Vec<Device>>> {
        Box::pin(self.devices(progress))
    }
}
