//! What a user may try next, for each error.

use std::env;
use std::ffi::OsStr;

use super::{Error, Exposure};
use crate::time::phase::Phase;

/// What is right for every name, host and port, in every shell.
const PROXY_COMMAND: &str = "ProxyCommand iotstream \"--name=%n\" -- \"%h\" \"%p\"";

/// The status that says that a network wants a login first (RFC 6585, 6): no hub has it.
pub(crate) const CAPTIVE_PORTAL: u16 = 511;
pub(crate) const CAPTIVE_PORTAL_HINT: &str = "this network requires a login: open any page in a browser";

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
            | Error::Untrusted { hint, .. }
            | Error::ProxyDenied { hint, .. }
            | Error::AgentRefused { hint, .. } => return hint.clone(),
            Error::Permissions(exposure) => exposure.fix(),
            Error::NoProfile { .. } => {
                "create one with `iotstream profile add NAME`, with the connection string on stdin, or name another with --config".into()
            }
            Error::UnknownProfile { known, path, .. } if known.is_empty() => {
                format!("{} has no [profile.NAME] section", path.display())
            }
            Error::UnknownProfile { known, path, .. } => {
                format!("the profiles of {} are {}", path.display(), known.join(", "))
            }
            Error::RewrittenName { .. } => {
                format!("in the ssh config write: {PROXY_COMMAND}")
            }
            Error::AmbiguousName { .. } => {
                format!("in the ssh config write: {PROXY_COMMAND}, and type the id as it is")
            }
            Error::BadName { .. } => {
                "to use another name for a device, add an alias under [profile.NAME.devices] in the profile file".into()
            }
            Error::Backend(fault) => return fault.hint(),
            Error::NoReports { .. } => {
                "sign the host keys of the devices, and write the CA's key as host-ca in the profile".into()
            }
            Error::NoHostKeys { stream: Some(stream), .. } => {
                format!("add \"{stream}\" to host-keys in the agent's configuration")
            }
            Error::NoHostKeys { .. } => {
                "on the device, see the log of `iotstream agent`; one that is older than this program may report nothing".into()
            }
            Error::NotOffered { stream, builtin, .. } => format!(
                "add a [[target]] with stream = \"{stream}\" and builtin = \"{builtin}\" to the agent's configuration, \
                 or start the agent with --target {stream}=builtin:{builtin}"
            ),
            Error::Network { phase: Phase::DNS, .. } | Error::Timeout { phase: Phase::DNS, .. } => {
                "check the name, and whether this machine resolves other names".into()
            }
            Error::Network { phase: Phase::PROXY, .. } | Error::Timeout { phase: Phase::PROXY, .. } => {
                "check the proxy: it comes from --proxy, IOTSTREAM_PROXY, the profile's or the agent's proxy, HTTPS_PROXY or ALL_PROXY".into()
            }
            Error::Network { phase, .. } if !phase.is_connecting() => {
                "try again: the connection itself was made; -v shows the time of each phase".into()
            }
            Error::Network { phase: Phase::TLS, target, .. } => {
                format!("see what answers there: openssl s_client -connect {target}")
            }
            Error::Network { .. } | Error::Timeout { phase: Phase::TCP | Phase::TLS, .. } => {
                "check the address, and that this network allows outgoing connections to that port".into()
            }
            Error::Timeout { .. } => "try again; -v shows the time of each phase".into(),
            Error::ProxyBusy { after, .. } => format!("try again in {} s, as the proxy asks", after.as_secs()),
            Error::Protocol { .. } => {
                "check what answers there; -v shows each phase".into()
            }
            Error::Target { .. } => "start it, or correct its [[target]] in the agent's configuration".into(),
            Error::NoAgent { .. } => {
                "start the agent, or name its control socket with --control; the agent's log says if it could not open it".into()
            }
            Error::ControlDenied { .. } => "run the command as root: sudo iotstream agent …".into(),
            Error::Ended { .. } => "see the agent's log on the device".into(),
            Error::EndedUnused { stream } => format!(
                "on the device, check that the server behind the stream '{stream}' runs, and see its log"
            ),
            Error::Cut { .. } => "connect again; -v shows how the stream ended".into(),
            Error::ThrownBack => {
                "to wait for the other side's end before the Close, set half-close = false in the profile".into()
            }
            Error::Silent { .. } => "connect again when the network is back; --keepalive sets how soon an outage is noticed".into(),
            Error::MissingProgram { package, .. } => format!("install it; on Debian: apt-get install {package}"),
            Error::Bug(_) => "report this with the command line and the output of -vv".into(),
            Error::LocalIo { .. } | Error::Signalled { .. } | Error::Other(_) => return None,
        })
    }
}
