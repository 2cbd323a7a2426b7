//! Listing a hub's devices, page by page.

use std::time::{Duration, SystemTime};

use bytes::Bytes;
use http_body_util::Full;
use hyper::header::{CONTENT_TYPE, HeaderValue};
use tokio::time::sleep;

use super::rest::{answer, authorized, bug, endpoint, failure, malformed};
use crate::backend::Device;
use crate::backend::iothub::proto::{ALL_DEVICES, CONTINUATION, MAX_ITEM_COUNT, devices_page};
use crate::error::{Error, Result};
use crate::net::{Endpoint, Network, Reply};
use crate::profile::Credential;
use crate::time::phase::Phases;

/// Hubs allow few queries a minute: a page is as large as they make it.
const PAGE: usize = 1000;

/// Twins have up to 72 KB each [D].
const PAGE_LIMIT: usize = PAGE * 72 * 1024;

/// How long a page may take.
const PAGE_TIME: Duration = Duration::from_secs(60);

/// How often a hub that throttles is asked again for the same page, and how soon where it does not say.
const TRIES: u32 = 6;
const PAUSE: Duration = Duration::from_secs(10);
const LONGEST_PAUSE: Duration = Duration::from_secs(60);

/// What a hub may have [D].
const MOST_DEVICES: usize = 1_000_000;

/// How many pages without a new device may follow each other.
const EMPTY_PAGES: u32 = 100;

/// How far a listing has come.
#[derive(Clone, Copy, Debug)]
pub struct Progress {
    pub devices: usize,
    /// How long it waits for a hub that throttles.
    pub pause: Option<Duration>,
}

/// All devices of the hub. `progress` is told of each step.
///
/// # Errors
/// What the network or the hub says against it.
pub async fn devices(
    network: &Network,
    credential: &Credential,
    api_version: &str,
    mut progress: impl FnMut(Progress),
) -> Result<Vec<Device>> {
    let mut devices = Vec::new();
    let mut next: Option<HeaderValue> = None;
    let mut empty_pages = 0;
    let mut ids = std::collections::HashSet::new();
    let endless = |problem: String| Error::Protocol { target: credential.hub.to_string(), problem };
    loop {
        let paused = |pause| progress(Progress { devices: devices.len(), pause: Some(pause) });
        let reply = page(network, credential, api_version, next.as_ref(), paused).await?;
        let found = devices_page(&reply.body).map_err(malformed(&credential.hub))?;
        // A list that goes round in circles brings devices, and none that is new.
        let known = ids.len();
        devices.extend(found.into_iter().filter(|device: &Device| ids.insert(device.id.clone())));
        empty_pages = if ids.len() == known { empty_pages + 1 } else { 0 };
        progress(Progress { devices: devices.len(), pause: None });
        if devices.len() > MOST_DEVICES {
            return Err(endless(format!(
                "it lists more than {MOST_DEVICES} devices, the most that a hub may have"
            )));
        }
        if empty_pages == EMPTY_PAGES {
            return Err(endless(format!(
                "its list of devices goes on after {EMPTY_PAGES} pages without a new one"
            )));
        }
        let following = reply.headers.get(CONTINUATION).filter(|token| !token.is_empty()).cloned();
        // The same page again would be for ever.
        if following.is_none() || following == next {
            return Ok(devices);
        }
        next = following;
    }
}

/// One page, waited for where the hub throttles.
async fn page(
    network: &Network,
    credential: &Credential,
    api_version: &str,
    next: Option<&HeaderValue>,
    mut paused: impl FnMut(Duration),
) -> Result<Reply> {
    let hub = &credential.hub;
    let endpoint = endpoint(hub, credential.gateway.as_ref());
    let mut tries = 0;
    loop {
        tries += 1;
        let stream = network.connect(&endpoint, &mut Phases::default()).await?;
        let request = request(credential, &endpoint, api_version, next)?;
        let reply = answer(stream, &endpoint, request, PAGE_LIMIT, PAGE_TIME).await?;
        if reply.status == 200 {
            return Ok(reply);
        }
        let failure = failure(&reply);
        if failure.status != 429 || tries == TRIES {
            return Err(Error::Listing { hub: hub.to_string(), failure: Box::new(failure) });
        }
        let pause = failure.retry_after.map_or(PAUSE, |seconds| Duration::from_secs(seconds.into()));
        let pause = pause.min(LONGEST_PAUSE);
        log::info!("{hub} throttles queries; going on in {} s", pause.as_secs());
        paused(pause);
        sleep(pause).await;
    }
}

fn request(
    credential: &Credential,
    endpoint: &Endpoint,
    api_version: &str,
    next: Option<&HeaderValue>,
) -> Result<hyper::Request<Full<Bytes>>> {
    let authorization = credential.authorization(SystemTime::now())?;
    let path = format!("/devices/query?api-version={}", crate::backend::iothub::proto::encode(api_version));
    let mut builder = authorized(hyper::Request::post(path), endpoint, &authorization)?
        .header(CONTENT_TYPE, "application/json; charset=utf-8")
        .header(MAX_ITEM_COUNT, PAGE);
    if let Some(next) = next {
        builder = builder.header(CONTINUATION, next);
    }
    builder.body(Full::from(ALL_DEVICES)).map_err(bug)
}
