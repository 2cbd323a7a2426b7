//! What a user may try next, for each error.

use std::env;
use std::ffi::OsStr;

use super::{Error, Skew};
use crate::backend::iothub::proto::{Code, HubFailure, Identity, Refusal};
use crate::platform::private_file::Exposure;
use crate::time::phase::Phase;

/// What is right for every name, host and port, in every shell.
const PROXY_COMMAND: &str = "ProxyCommand iotstream \"--name=%n\" -- \"%h\" \"%p\"";

/// The status that says that a network wants a login first (RFC 6585, 6): no hub has it.
pub(super) const CAPTIVE_PORTAL: u16 = 511;
const CAPTIVE_PORTAL_HINT: &str = "this network wants a login first: open any page in a browser";

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
                return Some(hint.clone()).filter(|hint| !hint.is_empty());
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
            Error::Hub { failure, skew, identity, .. } => return hub_hint(failure, *skew, identity),
            Error::Listing { failure, .. } if failure.retry_after.is_some() => {
                format!("it says when to try again: in {} s", failure.retry_after.unwrap_or_default())
            }
            Error::Listing { failure, .. } => match failure.status {
                401 | 403 => {
                    "listing devices takes a policy with ServiceConnect or RegistryRead, and a clock that is right".into()
                }
                CAPTIVE_PORTAL => CAPTIVE_PORTAL_HINT.into(),
                429 => "a hub allows few queries a minute: try again later".into(),
                _ => return None,
            },
            Error::Rejected { stream, .. } => format!(
                "its agent has no target for '{stream}', the target is down, or approval was refused: its log says which"
            ),
            Error::NotOffered { stream, builtin, .. } => format!(
                "its agent offers it when agent.toml has a [[target]] with stream = \"{stream}\" and builtin = \"{builtin}\", \
                 or with --target {stream}=builtin:{builtin}"
            ),
            Error::Network { phase: Phase::Dns, .. } => "is the name right, and does this machine resolve others?".into(),
            Error::Network { phase: Phase::Proxy, .. } | Error::Timeout { phase: Phase::Proxy, .. } => {
                "is it the right proxy? it comes from --proxy, IOTSTREAM_PROXY, the profile's or the agent's proxy, HTTPS_PROXY or ALL_PROXY".into()
            }
            Error::ProxyDenied { .. } => {
                "a login goes into the proxy's URL, http://USER:PASSWORD@HOST:PORT, in the profile or in HTTPS_PROXY".into()
            }
            Error::Network { phase: Phase::Hub | Phase::Device | Phase::Gateway, .. } => {
                "it was reached before that: try again; with -v every phase shows its time".into()
            }
            Error::Network { phase: Phase::Tls, target, .. } => {
                format!("look at what answers there: openssl s_client -connect {target}")
            }
            Error::Network { .. } | Error::Timeout { phase: Phase::Tcp | Phase::Tls | Phase::Dns, .. } => {
                "is there a way out on that port from here? only outgoing connections on 443 are needed".into()
            }
            Error::Timeout { phase: Phase::Device, .. } => {
                "the device may have lost its network without saying so: try again in a minute".into()
            }
            Error::Timeout { .. } => "try again; with -v every phase shows its time".into(),
            Error::Upgrade { status: CAPTIVE_PORTAL, .. } => CAPTIVE_PORTAL_HINT.into(),
            Error::Upgrade { retry_after: Some(after), .. } => {
                format!("it says when to try again: in {} s", after.as_secs())
            }
            Error::Upgrade { phase: Phase::Gateway, status: 401 | 403, .. } => {
                "the token of a stream lives for a minute and is good for one use: try again".into()
            }
            Error::Upgrade { phase: Phase::Gateway, .. } => {
                "try again; the stream is asked for anew each time".into()
            }
            Error::Upgrade { phase: Phase::Proxy, .. } => "try again, or name another proxy".into(),
            Error::Upgrade { status: 401 | 403, .. } => {
                "it has seen no key yet: do the hub's network rules let this address in?".into()
            }
            Error::Upgrade { status: 429 | 500..=599, .. } => "the hub's own trouble: the agent goes on trying".into(),
            Error::Upgrade { .. } => {
                "is HostName a hub's? transport = \"mqtt\" needs no WebSocket, but a way out on 8883".into()
            }
            Error::Protocol { .. } => {
                "is a proxy or another service answering there? -v shows each hop".into()
            }
            Error::MqttRefused { skew: Some(skew), .. } | Error::Skewed { skew } => skew.hint(),
            Error::Target { .. } => "start it, or correct its [[target]] in the agent's configuration".into(),
            Error::MqttRefused { refusal, .. } => refused(*refusal).into(),
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

