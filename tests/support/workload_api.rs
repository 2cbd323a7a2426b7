//! A stand-in of the workload API of IoT Edge, made from its OpenAPI file and Microsoft's Python client.

use std::path::PathBuf;
use std::process::Command;
use std::sync::{Arc, Mutex, MutexGuard};

use percent_encoding::percent_decode_str;
use serde_json::json;

use super::identity_service::{key, signed};
use super::key_daemon::{KeyDaemon, KeyReply, KeyRequest};
use super::sas::percent_encoded;
use super::{DEVICE, Hub, Sandbox};

pub const GENERATION: &str = "638000000000000001";

pub struct WorkloadApi {
    pub daemon: KeyDaemon,
    socket: PathBuf,
    hub: String,
    state: Arc<Mutex<Module>>,
}

/// What the daemon knows of the module.
pub struct Module {
    pub id: String,
    pub generation: String,
    key: String,
    /// The paths and messages of the requests.
    pub signed: Vec<(String, String)>,
}

impl WorkloadApi {
    /// For a module of the device, registered at `hub`.
    pub fn start(sandbox: &Sandbox, hub: &Hub, module: &str) -> Self {
        let state = Arc::new(Mutex::new(Module {
            id: module.into(),
            generation: GENERATION.into(),
            key: key(hub, &percent_encoded(&format!("{DEVICE}/{module}"))),
            signed: Vec::new(),
        }));
        let (socket, module) = (sandbox.path("workload.sock"), state.clone());
        let daemon = KeyDaemon::start(&socket, move |request| sign(request, &mut module.lock().unwrap()));
        Self { daemon, socket, hub: hub.name(), state }
    }

    pub fn state(&self) -> MutexGuard<'_, Module> {
        self.state.lock().unwrap()
    }

    /// The environment of the module's container.
    pub fn environment(&self) -> Vec<(&'static str, String)> {
        vec![
            ("IOTEDGE_WORKLOADURI", format!("unix://{}", self.socket.display())),
            ("IOTEDGE_MODULEID", self.state().id.clone()),
            ("IOTEDGE_DEVICEID", DEVICE.into()),
            ("IOTEDGE_MODULEGENERATIONID", GENERATION.into()),
            ("IOTEDGE_IOTHUBHOSTNAME", self.hub.clone()),
            ("IOTEDGE_GATEWAYHOSTNAME", "edge-device.invalid".into()),
            ("IOTEDGE_APIVERSION", "2021-12-07".into()),
            ("IOTEDGE_AUTHSCHEME", "sasToken".into()),
        ]
    }

    /// `iotstream agent` in the module's container.
    pub fn agent(&self, sandbox: &Sandbox, hub: &Hub) -> Command {
        let mut command = sandbox.iotstream();
        command.envs(self.environment()).args(["agent", "-vv", "--ca-file"]).arg(hub.dir.join("ca.pem"));
        command
    }
}

fn sign(request: &KeyRequest, module: &mut Module) -> KeyReply {
    request.check_version(&["2018-06-28", "2019-01-30", "2020-07-07", "2021-12-07", "2022-08-03"])?;
    let parts: Vec<&str> = request.path.split('/').collect();
    let (&["", "modules", id, "genid", generation, "sign"], "POST") = (&parts[..], &*request.method) else {
        return Err((404, "not found".into()));
    };
    let is = |part: &str, text: &str| percent_decode_str(part).decode_utf8().unwrap() == text;
    if !is(id, &module.id) || !is(generation, &module.generation) {
        return Err((404, format!("module {id} not found")));
    }
    let body = request.json()?;
    if (&body["keyId"], &body["algo"]) != (&"primary".into(), &"HMACSHA256".into()) {
        return Err((422, "unknown key or algorithm".into()));
    }
    let (message, digest) = signed(&module.key, body["data"].as_str().unwrap_or_default())?;
    module.signed.push((request.path.clone(), message));
    Ok(json!({ "digest": digest }))
}
