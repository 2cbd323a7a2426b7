//! The environment of a module's container, which names its identity \[S].

use std::ffi::OsString;
use std::path::PathBuf;

use crate::backend::address;
use crate::backend::iothub::proto::{HubAddress, Identity, Malformed};
use crate::error::{Error, Result};

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

const SET_BY_EDGE: &str = "IoT Edge sets it for each module";

/// Whether this process runs in the container of a module of IoT Edge.
pub(crate) fn is_module() -> bool {
    [SOCKET, MODULE].iter().any(|name| std::env::var_os(name).is_some())
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
            let value = value.ok_or_else(|| unusable(format!("{name} is not set"), SET_BY_EDGE))?;
            value.into_string().map_err(|_| unusable(format!("{name} is not UTF-8"), SET_BY_EDGE))
        };
        let malformed = |problem: Malformed| unusable(problem.0, SET_BY_EDGE);
        let scheme = text(AUTHENTICATION)?;
        if !scheme.eq_ignore_ascii_case(SAS_TOKEN) {
            let problem = format!("{AUTHENTICATION} is '{scheme}', and not {SAS_TOKEN}");
            return Err(unusable(problem, "a module authenticates with its key"));
        }
        let uri = text(SOCKET)?;
        let socket = uri.strip_prefix("unix://").filter(|path| path.starts_with('/')).ok_or_else(|| {
            let problem = format!("{SOCKET} is '{uri}', and not unix:///PATH");
            unusable(problem, "use IoT Edge on Linux, which has a socket for each module")
        })?;
        let (device, module) = (text(DEVICE)?, text(MODULE)?);
        let (name, port) = address::parse(&text(HUB)?, HUB).map_err(malformed)?;
        Ok(Self {
            socket: socket.into(),
            hub: HubAddress { name, port },
            identity: Identity::new(&device, Some(&module)).map_err(malformed)?,
            module,
            generation: text(GENERATION)?,
            api_version: text(API_VERSION)?,
        })
    }
}

fn unusable(problem: String, hint: &str) -> Error {
    Error::credential(format!("the environment of {NAME}"), problem, hint)
}
