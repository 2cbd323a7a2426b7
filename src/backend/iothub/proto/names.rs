//! Names of hubs, devices and modules.

use std::fmt;

use super::{Clients, HostName, Malformed};
use crate::backend::address;
use crate::text::hub_id;
use crate::text::percent::encode;

/// A hub's host name and optional port. Only an emulator has one: the service uses 443 and 8883.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct HubAddress {
    /// The host name, which is the audience of tokens and the first part of MQTT user names.
    pub name: String,
    /// The HTTPS port.
    pub port: Option<u16>,
}

impl HubAddress {
    /// Parses `HOST`, `HOST:PORT` or `[IPV6]:PORT`.
    ///
    /// # Errors
    /// Returns [`Malformed`] if the host is neither `[a-zA-Z0-9_\-.]+` \[S] nor an IPv6 literal, or the port is invalid.
    pub(crate) fn parse(text: &str) -> Result<Self, Malformed> {
        let (name, port) = address::parse(text, "HostName")?;
        Ok(Self { name, port })
    }

    /// The hub's key in the state directory: the same for all of its host names.
    pub(crate) fn key(&self) -> String {
        match HostName::parse(&self.name) {
            Some(host) => Self { name: host.classic(), port: self.port }.to_string(),
            None => self.to_string(),
        }
    }

    /// Checks that the host name is for clients of the kind `own`.
    ///
    /// # Errors
    /// Returns which names are.
    pub(crate) fn check_for(&self, own: Clients) -> Result<(), Malformed> {
        let problem = HostName::parse(&self.name).and_then(|host| host.problem_for(own));
        problem.map_or(Ok(()), |problem| Err(Malformed(problem)))
    }
}

impl fmt::Display for HubAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        address::write(f, &self.name, self.port)
    }
}

/// A device, or a module of a device.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Identity {
    device: String,
    module: Option<String>,
}

impl Identity {
    /// Checks the ids.
    ///
    /// # Errors
    /// Returns [`Malformed`] if an id is not 1 to 128 of the characters that a hub allows \[S].
    pub fn new(device: &str, module: Option<&str>) -> Result<Self, Malformed> {
        hub_id::check("device", device).map_err(Malformed::new)?;
        module.map(|id| hub_id::check("module", id)).transpose().map_err(Malformed::new)?;
        Ok(Self { device: device.to_owned(), module: module.map(str::to_owned) })
    }

    /// The device id.
    pub fn device(&self) -> &str {
        &self.device
    }

    /// The module id.
    pub fn module(&self) -> Option<&str> {
        self.module.as_deref()
    }

    /// The path in the REST API: `/twins/{id}[/modules/{id}]` \[S].
    pub(crate) fn twin(&self) -> String {
        let mut twin = format!("/twins/{}", encode(&self.device));
        if let Some(module) = &self.module {
            twin += &format!("/modules/{}", encode(module));
        }
        twin
    }

    /// The MQTT client id: `{device}` or `{device}/{module}` \[S].
    pub fn client_id(&self) -> String {
        self.module.as_ref().map_or_else(|| self.device.clone(), |module| format!("{}/{module}", self.device))
    }
}

impl fmt::Display for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.module {
            Some(module) => write!(f, "module {}/{module}", self.device),
            None => write!(f, "device {}", self.device),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn parses_hub_addresses() {
        let address = |text| HubAddress::parse(text).map(|a| (a.name, a.port));
        assert_eq!(address("contoso.azure-devices.net"), Ok(("contoso.azure-devices.net".into(), None)));
        assert_eq!(address("localhost:8443"), Ok(("localhost".into(), Some(8443))));
        assert_eq!(address("[::1]:8443"), Ok(("::1".into(), Some(8443))));
        for text in [
            "", ":1", "a b", "a:", "a:0", "a:65536", "a:+1", "a/b", "[::1", "[x]:1", "[::1]x", ".", "..",
            "a..b", ".a",
        ] {
            assert!(address(text).is_err(), "{text}");
        }
    }

    #[test]
    fn all_names_of_a_hub_have_one_key() {
        let key = |text| HubAddress::parse(text).unwrap().key();
        for name in [
            "contoso.azure-devices.net",
            "CONTOSO.service.azure-devices.net",
            "contoso.device.azure-devices.net",
        ] {
            assert_eq!(key(name), "contoso.azure-devices.net");
        }
        assert_eq!(key("contoso.azure-devices.us"), "contoso.azure-devices.us");
        assert_eq!(key("contoso.service.azure-devices.net:8443"), "contoso.azure-devices.net:8443");
        assert_eq!(key("[::1]:8443"), "[::1]:8443");
    }

    #[test]
    fn a_name_for_other_clients_is_refused() {
        let check = |name, own| HubAddress::parse(name).unwrap().check_for(own).map_err(|problem| problem.0);
        let refused = check("contoso.device.azure-devices.net", Clients::Services).unwrap_err();
        assert!(refused.contains("the hub's name for devices"), "{refused}");
        for name in ["contoso.azure-devices.net", "contoso.device.azure-devices.net", "localhost"] {
            assert_eq!(check(name, Clients::Devices), Ok(()), "{name}");
        }
    }

    #[test]
    fn accepts_the_ids_that_a_hub_allows() {
        for id in ["a", "Line(3),Press", "x%y#z?", "it's", "a:b;c=d@e$f!g*h+i.j_k-l", &"x".repeat(128)] {
            assert!(Identity::new(id, None).is_ok(), "{id}");
        }
        for id in ["", "a b", "a/b", "ä", "a\n", "a\"b", &"x".repeat(129)] {
            assert!(Identity::new(id, None).is_err(), "{id}");
            assert!(Identity::new("d", Some(id)).is_err(), "{id}");
        }
    }

    #[test]
    fn encodes_all_reserved_characters() {
        assert_eq!(encode("Line(3),Press").to_string(), "Line%283%29%2CPress");
        assert_eq!(encode("a-b._~%#?+").to_string(), "a-b._~%25%23%3F%2B");
    }

    proptest! {
        #[test]
        fn address_round_trips(text in r"[a-z0-9-]{1,9}(\.[a-z0-9-]{1,9}){0,2}(:[1-9][0-9]{0,3})?|\[::1\](:[1-9][0-9]{0,3})?") {
            prop_assert_eq!(HubAddress::parse(&text).unwrap().to_string(), text);
        }

        #[test]
        fn parsing_never_panics(text in any::<String>()) {
            let _ = HubAddress::parse(&text);
            let _ = Identity::new(&text, Some(&text));
        }
    }
}
