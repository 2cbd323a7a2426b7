//! The workload API of IoT Edge, which signs for a module in its container.

mod environment;

use std::any::Any;
use std::sync::Arc;

use data_encoding::BASE64;
use serde::Deserialize;
use serde_json::json;

use self::environment::{Environment, NAME};
use super::daemon::{Daemon, Kind, SIGNING_LIMIT};
use crate::backend::Pending;
use crate::backend::iothub::listener::{Authentication, CredentialSource, DeviceCredential, Doubt, Signer};
use crate::error::Result;
use crate::net::Network;
use crate::text::percent::encode;

pub(crate) use self::environment::is_module;

/// Signs tokens through the workload API. The identity is in the environment.
#[derive(Debug)]
pub(crate) struct WorkloadApi(DeviceCredential);

impl WorkloadApi {
    /// From this process's environment. The hub is dialled directly: Edge Hub, which the environment names as the
    /// gateway, has no device streams.
    ///
    /// # Errors
    /// Returns which variable is missing or cannot be used.
    pub(crate) fn of_environment() -> Result<Self> {
        let environment = Environment::read(|name| std::env::var_os(name))?;
        let key = ModuleKey::of(&environment);
        Ok(Self(DeviceCredential {
            hub: environment.hub,
            gateway: None,
            identity: environment.identity,
            authentication: Authentication::Signer(Arc::new(key)),
            source: NAME.into(),
        }))
    }
}

impl CredentialSource for WorkloadApi {
    fn known(&self) -> Option<DeviceCredential> {
        Some(self.0.clone())
    }

    fn describe(&self) -> String {
        NAME.into()
    }

    fn obtain<'a>(&'a self, _: &'a Network, _: Doubt) -> Pending<'a, Result<DeviceCredential>> {
        Box::pin(async { Ok(self.0.clone()) })
    }

    /// The environment of a process does not change.
    fn is_same(&self, other: &dyn CredentialSource) -> bool {
        (other as &dyn Any).is::<Self>()
    }
}

/// The module's key, which stays in the daemon.
#[derive(Debug)]
struct ModuleKey {
    daemon: Daemon,
    path: String,
}

impl ModuleKey {
    fn of(environment: &Environment) -> Self {
        let Environment { generation, api_version, module, .. } = environment;
        Self {
            daemon: Daemon::new(Kind::Edged, environment.socket.clone()),
            path: format!(
                "/modules/{}/genid/{}/sign?api-version={}",
                encode(module),
                encode(generation),
                encode(api_version)
            ),
        }
    }
}

#[derive(Deserialize)]
struct Digest {
    digest: String,
}

impl Signer for ModuleKey {
    fn sign(&self, message: Vec<u8>) -> Pending<'_, Result<Vec<u8>>> {
        Box::pin(async move {
            let body = json!({ "keyId": "primary", "algo": "HMACSHA256", "data": BASE64.encode(&message) });
            let request = hyper::Request::post(&self.path);
            let answer: Digest = self.daemon.ask(request, body.to_string().into(), SIGNING_LIMIT).await?;
            self.daemon.signature(&answer.digest)
        })
    }
}
