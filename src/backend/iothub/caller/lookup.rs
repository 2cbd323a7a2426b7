//! Looks up a device and the hub's clock, without requesting a stream.

use std::time::{Duration, SystemTime};

use bytes::Bytes;
use http_body_util::Full;

use super::open::Request;
use crate::backend::Device;
use crate::backend::iothub::proto::{HubFailure, registry_path, twin, twin_path};
use crate::backend::iothub::rest::{answer, endpoint, failure, malformed};
use crate::backend::request::{authorized, bug};
use crate::error::Result;
use crate::net::{Network, Reply};
use crate::time::phase::Phases;

/// The time limit of a request.
const LIMIT: Duration = Duration::from_secs(15);

/// The longest answer in bytes. A twin has up to 72 KB \[D], and the time of each value in its metadata.
const TWIN_LIMIT: usize = 1024 * 1024;

/// The result of a lookup.
#[derive(Debug)]
pub(super) struct Lookup {
    /// This machine's time and the hub's, if its answer has a date.
    pub(super) clocks: Option<(SystemTime, SystemTime)>,
    /// The device or module, or the hub's refusal.
    pub(super) twin: std::result::Result<Device, HubFailure>,
}

/// Gets the twin of `request`'s device, and the hub's time.
///
/// # Errors
/// Returns an error if the hub cannot be reached or its answer is invalid.
pub(super) async fn lookup(network: &Network, request: &Request, phases: &mut Phases) -> Result<Lookup> {
    let path = twin_path(&request.initiate.identity, &request.initiate.api_version);
    let reply = get(network, request, path, phases).await?;
    let clocks = reply.date().map(|hub| (SystemTime::now(), hub));
    let twin = if reply.status == 200 {
        Ok(twin(&reply.body).map_err(malformed(&request.hub))?)
    } else {
        Err(failure(&reply))
    };
    Ok(Lookup { clocks, twin })
}

/// Whether the credential of `request` can read the registry, which proves that its key is valid.
///
/// # Errors
/// Returns an error if the hub cannot be reached or its answer is invalid.
pub(super) async fn reads_registry(network: &Network, request: &Request) -> Result<bool> {
    let path = registry_path(&request.initiate.identity, &request.initiate.api_version);
    let reply = get(network, request, path, &mut Phases::default()).await?;
    Ok(matches!(reply.status, 200 | 404))
}

/// Gets `path` with the credential of `request`.
///
/// # Errors
/// Returns an error if the hub cannot be reached or its answer is invalid.
pub(super) async fn get(
    network: &Network,
    request: &Request,
    path: String,
    phases: &mut Phases,
) -> Result<Reply> {
    let endpoint = endpoint(&request.hub, request.gateway.as_ref());
    let stream = network.connect(&endpoint, phases).await?;
    let get = authorized(hyper::Request::get(path), &endpoint, Some(&request.authorization))?;
    let get = get.body(Full::<Bytes>::default()).map_err(bug)?;
    answer(stream, &endpoint, get, TWIN_LIMIT, LIMIT).await
}
