//! The addresses that a service names, against the URLs of browsers: a listener must not dial elsewhere than it thinks.
#![no_main]

use iotstream::fuzzing::{net, relay};
use iotstream_fuzz::Input;
use libfuzzer_sys::fuzz_target;
use url::{Host, Url};

const NAMESPACE: &str = "ns.servicebus.windows.net";

fuzz_target!(|data: &[u8]| {
    let mut input = Input(data);
    let address = input.text();
    if let Ok((host, port, _)) = net::wss_url(address) {
        same(address, &host, port);
    }
    for address in [address.to_owned(), format!("wss://{address}")] {
        if let Some((host, port, _)) = relay::rendezvous(&address, NAMESPACE, &["*.gateways.example"]) {
            let name = host.to_ascii_lowercase();
            let is_theirs =
                [".servicebus.windows.net", ".gateways.example"].iter().any(|domain| name.ends_with(domain));
            assert!(is_theirs, "{name}");
            same(&address, &host, port);
        }
        relay::rendezvous(&address, "127.0.0.1:8443", &[]);
    }
});

/// Checks that a browser would go to the same place.
fn same(address: &str, host: &str, port: u16) {
    let Ok(url) = Url::parse(address.trim()) else { return };
    let theirs = match url.host() {
        Some(Host::Domain(name)) => name.to_owned(),
        Some(Host::Ipv4(address)) => address.to_string(),
        Some(Host::Ipv6(address)) => address.to_string(),
        None => panic!("{address} has no host"),
    };
    // They write addresses of IP in one form, and decode percent signs; no name has those.
    let is_name = host.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._".contains(&byte))
        && theirs.parse::<std::net::IpAddr>().is_err();
    if is_name && !host.contains("xn--") {
        assert_eq!(theirs, host.to_ascii_lowercase(), "{address}");
        assert_eq!(url.port_or_known_default(), Some(port), "{address}");
    }
}
