//! Azure Resource Manager: Azure's REST API for resources.

mod error;
mod phase;

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use http_body_util::Full;
use hyper::header::CONTENT_TYPE;
use tokio::time::timeout;

use self::error::Refusal;
pub(crate) use self::phase::ARM;
use super::Access;
use super::address;
use super::request::{authorized, bug};
use crate::config::TokenCommand;
use crate::error::{Error, Problem, Result};
use crate::net::{Endpoint, Network, Reply, exchange};
use crate::secret::Secret;
use crate::time::phase::Phases;

/// The host of the public cloud.
pub(crate) const HOST_NAME: &str = "management.azure.com";

/// The time limit of a request.
const LIMIT: Duration = Duration::from_secs(30);

/// The longest answer in bytes. A page of a list has some hundred entries.
const LONGEST: usize = 4 << 20;

/// A caller's access to Azure Resource Manager.
#[derive(Debug)]
pub(crate) struct Arm {
    endpoint: Endpoint,
    network: Network,
    tokens: Arc<TokenCommand>,
}

impl Arm {
    /// The access of a profile: with `arm-token-command`, else `token-command`.
    ///
    /// # Errors
    /// Returns [`Error::Credential`] without a command, or for an invalid `arm-endpoint`.
    pub(crate) fn of(access: &Access<'_>) -> Result<Self> {
        let Access { name, profile, network, .. } = access;
        let wrong =
            |problem: Problem, hint: &str| Error::credential(format!("profile '{name}'"), problem, hint);
        let (key, command) = match (&profile.arm_token_command, &profile.token_command) {
            (Some(command), _) => ("arm-token-command", command),
            (None, Some(command)) => ("token-command", command),
            (None, None) => {
                return Err(wrong(
                    "it has no token-command for Azure Resource Manager".into(),
                    "set token-command = \"az account get-access-token --resource https://management.azure.com\"",
                ));
            }
        };
        let endpoint = profile.arm_endpoint.as_deref().unwrap_or(HOST_NAME);
        let host = endpoint.strip_prefix("https://").unwrap_or(endpoint);
        let (host, port) = address::parse(host.trim_end_matches('/'), "arm-endpoint").map_err(|problem| {
            wrong(Problem::of(problem), "write arm-endpoint = \"HOST\" or \"HOST:PORT\"")
        })?;
        Ok(Self {
            endpoint: Endpoint::new(host, port.unwrap_or(443)),
            network: network.clone(),
            tokens: Arc::new(TokenCommand::new(format!("{key} in profile '{name}'"), command)),
        })
    }

    /// The server.
    pub(crate) fn endpoint(&self) -> &Endpoint {
        &self.endpoint
    }

    /// Gets `path`, which includes the query. Any status is an answer.
    ///
    /// # Errors
    /// Returns the error of the token command or the network.
    pub(crate) async fn get(&self, path: &str) -> Result<Reply> {
        self.send(hyper::Request::get(path), Bytes::new()).await
    }

    /// Posts `body` to `path`, which includes the query. Any status is an answer.
    ///
    /// # Errors
    /// Returns the error of the token command or the network.
    pub(crate) async fn post(&self, path: &str, body: &serde_json::Value) -> Result<Reply> {
        let request = hyper::Request::post(path).header(CONTENT_TYPE, "application/json");
        self.send(request, body.to_string().into()).await
    }

    async fn send(&self, request: hyper::http::request::Builder, body: Bytes) -> Result<Reply> {
        let tokens = Arc::clone(&self.tokens);
        // A token command may wait for the user.
        let asking = tokio::task::spawn_blocking(move || tokens.token(SystemTime::now()));
        let token = asking.await.map_err(|error| Error::Bug(error.to_string()))??;
        let bearer = Secret::new(format!("Bearer {}", token.expose()));
        let request = authorized(request, &self.endpoint, Some(&bearer))?;
        let request = request.body(Full::new(body)).map_err(bug)?;
        let stream = self.network.connect(&self.endpoint, &mut Phases::default()).await?;
        let answer = exchange(stream, ARM, &self.endpoint, request, LONGEST);
        timeout(LIMIT, answer).await.map_err(|_| Error::timeout(ARM, &self.endpoint, LIMIT))?
    }

    /// The error of an answer without the result of `action`, such as "list the machines".
    pub(crate) fn refusal(&self, action: &str, reply: &Reply) -> Error {
        Refusal::new(&self.endpoint, action, reply).into()
    }

    /// The error of an answer that cannot be read.
    pub(crate) fn malformed(&self, problem: impl Into<Problem>) -> Error {
        Error::protocol(format!("Azure Resource Manager at {}", self.endpoint), problem)
    }
}
