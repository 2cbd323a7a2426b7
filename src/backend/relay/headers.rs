//! The headers of every request to a namespace.

use hyper::HeaderMap;
use hyper::header::{HeaderName, HeaderValue};

use super::proto::header;
use crate::backend::product::PRODUCT;
use crate::error::{Error, Result};
use crate::secret::Secret;

/// Adds the token and our name. `origin` describes where the token is from.
///
/// # Errors
/// Returns [`Error::Credential`] if a header cannot carry the token. The error does not contain it.
pub(super) fn authorize(
    headers: &mut HeaderMap,
    token: &Secret,
    origin: impl FnOnce() -> String,
) -> Result<()> {
    let mut token = HeaderValue::try_from(token.expose()).map_err(|_| Error::Credential {
        origin: origin(),
        problem: "it has characters that a header cannot carry".into(),
        hint: None,
    })?;
    token.set_sensitive(true);
    headers.insert(HeaderName::from_static(header::TOKEN), token);
    headers.insert(HeaderName::from_static(header::USER_AGENT), HeaderValue::from_static(PRODUCT));
    Ok(())
}
