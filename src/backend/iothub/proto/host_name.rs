//! The host names of a hub: `HUB.azure-devices.net` for all clients, `HUB.device.…` for devices alone, and `HUB.service.…`
//! for services alone \[D].

/// The domains of the public cloud, of the US government's and of China's \[D].
const DOMAINS: [&str; 3] = [".azure-devices.net", ".azure-devices.us", ".azure-devices.cn"];

/// The clients that a host name is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Clients {
    /// Devices and services: the classic name.
    All,
    Devices,
    Services,
}

/// A host name of a hub of the service.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct HostName<'a> {
    /// The name of the hub's resource.
    pub hub: &'a str,
    /// The clients that it is for.
    pub clients: Clients,
    domain: &'static str,
}

impl<'a> HostName<'a> {
    /// Parses a host name, ignoring case. `None` if it is not one of the service's hubs.
    pub(crate) fn parse(name: &'a str) -> Option<Self> {
        let (hub, domain) = DOMAINS.iter().find_map(|domain| Some((without(name, domain)?, *domain)))?;
        let of = |suffix, clients| Some((without(hub, suffix)?, clients));
        let (hub, clients) = of(".device", Clients::Devices)
            .or_else(|| of(".service", Clients::Services))
            .unwrap_or((hub, Clients::All));
        Some(Self { hub, clients, domain })
    }

    /// The name for all clients, in lower case, which identifies the hub.
    pub(crate) fn classic(&self) -> String {
        format!("{}{}", self.hub.to_ascii_lowercase(), self.domain)
    }

    /// What is wrong with this name for clients of the kind `own`, and which names are right.
    pub(crate) fn problem_for(&self, own: Clients) -> Option<String> {
        let Self { hub, clients, domain } = self;
        match (clients, own) {
            (Clients::Devices, Clients::Services) => Some(format!(
                "{hub}.device{domain} is the hub's name for devices: in a profile, write {hub}{domain} or {hub}.service{domain}"
            )),
            (Clients::Services, Clients::Devices) => Some(format!(
                "{hub}.service{domain} is the hub's name for services: for a device, write {hub}{domain} or {hub}.device{domain}"
            )),
            _ => None,
        }
    }
}

/// `name` without `suffix`, ignoring case; `None` if nothing else is left.
fn without<'a>(name: &'a str, suffix: &str) -> Option<&'a str> {
    let at = name.len().checked_sub(suffix.len()).filter(|&at| at > 0)?;
    let (rest, end) = name.split_at_checked(at)?;
    end.eq_ignore_ascii_case(suffix).then_some(rest)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn recognises_the_names_of_every_cloud() {
        for (name, hub, clients, classic) in [
            ("contoso.azure-devices.net", "contoso", Clients::All, "contoso.azure-devices.net"),
            ("Contoso.Azure-Devices.NET", "Contoso", Clients::All, "contoso.azure-devices.net"),
            ("contoso.device.azure-devices.us", "contoso", Clients::Devices, "contoso.azure-devices.us"),
            ("contoso.SERVICE.azure-devices.cn", "contoso", Clients::Services, "contoso.azure-devices.cn"),
            ("device.azure-devices.net", "device", Clients::All, "device.azure-devices.net"),
            ("service.device.azure-devices.net", "service", Clients::Devices, "service.azure-devices.net"),
        ] {
            let found = HostName::parse(name).unwrap();
            assert_eq!((found.hub, found.clients, &*found.classic()), (hub, clients, classic), "{name}");
        }
        for name in
            ["localhost", ".azure-devices.net", "azure-devices.net", "contoso.azure-devices.net.example", "é"]
        {
            assert_eq!(HostName::parse(name), None, "{name}");
        }
    }

    #[test]
    fn names_the_right_host_for_the_wrong_client() {
        let problem = |name, own| HostName::parse(name).unwrap().problem_for(own);
        assert_eq!(
            problem("contoso.device.azure-devices.us", Clients::Services).unwrap(),
            "contoso.device.azure-devices.us is the hub's name for devices: in a profile, write contoso.azure-devices.us or \
             contoso.service.azure-devices.us"
        );
        assert_eq!(
            problem("contoso.service.azure-devices.net", Clients::Devices).unwrap(),
            "contoso.service.azure-devices.net is the hub's name for services: for a device, write contoso.azure-devices.net \
             or contoso.device.azure-devices.net"
        );
        for (name, own) in [
            ("contoso.azure-devices.net", Clients::Devices),
            ("contoso.azure-devices.net", Clients::Services),
            ("contoso.device.azure-devices.net", Clients::Devices),
            ("contoso.service.azure-devices.net", Clients::Services),
        ] {
            assert_eq!(problem(name, own), None, "{name}");
        }
    }

    proptest! {
        #[test]
        fn never_panics(name in any::<String>()) {
            let _ = HostName::parse(&name);
        }
    }
}
