//! The address at which a listener meets a sender.

use std::net::IpAddr;

use super::{Malformed, Namespace, encode};
use crate::net::WssUrl;
use crate::text::pattern;

/// The longest text of a rejection in characters \[C].
const LONGEST: usize = 512;

/// Checks the `address` of an accept message. The service may name any of its gateways, which are below the namespace's
/// parent domain, or a host that matches one of `others` \[D]. A namespace on loopback may name any loopback host.
///
/// # Errors
/// Returns [`Malformed`] if it is not a `wss:` URL, or its host is not the service's. The error names the host alone.
pub(crate) fn rendezvous(
    address: &str,
    namespace: &Namespace,
    others: &[String],
) -> Result<WssUrl, Malformed> {
    let url = WssUrl::parse(address).map_err(Malformed)?;
    let host = url.endpoint.host.to_ascii_lowercase();
    let is_of_service = host == namespace.host
        || parent(&namespace.host).is_some_and(|parent| host.ends_with(parent))
        || (is_loopback(&namespace.host) && is_loopback(&host))
        || others.iter().any(|other| pattern::matches(&other.to_ascii_lowercase(), &host));
    if is_of_service {
        return Ok(url);
    }
    Err(Malformed::new(format!("the service names a gateway at {host}, which is not of {namespace}")))
}

/// The domain of the service with a dot before it. A name of fewer than three labels, and an IP address, have none.
fn parent(host: &str) -> Option<&str> {
    let at = host.find('.').filter(|_| host.parse::<IpAddr>().is_err())?;
    let parent = &host[at..];
    parent[1..].trim_end_matches('.').contains('.').then_some(parent)
}

fn is_loopback(host: &str) -> bool {
    host == "localhost" || host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

/// The URL to dial for a rejection, which the service answers with 410 \[P]\[D]: the parameters are appended as text, since
/// the address is opaque. The sender gets the status and the text as its status line.
pub(crate) fn rejection(url: &WssUrl, status: u16, text: &str) -> WssUrl {
    let text: String =
        text.chars().map(|c| if matches!(c, ' '..='~') { c } else { '?' }).take(LONGEST).collect();
    let path = format!("{}&sb-hc-statusCode={status}&sb-hc-statusDescription={}", url.path, encode(&text));
    WssUrl { endpoint: url.endpoint.clone(), path }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn gateways_are_of_the_services_domain() {
        let is_taken = |namespace: &str, host: &str| {
            let namespace = Namespace::parse(namespace, "x").unwrap();
            let others = ["*.gw.example".to_owned()];
            rendezvous(&format!("wss://{host}/$hc/x?sb-hc-id=1"), &namespace, &others).is_ok()
        };
        for (namespace, host, taken) in [
            ("ns.servicebus.windows.net", "ns.servicebus.windows.net", true),
            ("ns.servicebus.windows.net", "G63-prod-sb.servicebus.windows.net:9400", true),
            ("ns.servicebus.windows.net", "evilservicebus.windows.net", false),
            ("ns.servicebus.windows.net", "servicebus.windows.net.evil.example", false),
            ("ns.servicebus.windows.net", "a.gw.example", true),
            ("ns.example", "ns.example", true),
            ("ns.example", "other.example", false),
            ("ns", "other", false),
            ("localhost:8443", "127.0.0.1:9", true),
            ("127.0.0.1", "[::1]:9", true),
            ("localhost", "10.0.0.1", false),
            ("10.0.0.1", "11.0.0.1", false),
            ("192.168.0.1", "8.168.0.1", false),
        ] {
            assert_eq!(is_taken(namespace, host), taken, "{namespace} {host}");
        }
        let namespace = Namespace::parse("ns.servicebus.windows.net", "x").unwrap();
        let problem = rendezvous("wss://evil.example/secret?sb-hc-id=secret", &namespace, &[]).unwrap_err().0;
        assert!(problem.contains("evil.example") && !problem.contains("secret"), "{problem}");
        assert!(rendezvous("ws://ns.servicebus.windows.net/x", &namespace, &[]).is_err());
    }

    #[test]
    fn a_rejection_is_appended_as_text() {
        let url = WssUrl::parse("wss://g/$hc/x?sb-hc-action=accept&sb-hc-id=1_G0").unwrap();
        let rejection = rejection(&url, 403, "iotstream: no target 'ä'\r\n&");
        assert_eq!(
            rejection.path,
            "/$hc/x?sb-hc-action=accept&sb-hc-id=1_G0&sb-hc-statusCode=403\
             &sb-hc-statusDescription=iotstream%3A%20no%20target%20%27%3F%27%3F%3F%26"
        );
    }

    proptest! {
        #[test]
        fn never_panics(address in ".*", host in "[a-z0-9.:\\[\\]]{0,30}") {
            let namespace = Namespace::parse("ns.servicebus.windows.net", "x").unwrap();
            let _ = rendezvous(&address, &namespace, &[]);
            let _ = rendezvous(&format!("wss://{host}/x"), &namespace, &[]);
        }
    }
}
