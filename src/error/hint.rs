//! What a user may try next, for each error.

use std::env;
use std::ffi::OsStr;

use super::{Error, Exposure};
use crate::time::phase::Phase;

/// What is right for every name, host and port, in every shell.
const PROXY_COMMAND: &str = "ProxyCommand iotstream \"--name=%n\" -- \"%h\" \"%p\"";

/// The status that says that a network wants a login first (RFC 6585, 6): no hub has it.
pub(crate) const CAPTIVE_PORTAL: u16 = 511;
pub(crate) const CAPTIVE_PORTAL_HINT: &str = "this network wants a login first: open any page in a browser";

impl Error {
    /// What to try next, and the variable that named what is wrong.
    pub fn hint(&self) -> Option<String> {
        let Some(variable) = self.variable() else { return self.advice() };
        let advice = self.advice().map_or_else(String::new, |advice| format!("{advice}; "));
        Some(format!("{advice}{variable} names it"))
    }

    fn variable(&self) -> Option<String> {
        let wrong: &OsStr = match self {
            Error::File { path, .. }
            | Error::Permissions(Exposure { path, .. })
            | Error::NoProfile { path } => path.as_ref(),
            Error::UnknownProfile { name, .. } | Error::BadName { name, .. } => name.as_ref(),
            _ => return None,
        };
        let ours = env::vars_os().filter(|(name, _)| name.as_encoded_bytes().starts_with(b"IOTSTREAM_"));
        ours.filter(|(_, value)| !value.is_empty() && value == wrong)
            .find_map(|(name, _)| name.into_string().ok())
    }

    fn advice(&self) -> Option<String> {
        Some(match self {
            Error::Usage { hint, .. }
            | Error::File { hint, .. }
            | Error::Credential { hint, .. }
            | Error::Untrusted { hint, .. } => {
                return hint.clone();
            }
            Error::Permissions(exposure) => exposure.fix(),
            Error::NoProfile { .. } => {
                "`iotstream profile add NAME` makes one, from a connection string on stdin; --config points to another".into()
            }
            Error::UnknownProfile { known, path, .. } if known.is_empty() => {
                format!("{} has no [profile.NAME] section", path.display())
            }
            Error::UnknownProfile { known, path, .. } => format!("{} has {}", path.display(), known.join(", ")),
            Error::RewrittenName { .. } => {
                format!("in the ssh config write: {PROXY_COMMAND}")
            }
            Error::AmbiguousName { .. } => {
                format!("in the ssh config write: {PROXY_COMMAND}, and type the id as it is")
            }
            Error::BadName { .. } => {
                "a device with such an id needs an alias under [profile.NAME.devices] in the profile file".into()
            }
            Error::Backend(fault) => return fault.hint(),
            Error::NotOffered { stream, builtin, .. } => format!(
                "its agent offers it when agent.toml has a [[target]] with stream = \"{stream}\" and builtin = \"{builtin}\", \
                 or with --target {stream}=builtin:{builtin}"
            ),
            Error::Network { phase: Phase::DNS, .. } => "is the name right, and does this machine resolve others?".into(),
            Error::Network { phase: Phase::PROXY, .. } | Error::Timeout { phase: Phase::PROXY, .. } => {
                "is it the right proxy? it comes from --proxy, IOTSTREAM_PROXY, the profile's or the agent's proxy, HTTPS_PROXY or ALL_PROXY".into()
            }
            Error::ProxyDenied { .. } => {
                "a login goes into the proxy's URL, http://USER:PASSWORD@HOST:PORT, in the profile or in HTTPS_PROXY".into()
            }
            Error::Network { phase, .. } if !phase.is_connecting() => {
                "it was reached before that: try again; with -v every phase shows its time".into()
            }
            Error::Network { phase: Phase::TLS, target, .. } => {
                format!("look at what answers there: openssl s_client -connect {target}")
            }
            Error::Network { .. } | Error::Timeout { phase: Phase::TCP | Phase::TLS | Phase::DNS, .. } => {
                "is there a way out on that port from here? only outgoing connections on 443 are needed".into()
            }
            Error::Timeout { .. } => "try again; with -v every phase shows its time".into(),
            Error::ProxyBusy { after, .. } => format!("it says when to try again: in {} s", after.as_secs()),
            Error::Protocol { .. } => {
                "is a proxy or another service answering there? -v shows each hop".into()
            }
            Error::Target { .. } => "start it, or correct its [[target]] in the agent's configuration".into(),
            Error::Ended { .. } => "the log of the agent on the device says more".into(),
            Error::EndedUnused { stream } => format!(
                "look at the target of the stream '{stream}' on the device: is its server running, and what does its log say?"
            ),
            Error::Cut { .. } => "either the other side went away or the network between broke: connect again".into(),
            Error::Silent { .. } => "connect again once the network is back; --keepalive sets how soon an outage is noticed".into(),
            Error::MissingProgram { package, .. } => format!("install it, on Debian: apt-get install {package}"),
            Error::Bug(_) => "please report this with the command line and the output of -vv".into(),
            Error::LocalIo { .. } | Error::Signalled { .. } | Error::Other(_) => return None,
        })
    }
}
