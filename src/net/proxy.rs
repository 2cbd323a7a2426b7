//! Proxies: which one applies to a server, and connecting through it.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Empty;
use hyper::header::{HOST, HeaderValue, PROXY_AUTHENTICATE, PROXY_AUTHORIZATION, RETRY_AFTER};
use hyper::{Request, Response, Uri};
use hyper_util::client::proxy::matcher::{Intercept, Matcher};
use tokio::io::{AsyncRead, AsyncWrite};

use super::carrier::Carrier;
use super::dial::limited;
use super::endpoint::without_brackets;
use super::http::{party, switch};
use super::socks::{self, Login, Refusal};
use super::{Endpoint, Network};
use crate::error::{Error, Problem, Result};
use crate::secret::Secret;
use crate::time::backoff::retry_after;
use crate::time::phase::{Phase, Phases};

/// The time limit for a proxy to reach a server.
const PROXY_LIMIT: Duration = Duration::from_secs(20);

/// Values that disable the proxy. Only the first is documented.
const NONE: [&str; 5] = ["none", "direct", "off", "no", "false"];

/// The variables that name a proxy; the first one set applies.
const VARIABLES: [&str; 4] = ["HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"];

/// The rules that select a proxy for each server.
#[derive(Clone, Default)]
pub struct Proxies(Option<Arc<Rules>>);

struct Rules {
    matcher: Matcher,
    /// Hosts that are reached directly on one port only.
    exceptions: Vec<(String, u16)>,
}

impl Proxies {
    /// Connects to every server directly.
    pub fn none() -> Self {
        Self::default()
    }

    /// Uses one proxy for all servers, or none for `none`.
    ///
    /// # Errors
    /// Returns what is wrong with `url`, without the URL itself: it may contain a password.
    pub fn all(url: &Secret) -> std::result::Result<Self, String> {
        Self::new(url, "")
    }

    /// Reads `HTTPS_PROXY`, `ALL_PROXY` and `NO_PROXY`.
    ///
    /// # Errors
    /// Returns [`Error::Usage`] if the proxy's URL is invalid.
    pub fn from_environment() -> Result<Self> {
        let Some((variable, url)) = Self::variable() else { return Ok(Self::none()) };
        let no = first_set(&["NO_PROXY", "no_proxy"]).map(|(_, no)| no);
        Self::new(&url, &no.unwrap_or_default())
            .map_err(|problem| Error::usage(format!("environment variable {variable}: {problem}"), FORM))
    }

    /// The environment variable that names a proxy, and its value.
    pub fn variable() -> Option<(&'static str, Secret)> {
        first_set(&VARIABLES).map(|(name, value)| (name, Secret::new(value)))
    }

    pub(super) fn new(url: &Secret, no: &str) -> std::result::Result<Self, String> {
        let url = url.expose().trim();
        if NONE.iter().any(|none| none.eq_ignore_ascii_case(url)) {
            return Ok(Self::none());
        }
        let entries = no.split([',', ' ', '\t', '\n', ';']).filter(|entry| !entry.is_empty());
        let (at_a_port, everywhere): (Vec<_>, Vec<_>) =
            entries.map(exception).partition(|(_, port)| port.is_some());
        let hosts = everywhere.into_iter().map(|(host, _)| host).collect::<Vec<_>>();
        let matcher = Matcher::builder().all(url.to_owned()).no(hosts.join(",")).build();
        let exceptions =
            at_a_port.into_iter().filter_map(|(host, port)| Some((host.to_owned(), port?))).collect();
        // The URL is checked without the exceptions, which could hide it.
        let probe = Matcher::builder().all(url.to_owned()).build();
        match probe.intercept(&Uri::from_static("https://h")).filter(|found| host(found).is_some()) {
            None => Err("it is not a proxy's URL".into()),
            Some(found) if found.uri().scheme_str().is_some_and(|scheme| scheme.starts_with("socks4")) => {
                Err("SOCKS 4 is not supported, only SOCKS 5".into())
            }
            Some(_) => Ok(Self(Some(Arc::new(Rules { matcher, exceptions })))),
        }
    }

