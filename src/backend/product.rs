//! How we name ourselves to a service.

/// The program and its version, for `User-Agent` headers and logins.
pub(crate) const PRODUCT: &str = concat!("iotstream/", env!("CARGO_PKG_VERSION"));
