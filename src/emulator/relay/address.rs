//! The namespace's address as clients write it, and that of its gateway.

use std::net::SocketAddr;

use crate::backend::relay::proto::Namespace;
use crate::emulator::hostnames::Hostnames;

/// The service's port, which clients use where an address has none.
const HTTPS: u16 = 443;

/// How clients name the namespace.
#[derive(Debug)]
pub(super) struct Address {
    names: Hostnames,
    /// The address for connection strings.
    pub(super) public: Namespace,
    /// The address for clients on this machine.
    pub(super) nearby: Namespace,
    /// Where listeners meet senders, with the port.
    pub(super) gateway: Namespace,
}

impl Address {
    /// The address of a namespace whose HTTPS port is `port`, and whose gateway listens on `gateway`. The names are
    /// `names`, of which `named` were asked for.
    ///
    /// The gateway has another name where there is one: the service's are other hosts than the namespace's \[D].
    pub(super) fn new(names: &Hostnames, named: &[String], port: u16, gateway: SocketAddr) -> Self {
        let address = |host: &str| Namespace {
            host: host.to_ascii_lowercase(),
            port: Some(port).filter(|port| *port != HTTPS),
        };
        let (public, nearby) = (address(&names.all[0]), address(&names.nearby));
        let ip = gateway.ip();
        let host = match named.get(1) {
            Some(second) => second.to_ascii_lowercase(),
            None if !ip.is_unspecified() => ip.to_string(),
            None if public.host == "localhost" => "127.0.0.1".into(),
            None => public.host.clone(),
        };
        let gateway = Namespace { host, port: Some(gateway.port()) };
        Self { names: names.clone(), public, nearby, gateway }
    }

    /// Whether `host` is one of the namespace's names, with or without a port, ignoring case.
    pub(super) fn matches(&self, host: &str) -> bool {
        self.names.matches(host)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_gateway_has_another_name() {
        for (listening, hostnames, public, gateway) in [
            ("127.0.0.1:443", &[][..], "localhost", "127.0.0.1:9400"),
            ("127.0.0.1:8443", &["ns.example"], "ns.example:8443", "127.0.0.1:9400"),
            ("127.0.0.1:443", &["ns.a.example", "G0.a.example"], "ns.a.example", "g0.a.example:9400"),
            ("[::1]:443", &[], "localhost", "[::1]:9400"),
            ("0.0.0.0:443", &[], "localhost", "127.0.0.1:9400"),
            ("0.0.0.0:443", &["ns.example"], "ns.example", "ns.example:9400"),
            ("192.0.2.7:443", &[], "192.0.2.7", "192.0.2.7:9400"),
        ] {
            let listening: SocketAddr = listening.parse().unwrap();
            let hostnames: Vec<_> = hostnames.iter().map(|name| (*name).to_owned()).collect();
            let names = Hostnames::new(listening.ip(), &hostnames);
            let at = SocketAddr::new(listening.ip(), 9400);
            let address = Address::new(&names, &hostnames, listening.port(), at);
            assert_eq!(address.public.to_string(), public, "{listening}");
            assert_eq!(address.gateway.to_string(), gateway, "{listening}");
        }
    }
}
