//! The environment of a module's container, which names its identity \[S].

use std::ffi::OsString;
use std::path::PathBuf;

use crate::backend::iothub::proto::{HubAddress, Identity, Malformed};
use crate::error::{Error, Problem, Result};

/// The source of the identity, for messages.
pub(super) const NAME: &str = "IoT Edge";

const SOCKET: &str = "IOTEDGE_WORKLOADURI";
const DEVICE: &str = "IOTEDGE_DEVICEID";
const MODULE: &str = "IOTEDGE_MODULEID";
const GENERATION: &str = "IOTEDGE_MODULEGENERATIONID";
const HUB: &str = "IOTEDGE_IOTHUBHOSTNAME";
const API_VERSION: &str = "IOTEDGE_APIVERSION";
const AUTHENTICATION: &str = "IOTEDGE_AUTHSCHEME";

/// The only authentication scheme of modules.
const SAS_TOKEN: &str = "sasToken";

/// Whether this process runs in the container of a module of IoT Edge.
pub(crate) fn is_module() -> bool {
    std::env::var_os(SOCKET).is_some()
}

/// What the variables say.
#[derive(Debug)]
pub(super) struct Environment {
    /// The socket of the workload API.
    pub(super) socket: PathBuf,
    pub(super) hub: HubAddress,
    pub(super) identity: Identity,
    pub(super) module: String,
    /// Tells a module from an earlier one of the same name.
    pub(super) generation: String,
    pub(super) api_version: String,
}

impl Environment {
    /// Reads the variables with `read`.
    ///
    /// # Errors
    /// Returns which variable is missing or cannot be used.
    pub(super) fn read(read: impl Fn(&str) -> Option<OsString>) -> Result<Self> {
        let text = |name| {
            let value = read(name).filter(|value| !value.is_empty());
            let value =
                value.ok_or_else(|| unusable(name, "is not set", "IoT Edge sets it for every module"))?;
            value
                .into_string()
                .map_err(|_| unusable(name, "is not UTF-8", "IoT Edge sets it for every module"))
        };
        let malformed =
            |name| move |problem: Malformed| unusable(name, problem.0, "IoT Edge sets it for every module");
        let scheme = text(AUTHENTICATION)?;
        if !scheme.eq_ignore_ascii_case(SAS_TOKEN) {
            let problem = format!("is '{scheme}'");
            return Err(unusable(AUTHENTICATION, problem, "the agent signs tokens: it must be sasToken"));
        }
        let uri = text(SOCKET)?;
        let socket = uri.strip_prefix("unix://").filter(|path| path.starts_with('/')).ok_or_else(|| {
            unusable(SOCKET, format!("is '{uri}', and not the URI of a socket"), "use unix:///PATH")
        })?;
        let (device, module) = (text(DEVICE)?, text(MODULE)?);
        Ok(Self {
            socket: socket.into(),
            hub: HubAddress::parse(&text(HUB)?).map_err(malformed(HUB))?,
            identity: Identity::new(&device, Some(&module)).map_err(malformed(DEVICE))?,
            module,
            generation: text(GENERATION)?,
            api_version: text(API_VERSION)?,
        })
    }
}

fn unusable(variable: &str, problem: impl std::fmt::Display, hint: &str) -> Error {
    let problem: Problem = format!("{variable} {problem}").into();
    Error::credential(format!("the environment of {NAME}"), problem, hint)
}