    /// The proxy for `target`, if one applies.
    pub(super) fn find(&self, target: &Endpoint) -> Option<Proxy> {
        let uri = Uri::try_from(format!("https://{target}/")).ok()?;
        let Rules { matcher, exceptions } = &**self.0.as_ref()?;
        let is_exception = |host: &str| {
            Matcher::builder()
                .all("http://h".to_owned())
                .no(host.to_owned())
                .build()
                .intercept(&uri)
                .is_none()
        };
        if exceptions.iter().any(|(host, port)| *port == target.port && is_exception(host)) {
            return None;
        }
        let found = matcher.intercept(&uri)?;
        let scheme = found.uri().scheme_str().unwrap_or_default();
        let (kind, port) = match scheme {
            "http" | "https" => {
                let authorization = found.basic_auth().cloned();
                let tls = scheme == "https";
                (Kind::Http { tls, authorization }, if tls { 443 } else { 80 })
            }
            _ => {
                let login = found.raw_auth();
                let login = login
                    .map(|(user, password)| Login { user: user.into(), password: Secret::new(password) });
                (Kind::Socks(login), 1080)
            }
        };
        Some(Proxy { endpoint: Endpoint::new(host(&found)?, found.uri().port_u16().unwrap_or(port)), kind })
    }
}

/// The proxy's own host.
fn host(found: &Intercept) -> Option<&str> {
    without_brackets(found.uri().host()?)
}

/// The first variable that is set and not empty.
fn first_set(names: &[&'static str]) -> Option<(&'static str, String)> {
    names.iter().find_map(|name| {
        let value = std::env::var_os(name)?.to_string_lossy().trim().to_owned();
        (!value.is_empty()).then_some((*name, value))
    })
}

/// Splits an entry of `NO_PROXY` into host and optional port. A leading `*` and brackets, which other programs require,
/// are dropped.
fn exception(entry: &str) -> (&str, Option<u16>) {
    let entry = entry.strip_prefix('*').filter(|rest| !rest.is_empty()).unwrap_or(entry);
    let (host, port) = match entry.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((host, after)) => (host, after.strip_prefix(':')),
        // With a second ':' it is an IPv6 address.
        None => match entry.split_once(':').filter(|(_, port)| !port.contains(':')) {
            Some((host, port)) => (host, Some(port)),
            None => (entry, None),
        },
    };
    (host, port.and_then(|port| port.parse().ok()))
}

impl fmt::Debug for Proxies {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Proxies")
    }
}

/// The accepted forms of a proxy's URL, for hints.
pub(crate) const FORM: &str = "write http://USER:PASSWORD@HOST:PORT, https://… or socks5://…, with special characters of the \
                        login percent-encoded, or none";

/// A proxy that applies to a server.
#[derive(Debug)]
pub(super) struct Proxy {
    endpoint: Endpoint,
    kind: Kind,
}

#[derive(Debug)]
enum Kind {
    Http { tls: bool, authorization: Option<HeaderValue> },
    Socks(Option<Login>),
}

impl Network {
    /// Connects to `target` through `proxy`.
    pub(super) async fn through(
        &self,
        proxy: Proxy,
        target: &Endpoint,
        phases: &mut Phases,
    ) -> Result<Carrier> {
        let Proxy { endpoint, kind } = proxy;
        let connected = async {
            let tcp = self.tcp(&endpoint, phases).await?;
            let io = if matches!(kind, Kind::Http { tls: true, .. }) {
                Carrier::Tls(Box::new(self.tls(tcp, &endpoint, phases).await?))
            } else {
                Carrier::Tcp(tcp)
            };
            let ask = ask(io, &endpoint, &kind, target);
            limited(Phase::PROXY, &endpoint, phases, self.limit(PROXY_LIMIT), ask).await
        };
        // DNS, TCP and TLS failures here are the proxy's, not the target's.
        connected.await.map_err(|error| match error {
            Error::Network { target, problem, .. } => Error::network(Phase::PROXY, target, problem),
            Error::Timeout { target, after, .. } => Error::timeout(Phase::PROXY, target, after),
            other => other,
        })
    }
}

