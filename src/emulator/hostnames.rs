//! The names under which clients reach the emulator.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// The emulator's names.
#[derive(Clone, Debug)]
pub(super) struct Hostnames {
    /// All of them, for the certificate and for checks; clients are told the first.
    pub(super) all: Vec<String>,
    /// The one that works on this machine without a line in the hosts file.
    pub(super) nearby: String,
}

impl Hostnames {
    /// The names of an emulator that listens on `listening`: `named`, `localhost`, and the addresses.
    pub(super) fn new(listening: IpAddr, named: &[String]) -> Self {
        let is_localhost =
            [IpAddr::from(Ipv4Addr::LOCALHOST), Ipv6Addr::LOCALHOST.into()].contains(&listening);
        let is_any = listening.is_unspecified();
        let nearby = if is_localhost || is_any { "localhost".into() } else { listening.to_string() };
        let mut all: Vec<String> = Vec::new();
        let address = (!is_any).then(|| listening.to_string());
        let known = ["localhost", "127.0.0.1", "::1"].map(str::to_owned);
        let first = named.first().cloned();
        let names = first.into_iter().chain([nearby.clone()]).chain(known).chain(address);
        for name in names.chain(named.iter().cloned()) {
            if !all.contains(&name) {
                all.push(name);
            }
        }
        Self { all, nearby }
    }

    /// Whether `host` is one of the names, with or without a port, ignoring case.
    pub(super) fn matches(&self, host: &str) -> bool {
        let bare = match host.rsplit_once(':') {
            Some((name, port)) if port.parse::<u16>().is_ok() && !name.ends_with(':') => name,
            _ => host,
        };
        let bare = bare.strip_prefix('[').and_then(|name| name.strip_suffix(']')).unwrap_or(bare);
        self.all.iter().any(|name| name.eq_ignore_ascii_case(bare) || name.eq_ignore_ascii_case(host))
    }
}
