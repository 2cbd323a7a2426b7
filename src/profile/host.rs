//! Maps a host name to a profile and a device.

use std::net::{IpAddr, Ipv4Addr};

use super::file::Profiles;
use super::schema::{Device, DeviceTable, Profile};
use crate::error::{Error, Result};
use crate::text::pattern;

/// A host name from ssh. ssh lower-cases `%h`, rewrites numbers into IPv4 addresses, and replaces it by the `HostName` of the
/// user's configuration; `%n` is the name as typed.
#[derive(Clone, Debug)]
pub struct Name<'a> {
    /// `%h`.
    pub host: &'a str,
    /// `%n`, if ssh passes it.
    pub typed: Option<&'a str>,
}

impl<'a> Name<'a> {
    /// Whether ssh has rewritten a number: no `HostName` of a device is an address.
    fn is_rewritten(&self) -> bool {
        self.host.parse::<IpAddr>().is_ok()
    }

    /// What ssh means, and then the other name.
    fn all(&self) -> impl Iterator<Item = &'a str> {
        let (first, second) = match self.typed {
            Some(typed) if self.is_rewritten() => (typed, None),
            typed => (self.host, typed),
        };
        [first].into_iter().chain(second)
    }

    /// The id as it was typed; `None` if the name that was typed is an alias for a `HostName`.
    fn exact_id(&self, profile: &Profile) -> Option<&'a str> {
        let id = strip(profile, self.typed?);
        (self.is_rewritten() || id.eq_ignore_ascii_case(strip(profile, self.host))).then_some(id)
    }
}

/// The device that a name refers to. The backend checks the id.
#[derive(Debug)]
pub struct Destination<'a> {
    /// The profile's name.
    pub profile_name: &'a str,
    /// The profile.
    pub profile: &'a Profile,
    /// The device id.
    pub device: String,
    /// The module id, if the alias names one.
    pub module: Option<String>,
    /// The stream name of the alias, which overrides the port's.
    pub stream: Option<String>,
}

impl Profiles {
    /// Finds the device that `name` refers to, in the profile `chosen` if given. `known` returns the cached device ids of a
    /// profile.
    ///
    /// # Errors
    /// Returns [`Error::UnknownProfile`] without a matching profile, [`Error::AmbiguousName`] if several devices match, and
    /// [`Error::RewrittenName`] if ssh has rewritten the name.
    pub fn destination(
        &self,
        name: &Name<'_>,
        chosen: Option<&str>,
        known: impl FnOnce(&str) -> Vec<String>,
    ) -> Result<Destination<'_>> {
        let (profile_name, profile) = self.profile_for(name, chosen)?;
        let found = |device: &str, module: Option<&str>, stream: Option<&str>| Destination {
            profile_name,
            profile,
            device: device.to_owned(),
            module: module.map(str::to_owned),
            stream: stream.map(str::to_owned),
        };
        let names: Vec<&str> = name.all().flat_map(|name| [strip(profile, name), name]).collect();
        if let Some((alias, device)) = alias(profile, &names) {
            return Ok(match device {
                Device::Id(id) => found(id, None, None),
                Device::Table(DeviceTable { id, module, stream }) => {
                    found(id.as_deref().unwrap_or(alias), module.as_deref(), stream.as_deref())
                }
            });
        }
        if let Some(id) = name.exact_id(profile) {
            return Ok(found(id, None, None));
        }
        let id = strip(profile, name.host);
        let known = known(profile_name);
        let alike: Vec<&String> = known.iter().filter(|known| known.eq_ignore_ascii_case(id)).collect();
        match alike[..] {
            [one] => Ok(found(one, None, None)),
            [] if id.parse::<Ipv4Addr>().is_ok() => Err(Error::RewrittenName { name: id.to_owned() }),
            [] => Ok(found(id, None, None)),
            _ => Err(Error::AmbiguousName {
                name: id.to_owned(),
                candidates: alike.into_iter().cloned().collect(),
            }),
        }
    }

    /// The profile `name`, else the default one, else the only one.
    ///
    /// # Errors
    /// Returns [`Error::UnknownProfile`] if there is no profile `name`, and [`Error::Usage`] without a default.
    pub fn chosen(&self, name: Option<&str>) -> Result<(&str, &Profile)> {
        let only = || self.all.keys().next().filter(|_| self.all.len() == 1).map(String::as_str);
        match name.or(self.default.as_deref()).or_else(only) {
            Some(name) => self.named(name),
            None => Err(Error::usage(
                "there is no default profile",
                format!(
                    "name one with --profile: {} has {}",
                    self.path.display(),
                    self.all.keys().cloned().collect::<Vec<_>>().join(", ")
                ),
            )),
        }
    }

    fn named(&self, name: &str) -> Result<(&str, &Profile)> {
        let found = self.all.get_key_value(name);
        found.map(|(name, profile)| (name.as_str(), profile)).ok_or_else(|| Error::UnknownProfile {
            name: name.to_owned(),
            path: self.path.clone(),
            known: self.all.keys().cloned().collect(),
        })
    }

    fn profile_for(&self, name: &Name<'_>, chosen: Option<&str>) -> Result<(&str, &Profile)> {
        let matching =
            |name| self.all.iter().find(|(_, profile)| profile.is_for(name)).map(|(name, _)| name.as_str());
        let matching = || name.all().find_map(matching);
        self.named(chosen.or_else(matching).or(self.default.as_deref()).unwrap_or_default())
    }
}

