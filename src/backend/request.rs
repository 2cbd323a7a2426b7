//! Requests to the REST APIs of services.

use hyper::header::{ACCEPT, AUTHORIZATION, HOST, HeaderValue, USER_AGENT};
use hyper::http::request::Builder;

use super::product::PRODUCT;
use crate::error::{Error, Result};
use crate::net::Endpoint;
use crate::secret::Secret;

/// The error of a request that cannot be built.
pub(crate) fn bug(error: hyper::http::Error) -> Error {
    Error::Bug(format!("a request cannot be made: {error}"))
}

/// Adds the headers of every request; without an `authorization`, a certificate proves who asks.
///
/// # Errors
/// Returns [`Error::Bug`] if a header cannot carry the authorization. The error does not contain it.
pub(crate) fn authorized(
    builder: Builder,
    endpoint: &Endpoint,
    authorization: Option<&Secret>,
) -> Result<Builder> {
    let mut builder = builder.header(HOST, endpoint.authority());
    if let Some(authorization) = authorization {
        let mut value = HeaderValue::try_from(authorization.expose()).map_err(|error| bug(error.into()))?;
        value.set_sensitive(true);
        builder = builder.header(AUTHORIZATION, value);
    }
    Ok(builder.header(USER_AGENT, PRODUCT).header(ACCEPT, "application/json"))
}