/// Asks a proxy for a connection to `target`.
async fn ask(io: Carrier, proxy: &Endpoint, kind: &Kind, target: &Endpoint) -> Result<Carrier> {
    let failed = |problem: Problem| Error::network(Phase::PROXY, proxy, problem);
    match kind {
        Kind::Http { authorization, .. } => tunnel(io, proxy, authorization.as_ref(), target).await,
        Kind::Socks(login) => {
            socks::connect(io, login.as_ref(), target).await.map_err(|refusal| match refusal {
                Refusal::NoPasswords => {
                    denied(proxy, "it does not accept a user name and password".into(), METHODS)
                }
                Refusal::Login(problem) => denied(proxy, problem, LOGIN),
                Refusal::Forbidden => denied(proxy, forbidden(target), RULES),
                Refusal::Failed(problem) => failed(problem.into()),
                Refusal::Io(error) => failed(error.into()),
            })
        }
    }
}

/// HTTP's CONNECT (RFC 9110, section 9.3.6).
pub(super) async fn tunnel<S>(
    io: S,
    proxy: &Endpoint,
    authorization: Option<&HeaderValue>,
    target: &Endpoint,
) -> Result<S>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let mut request = Request::connect(target.to_string()).header(HOST, target.to_string());
    if let Some(authorization) = authorization {
        request = request.header(PROXY_AUTHORIZATION, authorization);
    }
    let request = request.body(Empty::<Bytes>::new()).map_err(|error| Error::Bug(error.to_string()))?;
    let (io, early) = switch(io, Phase::PROXY, proxy, request, |answer| {
        check(answer, proxy, authorization.is_some(), target)
    })
    .await?;
    if early.is_empty() {
        return Ok(io);
    }
    // A TLS server does not speak first.
    Err(Error::protocol(party(Phase::PROXY, proxy), "it sent data before the TLS handshake"))
}

/// How a login is written, for hints.
const LOGIN: &str = "put the user name and password into the proxy's URL, http://USER:PASSWORD@HOST:PORT, in the profile or in HTTPS_PROXY";
const METHODS: &str = "use another proxy: only logins with a user name and password are supported";
const RULES: &str = "change the proxy's rules, or use another proxy";

fn denied(proxy: &Endpoint, problem: String, hint: &str) -> Error {
    Error::ProxyDenied { proxy: proxy.to_string(), problem, hint: Some(hint.into()) }
}

fn forbidden(target: &Endpoint) -> String {
    format!("it does not allow connections to {target}")
}