impl Profile {
    /// The host name of `device`, with the fixed suffix of the first pattern that has one.
    pub fn host_name(&self, device: &str) -> String {
        format!("{device}{}", suffixes(self).next().unwrap_or_default())
    }

    /// Whether a pattern of this profile matches `name`.
    pub fn is_for(&self, name: &str) -> bool {
        self.hosts.iter().any(|pattern| fits(pattern, name))
    }
}

/// The alias that equals one of the names, exactly or else ignoring case.
fn alias<'a>(profile: &'a Profile, names: &[&str]) -> Option<(&'a str, &'a Device)> {
    let find = |same: fn(&str, &str) -> bool| {
        profile.devices.iter().find(|(alias, _)| names.iter().any(|name| same(alias, name)))
    };
    find(|alias, name| alias == name)
        .or_else(|| find(str::eq_ignore_ascii_case))
        .map(|(alias, device)| (alias.as_str(), device))
}

/// Strips the fixed suffix of the first matching pattern: with `*.factory`, `gw-07.factory` becomes `gw-07`.
fn strip<'a>(profile: &Profile, name: &'a str) -> &'a str {
    suffixes(profile)
        .find_map(|suffix| {
            let at =
                name.len().checked_sub(suffix.len()).filter(|&at| at > 0 && name.is_char_boundary(at))?;
            name[at..].eq_ignore_ascii_case(suffix).then(|| &name[..at])
        })
        .unwrap_or(name)
}

/// The fixed suffixes of a profile's patterns.
fn suffixes(profile: &Profile) -> impl Iterator<Item = &str> {
    let after_star = profile.hosts.iter().filter_map(|pattern| pattern.strip_prefix('*'));
    after_star.filter(|suffix| !suffix.is_empty() && !suffix.contains(['*', '?']))
}

