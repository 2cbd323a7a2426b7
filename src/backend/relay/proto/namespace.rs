//! The address of a namespace.

use std::fmt;

use super::Malformed;
use crate::backend::address;
use crate::net::Endpoint;

/// The suffix of a namespace's host name in the public cloud \[P].
pub(crate) const SUFFIX: &str = "servicebus.windows.net";

/// A namespace's host name and optional port. Only an emulator has one: the service uses 443.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Namespace {
    /// The host name, in lower case.
    pub host: String,
    /// The port.
    pub port: Option<u16>,
}

impl Namespace {
    /// Parses `HOST[:PORT]`. Errors name the text as `part`.
    ///
    /// # Errors
    /// Returns [`Malformed`] if the host or the port is invalid.
    pub(crate) fn parse(text: &str, part: &str) -> Result<Self, Malformed> {
        let (host, port) = address::parse(text, part)?;
        Ok(Self { host: host.to_ascii_lowercase(), port })
    }

    /// Parses `NAME`, which gets `suffix`, or `HOST[:PORT]`. `localhost` is a host.
    ///
    /// # Errors
    /// Returns [`Malformed`] if the host or the port is invalid.
    pub(crate) fn named(text: &str, part: &str, suffix: &str) -> Result<Self, Malformed> {
        if text.contains(['.', ':']) || text.eq_ignore_ascii_case("localhost") {
            return Self::parse(text, part);
        }
        Self::parse(&format!("{text}.{}", suffix.trim_start_matches('.')), part)
    }

    /// Parses the `Endpoint` of a connection string: `sb://HOST[:PORT]/` \[D]\[T].
    ///
    /// # Errors
    /// Returns [`Malformed`] if it is not an `sb:` URL of a host.
    pub(crate) fn endpoint_of(url: &str) -> Result<Self, Malformed> {
        let (scheme, rest) =
            url.split_once("://").ok_or_else(|| Malformed::new("Endpoint is not sb://HOST/"))?;
        if !["sb", "https", "wss"].iter().any(|known| known.eq_ignore_ascii_case(scheme)) {
            return Err(Malformed::new("Endpoint is not sb://HOST/"));
        }
        let host = rest.strip_suffix('/').unwrap_or(rest);
        Self::parse(host, "Endpoint")
    }

    /// The server to connect to.
    pub(crate) fn server(&self) -> Endpoint {
        Endpoint::new(&*self.host, self.port.unwrap_or(443))
    }
}

impl fmt::Display for Namespace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        address::write(f, &self.host, self.port)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_names_hosts_and_endpoints() {
        let named = |text| Namespace::named(text, "relay", SUFFIX).map(|namespace| namespace.to_string());
        assert_eq!(named("Contoso"), Ok("contoso.servicebus.windows.net".into()));
        assert_eq!(named("c.example"), Ok("c.example".into()));
        assert_eq!(named("localhost"), Ok("localhost".into()));
        assert_eq!(named("c:8443"), Ok("c:8443".into()));
        assert!(named("a b").is_err());
        let endpoint = |url| Namespace::endpoint_of(url).map(|namespace| namespace.server().to_string());
        assert_eq!(endpoint("sb://NS.servicebus.windows.net/"), Ok("ns.servicebus.windows.net:443".into()));
        assert_eq!(endpoint("sb://localhost:8443"), Ok("localhost:8443".into()));
        for wrong in ["", "ns", "http://ns/", "sb://", "sb://ns/hyco", "sb://ns:x/"] {
            assert!(endpoint(wrong).is_err(), "{wrong}");
        }
    }
}