/// Whether a proxy's answer is a connection to `target`.
fn check<B>(answer: &Response<B>, proxy: &Endpoint, had_login: bool, target: &Endpoint) -> Result<()> {
    let status = answer.status();
    match status.as_u16() {
        200..=299 => Ok(()),
        // tinyproxy answers a wrong password with 401.
        code @ (401 | 407) => {
            let schemes = answer.headers().get_all(PROXY_AUTHENTICATE).iter();
            let schemes = schemes.filter_map(|value| value.to_str().ok()?.split_whitespace().next());
            let schemes: Vec<&str> = schemes.collect();
            if !schemes.is_empty() && !schemes.iter().any(|scheme| scheme.eq_ignore_ascii_case("basic")) {
                let problem =
                    format!("it requires {} and does not accept Basic ({code})", schemes.join(" or "));
                return Err(denied(proxy, problem, METHODS));
            }
            let problem = if had_login {
                "refuses the user name or password"
            } else {
                "requires a user name and password"
            };
            Err(denied(proxy, format!("it {problem} ({code})"), LOGIN))
        }
        code @ (429 | 503) if answer.headers().contains_key(RETRY_AFTER) => Err(Error::ProxyBusy {
            proxy: proxy.to_string(),
            status: code,
            after: retry_after(answer.headers()).unwrap_or_default(),
        }),
        403 => Err(denied(proxy, format!("{} (403)", forbidden(target)), RULES)),
        code => Err(Error::network(Phase::PROXY, proxy, format!("it did not connect to {target} ({code})"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(url: &str, no: &str, host: &str) -> Option<(String, String)> {
        let proxies = Proxies::new(&Secret::new(url), no).unwrap();
        let proxy = proxies.find(&Endpoint::new(host, 8443))?;
        let kind = match proxy.kind {
            Kind::Http { tls, authorization } => {
                let login = authorization.map(|value| value.to_str().unwrap().to_owned());
                format!("{}{}", if tls { "tls " } else { "" }, login.unwrap_or_default())
            }
            Kind::Socks(login) => login.map_or("socks".into(), |login| format!("socks {}", login.user)),
        };
        Some((proxy.endpoint.to_string(), kind))
    }

    #[test]
    fn reads_proxy_urls_and_exceptions_as_curl_does() {
        for (url, endpoint, kind) in [
            ("http://p:3128", "p:3128", ""),
            ("p:3128", "p:3128", ""),
            ("http://Aladdin:open%20sesame@p/", "p:80", "Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ=="),
            ("https://p", "p:443", "tls "),
            ("socks5://me:pw@[::1]:9050", "[::1]:9050", "socks me"),
            ("socks5h://p", "p:1080", "socks"),
        ] {
            assert_eq!(found(url, "", "hub"), Some((endpoint.into(), kind.into())), "{url}");
        }
        for (no, host, direct) in [
            ("example.com, 10.0.0.0/8", "hub.example.com", true),
            ("example.com", "hub.example.org", false),
            ("10.0.0.0/8", "10.1.2.3", true),
            ("::1", "::1", true),
            ("*", "hub", true),
            ("example.org example.com", "hub.example.com", true),
            ("*.example.com", "hub.example.com", true),
            ("*.example.com", "example.com.org", false),
            ("hub:8443", "hub", true),
            ("hub:443", "hub", false),
            ("[::1]", "::1", true),
            ("[::1]:8443", "::1", true),
            ("[::1]:1", "::1", false),
            (" , ,", "hub", false),
        ] {
            assert_eq!(found("http://p:3128", no, host).is_none(), direct, "{no} {host}");
        }
        for none in ["none", "NONE", " none\n", "direct"] {
            assert!(
                Proxies::all(&Secret::new(none)).unwrap().find(&Endpoint::new("h", 1)).is_none(),
                "{none}"
            );
        }
    }

    #[test]
    fn an_invalid_proxy_url_is_refused_and_not_shown() {
        for url in [
            "",
            "ftp://hunter2@p",
            "socks4://hunter2@p",
            "http://",
            "http://u:hunter 2@p",
            "http://hunter2@x[::1]:3128",
        ] {
            let problem = Proxies::all(&Secret::new(url)).unwrap_err();
            assert!(!problem.contains("hunter"), "{problem}");
        }
    }

    #[test]
    fn refusals_say_what_is_missing() {
        let said = |status: u16, scheme: &str, had_login| {
            let answer = Response::builder().status(status).header(PROXY_AUTHENTICATE, scheme).body(());
            let target = Endpoint::new("hub", 443);
            check(&answer.unwrap(), &Endpoint::new("p", 3128), had_login, &target).unwrap_err().to_string()
        };
        assert!(said(407, "Basic realm=\"x\"", false).contains("requires a user name"));
        assert!(said(407, "basic", true).contains("refuses the user name"));
        assert!(said(407, "Negotiate", true).contains("requires Negotiate and does not accept Basic"));
        assert!(said(403, "x", false).contains("does not allow connections to hub:443"));
        assert!(said(503, "x", false).contains("proxy: p:3128: it did not connect to hub:443 (503)"));
        let busy = Response::builder().status(503).header(RETRY_AFTER, "9").body(()).unwrap();
        let busy = check(&busy, &Endpoint::new("p", 3128), false, &Endpoint::new("hub", 443)).unwrap_err();
        assert!(busy.hint().unwrap().contains("in 9 s"), "{busy:?}");
    }
}
