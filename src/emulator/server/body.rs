//! The body of a request.

use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Limited};
use hyper::body::Incoming;
use tokio::time::timeout;

/// How long a body may take to arrive.
const BODY: Duration = Duration::from_secs(30);

/// Reads a body of `most` bytes at most.
///
/// # Errors
/// The status to answer with, and a message for people.
pub(in crate::emulator) async fn whole(body: Incoming, most: usize) -> Result<Bytes, (u16, &'static str)> {
    match timeout(BODY, Limited::new(body, most).collect()).await {
        Ok(Ok(body)) => Ok(body.to_bytes()),
        Ok(Err(_)) => Err((413, "The body is too large.")),
        Err(_) => Err((408, "The body did not arrive in time.")),
    }
}
