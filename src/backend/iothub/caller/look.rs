//! What a hub says of itself and of a device, without asking for a stream.

use std::time::{Duration, SystemTime};

use bytes::Bytes;
use http_body_util::Full;

use super::open::Request;
use super::rest::{answer, authorized, bug, endpoint, failure, malformed};
use crate::backend::Device;
use crate::backend::iothub::proto::{HubFailure, device_path, twin, twin_path};
use crate::error::Result;
use crate::net::{Network, Reply};
use crate::time::phase::Phases;

/// How long an answer may take.
const LIMIT: Duration = Duration::from_secs(15);

/// A twin has up to 72 KB [D].
const TWIN_LIMIT: usize = 128 * 1024;

/// What a hub said.
#[derive(Debug)]
pub(super) struct Look {
    /// The clock here and the hub's, where it told the time.
    pub(super) clocks: Option<(SystemTime, SystemTime)>,
    /// The device or module, or why the hub does not tell.
    pub(super) twin: std::result::Result<Device, HubFailure>,
}

/// Asks the hub for the twin of the device that `request` is for, and for the time.
///
/// # Errors
/// When the hub cannot be reached, or its answer is invalid.
pub(super) async fn look(network: &Network, request: &Request, phases: &mut Phases) -> Result<Look> {
    let path = twin_path(&request.initiate.identity, &request.initiate.api_version);
    let reply = get(network, request, path, phases).await?;
    let clocks = reply.date().map(|hub| (SystemTime::now(), hub));
    let twin = if reply.status == 200 {
        Ok(twin(&reply.body).map_err(malformed(&request.hub))?)
    } else {
        Err(failure(&reply))
    };
    Ok(Look { clocks, twin })
}

/// Whether the credential of `request` may read the registry: then the hub knows it, whatever its other rights.
///
/// # Errors
/// When the hub cannot be reached, or its answer is invalid.
pub(super) async fn reads_registry(network: &Network, request: &Request) -> Result<bool> {
    let path = device_path(&request.initiate.identity, &request.initiate.api_version);
    let reply = get(network, request, path, &mut Phases::default()).await?;
    Ok(matches!(reply.status, 200 | 404))
}

async fn get(network: &Network, request: &Request, path: String, phases: &mut Phases) -> Result<Reply> {
    let endpoint = endpoint(&request.hub, request.gateway.as_ref());
    let stream = network.connect(&endpoint, phases).await?;
    let get = authorized(hyper::Request::get(path), &endpoint, &request.authorization)?;
    let get = get.body(Full::<Bytes>::default()).map_err(bug)?;
    answer(stream, &endpoint, get, TWIN_LIMIT, LIMIT).await
}
