//! Lists a hub's devices, page by page.

use std::collections::{HashMap, HashSet};
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use http_body_util::Full;
use hyper::header::{CONTENT_TYPE, HeaderValue};
use tokio::time::sleep;

use super::credential::Credential;
use crate::backend::iothub::error::Error as HubError;
use crate::backend::iothub::proto::{
    ALL_DEVICES, CONTINUATION, DEFAULT_API_VERSION, MAX_ITEM_COUNT, Malformed, devices_page, encode,
    reports_of, reports_page,
};
use crate::backend::iothub::rest::{answer, endpoint, failure, malformed};
use crate::backend::request::{authorized, bug};
use crate::backend::{Access, Device, Pending, Progress, Registry, Reported, Stored};
use crate::error::{Error, Result};
use crate::net::{Endpoint, Network, Reply};
use crate::time::phase::Phases;

/// Devices in a page: the largest number, because hubs allow few queries a minute.
const PAGE: usize = 1000;

/// The longest page in bytes. A twin has up to 72 KB \[D].
const PAGE_LIMIT: usize = PAGE * 72 * 1024;

/// The time limit of a page.
const PAGE_TIME: Duration = Duration::from_secs(60);

/// Attempts for a page at a throttling hub, and the pause between them unless the hub names one.
const TRIES: u32 = 6;
const PAUSE: Duration = Duration::from_secs(10);
const LONGEST_PAUSE: Duration = Duration::from_secs(60);

/// The most devices of a hub \[D].
const MOST_DEVICES: usize = 1_000_000;

/// The limit of consecutive pages without a new device.
const EMPTY_PAGES: u32 = 100;

/// A hub's device registry.
#[derive(Debug)]
pub(crate) struct HubRegistry {
    network: Network,
    credential: Credential,
    api_version: String,
    /// The profile's default module.
    module: Option<String>,
}

impl HubRegistry {
    /// The registry of a profile's hub.
    ///
    /// # Errors
    /// Returns an error if the credential is invalid.
    pub(crate) fn new(access: &Access<'_>, stored: Stored<'_>) -> Result<Self> {
        let api_version = access.profile.api_version.as_deref().unwrap_or(DEFAULT_API_VERSION);
        Ok(Self {
            network: access.network.clone(),
            credential: Credential::of(access.name, stored)?,
            api_version: api_version.to_owned(),
            module: access.profile.module.clone(),
        })
    }

    /// Lists what `query` finds, each `id` once.
    async fn list<T: Send>(
        &self,
        query: &str,
        parse: fn(&[u8]) -> std::result::Result<Vec<T>, Malformed>,
        id: fn(&T) -> &str,
        progress: &mut (dyn FnMut(Progress) + Send),
    ) -> Result<Vec<T>> {
        let hub = &self.credential.hub;
        let mut listed = Vec::new();
        let mut next: Option<HeaderValue> = None;
        let mut empty_pages = 0;
        let mut ids = HashSet::new();
        let endless = |problem: String| Error::protocol(hub, problem);
        loop {
            let count = listed.len();
            let paused = |pause| progress(Progress { devices: count, pause: Some(pause) });
            let reply = self.page(query, next.as_ref(), paused).await?;
            let found = parse(&reply.body).map_err(malformed(hub))?;
            // A list that repeats itself has no new devices.
            let known = ids.len();
            listed.extend(found.into_iter().filter(|item| ids.insert(id(item).to_owned())));
            empty_pages = if ids.len() == known { empty_pages + 1 } else { 0 };
            progress(Progress { devices: listed.len(), pause: None });
            if listed.len() > MOST_DEVICES {
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
            // The same token would repeat the page.
            if following.is_none() || following == next {
                return Ok(listed);
            }
            next = following;
        }
    }

    /// Puts what the agents in the modules of the profile's name have reported in place of what those of the devices
    /// themselves have, because the module is asked first.
    async fn complete_reports(
        &self,
        devices: &mut [Device],
        progress: &mut (dyn FnMut(Progress) + Send),
    ) -> Result<()> {
        let Some(module) = &self.module else { return Ok(()) };
        let query = reports_of(module);
        let listed = self.list(&query, reports_page, |(identity, _)| identity.device(), progress).await;
        let listed = match listed {
            Err(error) if is_bad_query(&error) => {
                log::debug!("what modules report is not listed: {error}");
                return Ok(());
            }
            listed => listed?,
        };
        let mut reports: HashMap<String, Reported> = listed
            .into_iter()
            .filter(|(_, reported)| !reported.is_empty())
            .map(|(identity, reported)| (identity.device().to_owned(), reported))
            .collect();
        for device in devices {
            if let Some(reported) = reports.remove(&device.id) {
                device.reported = Some(reported);
            }
        }
        Ok(())
    }

    /// Gets one page, and retries while the hub throttles.
    async fn page(
        &self,
        query: &str,
        next: Option<&HeaderValue>,
        mut paused: impl FnMut(Duration) + Send,
    ) -> Result<Reply> {
        let hub = &self.credential.hub;
        let endpoint = endpoint(hub, self.credential.gateway.as_ref());
        let mut tries = 0;
        loop {
            tries += 1;
            let stream = self.network.connect(&endpoint, &mut Phases::default()).await?;
            let reply =
                answer(stream, &endpoint, self.request(&endpoint, query, next)?, PAGE_LIMIT, PAGE_TIME)
                    .await?;
            if reply.status == 200 {
                return Ok(reply);
            }
            let failure = failure(&reply);
            if failure.status != 429 || tries == TRIES {
                return Err(HubError::Listing { hub: hub.to_string(), failure: Box::new(failure) }.into());
            }
            let pause = failure.retry_after.map_or(PAUSE, |seconds| Duration::from_secs(seconds.into()));
            let pause = pause.min(LONGEST_PAUSE);
            log::info!("{hub} throttles queries; going on in {} s", pause.as_secs());
            paused(pause);
            sleep(pause).await;
        }
    }

    fn request(
        &self,
        endpoint: &Endpoint,
        query: &str,
        next: Option<&HeaderValue>,
    ) -> Result<hyper::Request<Full<Bytes>>> {
        let authorization = self.credential.authorization(SystemTime::now())?;
        let path = format!("/devices/query?api-version={}", encode(&self.api_version));
        let mut builder = authorized(hyper::Request::post(path), endpoint, Some(&authorization))?
            .header(CONTENT_TYPE, "application/json; charset=utf-8")
            .header(MAX_ITEM_COUNT, PAGE);
        if let Some(next) = next {
            builder = builder.header(CONTINUATION, next);
        }
        builder.body(Full::from(query.to_owned())).map_err(bug)
    }
}

impl Registry for HubRegistry {
    fn devices<'a>(
        &'a self,
        progress: &'a mut (dyn FnMut(Progress) + Send),
    ) -> Pending<'a, Result<Vec<Device>>> {
        Box::pin(self.list(ALL_DEVICES, devices_page, |device| &device.id, progress))
    }

    fn complete_reports<'a>(
        &'a self,
        devices: &'a mut [Device],
        progress: &'a mut (dyn FnMut(Progress) + Send),
    ) -> Pending<'a, Result<()>> {
        Box::pin(self.complete_reports(devices, progress))
    }
}

/// Whether the hub does not know the query.
fn is_bad_query(error: &Error) -> bool {
    matches!(error.fault(), Some(HubError::Listing { failure, .. }) if failure.status == 400)
}