/// Whether `pattern` matches `name`, ignoring case because ssh lower-cases names.
pub fn fits(pattern: &str, name: &str) -> bool {
    pattern::matches(&pattern.to_lowercase(), &name.to_lowercase())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    fn profiles() -> Profiles {
        let profile = |hosts: &[&str], devices: &[(&str, &str)]| Profile {
            hosts: hosts.iter().map(|&h| h.to_owned()).collect(),
            devices: devices.iter().map(|&(a, d)| (a.to_owned(), Device::Id(d.to_owned()))).collect(),
            ..Profile::default()
        };
        Profiles {
            path: "p".into(),
            default: Some("home".into()),
            all: BTreeMap::from([
                (
                    "factory".into(),
                    profile(&["*.factory", "line-?"], &[("press", "Line(3),Press"), ("7", "seven")]),
                ),
                ("home".into(), profile(&[], &[])),
            ]),
        }
    }

    fn found(
        host: &str,
        typed: Option<&str>,
        chosen: Option<&str>,
        known: &[&str],
    ) -> Result<(String, String)> {
        let known = known.iter().map(|&id| id.to_owned()).collect();
        let profiles = profiles();
        let destination = profiles.destination(&Name { host, typed }, chosen, |_| known)?;
        Ok((destination.profile_name.to_owned(), destination.device))
    }

    #[test]
    fn maps_names_to_devices() {
        let ok = |host, typed, chosen, known: &[&str]| found(host, typed, chosen, known).unwrap();
        let pair = |profile: &str, id: &str| (profile.to_owned(), id.to_owned());
        assert_eq!(ok("gw-07.factory", None, None, &[]), pair("factory", "gw-07"));
        assert_eq!(ok("line-3", None, None, &[]), pair("factory", "line-3"));
        assert_eq!(ok("gw-07", None, None, &[]), pair("home", "gw-07"));
        assert_eq!(ok("gw-07", None, Some("factory"), &[]), pair("factory", "gw-07"));
        assert_eq!(ok("gw-07.factory", None, Some("home"), &[]), pair("home", "gw-07.factory"));
        // Aliases, exact and ignoring case, with the suffix and without.
        assert_eq!(ok("press.factory", None, None, &[]), pair("factory", "Line(3),Press"));
        assert_eq!(ok("press.factory", Some("PRESS.Factory"), None, &[]), pair("factory", "Line(3),Press"));
        // The name as typed, or an id from the cache.
        assert_eq!(
            ok("dev-01.factory", Some("Dev-01.factory"), None, &["DEV-01"]),
            pair("factory", "Dev-01")
        );
        assert_eq!(ok("dev-01.factory", None, None, &["Dev-01", "dev-02"]), pair("factory", "Dev-01"));
        assert_eq!(ok("dev-01.factory", None, None, &["dev-02"]), pair("factory", "dev-01"));
        // An alias of the user's configuration for a HostName, which ssh lower-cases too.
        assert_eq!(ok("gw-07.factory", Some("Pump"), None, &[]), pair("factory", "gw-07"));
        assert_eq!(ok("gw-07", Some("pump.factory"), None, &["GW-07"]), pair("factory", "GW-07"));
        assert_eq!(ok("gw-07", Some("press"), Some("factory"), &[]), pair("factory", "Line(3),Press"));
        assert_eq!(ok("press.factory", Some("Pump"), None, &[]), pair("factory", "Line(3),Press"));
        assert_eq!(ok("gw-07.factory", Some("GW-07"), None, &[]), pair("factory", "GW-07"));
        assert_eq!(ok("gw-07", Some("GW-07.factory"), Some("factory"), &[]), pair("factory", "GW-07"));
        assert_eq!(ok("10.1.2.3", Some("Gw-07.factory"), None, &[]), pair("factory", "Gw-07"));
        // Numbers.
        assert_eq!(ok("0.0.4.210", Some("1234"), None, &[]), pair("home", "1234"));
        assert_eq!(ok("0.0.0.7", Some("7"), Some("factory"), &[]), pair("factory", "seven"));
        assert_eq!(ok("10.0.0.7", None, None, &["10.0.0.7"]), pair("home", "10.0.0.7"));
    }

    #[test]
    fn a_name_without_a_device_is_an_error() {
        let error = |host, typed, chosen, known: &[&str]| found(host, typed, chosen, known).unwrap_err();
        assert!(matches!(error("0.0.4.210", None, None, &[]), Error::RewrittenName { .. }));
        assert!(
            matches!(error("dev", None, None, &["Dev", "dEV"]), Error::AmbiguousName { candidates, .. } if candidates == ["Dev", "dEV"])
        );
        assert!(matches!(error("dev", None, Some("nope"), &[]), Error::UnknownProfile { .. }));
    }

    #[test]
    fn matches_patterns() {
        for (pattern, name, fits) in [
            ("*", "anything", true),
            ("*.factory", "a.b.factory", true),
            ("*.factory", "A.FACTORY", true),
            ("*.factory", "factory", false),
            ("gw-??", "gw-07", true),
            ("gw-??", "gw-7", false),
            ("a*b*c", "aXbYbZc", true),
            ("a*b*c", "aXbYbZ", false),
            ("", "", true),
        ] {
            assert_eq!(super::fits(pattern, name), fits, "{pattern} {name}");
        }
    }
}
