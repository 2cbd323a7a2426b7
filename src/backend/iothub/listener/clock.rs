//! The hub's clock.

use std::time::{Duration, SystemTime};

use bytes::Bytes;
use http_body_util::Full;
use hyper::header::HOST;
use tokio::time::timeout;

use super::hub_listener::Device;
use crate::backend::iothub::phase::HUB;
use crate::backend::request::bug;
use crate::error::{Error, Result};
use crate::net::{Network, exchange};
use crate::time::phase::Phases;

/// The limits of the hub's answer: its time, and its length in bytes.
const TIME_LIMIT: Duration = Duration::from_secs(10);
const TIME_LENGTH: usize = 64 * 1024;

/// Gets the hub's time from the `Date` header of any HTTPS answer.
///
/// # Errors
/// Returns an error without an answer, or without a date in it.
pub(super) async fn clock(device: &Device, network: &Network) -> Result<SystemTime> {
    let endpoint = device.https();
    let request = hyper::Request::get("/").header(HOST, endpoint.authority()).body(Full::<Bytes>::default());
    let request = request.map_err(bug)?;
    let asking = async {
        let stream = network.connect(&endpoint, &mut Phases::default()).await?;
        exchange(stream, HUB, &endpoint, request, TIME_LENGTH).await
    };
    let timed_out = |_| Error::timeout(HUB, &endpoint, TIME_LIMIT);
    let reply = timeout(TIME_LIMIT, asking).await.map_err(timed_out)??;
    reply.date().ok_or_else(|| {
        Error::protocol(format!("the hub {endpoint}"), "its answer does not say what time it is")
    })
}
