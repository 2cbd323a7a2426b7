//! A host and port to connect to, and the URL of a WebSocket.

use std::fmt;
use std::net::Ipv6Addr;

use hyper::Uri;

/// The port of HTTPS and of WebSockets over TLS.
const HTTPS: u16 = 443;

/// A host name or an IP address, and a port.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Endpoint {
    /// IPv6 addresses are without brackets.
    pub host: String,
    /// The TCP port.
    pub port: u16,
}

impl Endpoint {
    /// An endpoint from its parts.
    pub fn new(host: impl Into<String>, port: u16) -> Self {
        Self { host: host.into(), port }
    }

    /// The value of a `Host` header, which omits the default port.
    pub fn authority(&self) -> String {
        let text = self.to_string();
        if self.port == HTTPS { text[..text.len() - ":443".len()].to_owned() } else { text }
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') {
            write!(f, "[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{}:{}", self.host, self.port)
        }
    }
}

/// A `wss:` URL.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WssUrl {
    /// The server.
    pub endpoint: Endpoint,
    /// The path and query, as in a request line.
    pub path: String,
}

impl WssUrl {
    /// Parses a stream's URL. Host, port, path and query are opaque \[S].
    ///
    /// # Errors
    /// Returns what is wrong, without the URL: its query may contain a secret.
    pub fn parse(text: &str) -> Result<Self, String> {
        let uri: Uri = text.trim().parse().map_err(|_| "the stream's URL cannot be read".to_owned())?;
        match uri.scheme_str().map(str::to_ascii_lowercase).as_deref() {
            Some("wss") => {}
            Some("ws") => return Err("the stream's URL is ws://, without TLS: it is not used".into()),
            _ => return Err("the stream's URL is not wss:".into()),
        }
        let host = uri.host().filter(|host| !host.is_empty()).ok_or("the stream's URL names no host")?;
        if uri.authority().is_some_and(|authority| authority.as_str().contains('@')) {
            return Err("the stream's URL names a user".into());
        }
        let host = without_brackets(host).ok_or("the stream's URL names a host that is none")?;
        let has_more =
            uri.authority().is_some_and(|authority| authority.as_str() != uri.host().unwrap_or_default());
        let port = match uri.port_u16() {
            Some(0) => return Err("the stream's URL has port 0".into()),
            Some(port) => port,
            None if has_more => return Err("the stream's URL has a port that is none".into()),
            None => HTTPS,
        };
        Ok(Self { endpoint: Endpoint::new(host, port), path: request_target(&uri) })
    }
}

/// A URL's host without the brackets of an IPv6 address; `None` if they are around anything else.
pub(super) fn without_brackets(host: &str) -> Option<&str> {
    match host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
        Some(address) => address.parse::<Ipv6Addr>().is_ok().then_some(address),
        None => (!host.contains(['[', ']'])).then_some(host),
    }
}

/// The path and query of a URL, as in a request line.
pub(crate) fn request_target(uri: &Uri) -> String {
    let path = uri.path_and_query().map_or("/", hyper::http::uri::PathAndQuery::as_str);
    if path.starts_with('/') { path.to_owned() } else { format!("/{path}") }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_stream_url_may_have_any_host_port_path_and_query() {
        let parsed = |text| WssUrl::parse(text).map(|url| (url.endpoint.to_string(), url.path));
        for (text, endpoint, path) in [
            ("wss://g.example/bridges/hub/dev/0123", "g.example:443", "/bridges/hub/dev/0123"),
            ("wss://g.example:8443/a?b=c&d=%2F#e", "g.example:8443", "/a?b=c&d=%2F"),
            ("wss://[::1]:99", "[::1]:99", "/"),
            ("wss://127.0.0.1?q", "127.0.0.1:443", "/?q"),
            ("WSS://G/x", "G:443", "/x"),
        ] {
            assert_eq!(parsed(text), Ok((endpoint.to_owned(), path.to_owned())), "{text}");
        }
        for text in [
            "",
            "g",
            "ws://g/",
            "https://g/",
            "wss:///x",
            "wss://u:p@g/",
            "wss://g:0/",
            "wss://g:99999/",
            "wss://a b/",
            "wss://x[::1]:8443/",
            "wss://[::1]x/",
            "wss://[x]/",
        ] {
            assert!(parsed(text).is_err(), "{text}");
        }
    }

    #[test]
    fn authority_omits_the_default_port() {
        assert_eq!(Endpoint::new("h", 443).authority(), "h");
        assert_eq!(Endpoint::new("::1", 8443).authority(), "[::1]:8443");
    }

    proptest! {
        #[test]
        fn parse_never_panics(text in any::<String>()) {
            let _ = WssUrl::parse(&text);
            let _ = WssUrl::parse(&format!("wss://{text}"));
        }
    }
}