fn refused(refusal: Refusal) -> &'static str {
    match refusal {
        Refusal::NoMqtt311 => {
            "device streams need a hub that speaks MQTT 3.1.1: one for MQTT 5 alone has none"
        }
        Refusal::UnknownId => "compare the DeviceId with the hub's registry: ids are case-sensitive",
        Refusal::Unavailable => "the hub's own trouble: the agent goes on trying",
        Refusal::BadCredential | Refusal::NotAuthorized => {
            "is the key this device's own, is the device enabled, and is the clock right to five minutes?"
        }
        Refusal::NoStreams => {
            "device streams need a hub that has the preview: `az iot hub devicestream show -n HUB` shows whether it has"
        }
    }
}

impl Skew {
    fn hint(self) -> String {
        format!("the clock here is {self} the hub's, which allows five minutes: set it right")
    }
}

fn hub_hint(failure: &HubFailure, skew: Option<Skew>, identity: &Identity) -> Option<String> {
    if let Some(skew) = skew {
        return Some(skew.hint());
    }
    Some(match (failure.status, failure.code) {
        (_, Some(Code::DEVICE_NOT_ONLINE | Code::DEVICE_CLOSED)) => {
            format!(
                "is `iotstream agent` running there? `--wait 2m` waits for it; `iotstream check {}` looks at every hop",
                identity.device()
            )
        }
        (_, Some(Code::DEVICE_NOT_FOUND | Code::MODULE_NOT_FOUND)) | (404, None) => {
            "ids are case-sensitive, and ssh lower-cases %h: see --name in `iotstream --help`".into()
        }
        (_, Some(Code::DEVICE_DISABLED)) => "it was disabled in the hub's registry".into(),
        (_, Some(Code::QUOTA_EXCEEDED)) => {
            "device streams carry 300 MB a day and hub in all; the count starts anew at 00:00 UTC".into()
        }
        (_, Some(Code::NOT_IN_TIER)) => {
            "device streams need a hub of the Standard or Free tier, in a region that has the preview".into()
        }
        (_, Some(Code::HUB_NOT_FOUND)) => {
            "is the HostName of the profile's connection string right, and does the hub still exist?".into()
        }
        (401 | 403, _) => {
            "the profile needs the key of a policy with ServiceConnect, as it is now: was it regenerated?"
                .into()
        }
        (429, _) => match failure.retry_after {
            Some(seconds) => format!(
                "a hub opens 5 new streams a second and carries 50: try again in {} s, or use --wait",
                seconds.max(1)
            ),
            None => "a hub opens 5 new streams a second and carries 50: try again, or use --wait".into(),
        },
        (504, _) => {
            "the device is online but did not answer: is its agent busy, or waiting for somebody's approval?"
                .into()
        }
        (CAPTIVE_PORTAL, _) => CAPTIVE_PORTAL_HINT.into(),
        (300..=399, _) => {
            "a hub redirects nobody: is a proxy or a captive portal answering in its place?".into()
        }
        (500..=599, _) => match failure.retry_after {
            Some(after) => {
                format!("the hub's own trouble: it says to try again in {} s", after.max(1))
            }
            None => "the hub's own trouble: try again in a minute".into(),
        },
        _ => return None,
    })
}
