//! The hub's address as clients write it.

use crate::backend::iothub::proto::HubAddress;
use crate::emulator::hostnames::Hostnames;
use crate::error::{Error, Result};

/// The service's port, which clients use where an address has none.
const HTTPS: u16 = 443;

/// How clients name the hub.
#[derive(Debug)]
pub(in crate::emulator) struct Address {
    names: Hostnames,
    /// The address for connection strings. It has a port only where that is not the service's: Microsoft's clients know
    /// no other, and cannot read one.
    pub(super) public: HubAddress,
    /// The address for clients on this machine.
    pub(super) nearby: HubAddress,
}

impl Address {
    /// The address of a hub with these names whose HTTPS port is `port`.
    pub(in crate::emulator) fn new(names: &Hostnames, port: u16) -> Self {
        let port = Some(port).filter(|port| *port != HTTPS);
        let address = |name: &str| HubAddress { name: name.to_owned(), port };
        Self { public: address(&names.all[0]), nearby: address(&names.nearby), names: names.clone() }
    }

    /// Whether `host` is one of the hub's names, with or without a port, ignoring case.
    pub(super) fn matches(&self, host: &str) -> bool {
        self.names.matches(host)
    }

    /// Where a device that came over MQTT's own port reaches the gateway: the hub as the device names it, on the HTTPS
    /// port.
    pub(super) fn authority_as(&self, hub: &str) -> String {
        HubAddress::parse(hub).map_or_else(
            |_| self.public.to_string(),
            |named| HubAddress { port: self.public.port, ..named }.to_string(),
        )
    }
}

/// Checks a name for the hub.
///
/// # Errors
/// It is not a host name, or has a port.
pub(in crate::emulator) fn check_hostname(name: &str) -> Result<()> {
    let problem = match HubAddress::parse(name) {
        Ok(HubAddress { port: None, .. }) => return Ok(()),
        Ok(_) => "it has a port".to_owned(),
        Err(problem) => problem.0,
    };
    Err(Error::usage(format!("'{name}' is not a valid host name: {problem}"), "see --hostname"))
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use super::*;

    #[test]
    fn connection_strings_name_the_hub() {
        for (listening, hostnames, hub, here) in [
            ("127.0.0.1:443", &[][..], "localhost", "localhost"),
            ("127.0.0.1:8443", &[], "localhost:8443", "localhost:8443"),
            ("[::1]:443", &["hub.example"], "hub.example", "localhost"),
            ("127.0.0.1:443", &["hub.example", "b.example"], "hub.example", "localhost"),
            ("0.0.0.0:8443", &["hub.example"], "hub.example:8443", "localhost:8443"),
            ("0.0.0.0:443", &[], "localhost", "localhost"),
            ("192.0.2.7:443", &["hub.example"], "hub.example", "192.0.2.7"),
            ("192.0.2.7:8443", &[], "192.0.2.7:8443", "192.0.2.7:8443"),
            ("127.0.0.2:443", &[], "127.0.0.2", "127.0.0.2"),
        ] {
            let listening: SocketAddr = listening.parse().unwrap();
            let hostnames: Vec<_> = hostnames.iter().map(|name| (*name).to_owned()).collect();
            let address = Address::new(&Hostnames::new(listening.ip(), &hostnames), listening.port());
            assert_eq!(address.public.to_string(), hub, "{listening}");
            assert_eq!(address.nearby.to_string(), here, "{listening}");
            for name in hostnames.iter().map(String::as_str).chain(["localhost", "127.0.0.1", "::1"]) {
                assert!(address.matches(name), "{listening} {name}");
            }
        }
    }

    #[test]
    fn a_host_name_is_checked() {
        assert!(check_hostname("hub.example").is_ok());
        for name in ["", "a b", "hub.example:443", "x/y"] {
            assert!(
                check_hostname(name).unwrap_err().to_string().contains("is not a valid host name"),
                "{name}"
            );
        }
    }
}
