//! Stand-ins of aziot-identityd and aziot-keyd, made from the OpenAPI files and the documents of iot-identity-service.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard};

use data_encoding::BASE64;
use serde_json::{Value, json};

use super::key_daemon::{KeyDaemon, KeyReply, KeyRequest};
use super::sas::{self, field};
use super::{Hub, Sandbox};

pub struct IdentityService {
    /// The directory of the sockets.
    pub sockets: PathBuf,
    pub identityd: KeyDaemon,
    pub keyd: KeyDaemon,
    state: Arc<Mutex<IdentityState>>,
}

/// What the daemons know.
pub struct IdentityState {
    /// The user that has a principal.
    pub uid: u32,
    /// The answer about the identity.
    pub identity: Value,
    /// The keys by their handles, base64.
    pub keys: BTreeMap<String, String>,
    /// How often the identity was asked for.
    pub asked: usize,
    /// What was signed.
    pub messages: Vec<String>,
}

/// The key of a device or module, whose id is as in the names of the hub's files.
pub fn key(hub: &Hub, id: &str) -> String {
    let text = fs::read_to_string(hub.device_file(id)).unwrap();
    field(&text, "SharedAccessKey").to_owned()
}

impl IdentityService {
    /// With this user's principal for a module that is registered at `hub`.
    pub fn start(sandbox: &Sandbox, hub: &Hub, device: &str, module: &str) -> Self {
        let sockets = sandbox.path("aziot");
        fs::create_dir(&sockets).unwrap();
        let state = Arc::new(Mutex::new(IdentityState {
            uid: rustix::process::geteuid().as_raw(),
            identity: Value::Null,
            keys: BTreeMap::new(),
            asked: 0,
            messages: Vec::new(),
        }));
        let (identities, keys) = (state.clone(), state.clone());
        let service = Self {
            identityd: KeyDaemon::start(&sockets.join("identityd.sock"), move |request| {
                identity(request, &mut identities.lock().unwrap())
            }),
            keyd: KeyDaemon::start(&sockets.join("keyd.sock"), move |request| {
                sign(request, &mut keys.lock().unwrap())
            }),
            sockets,
            state,
        };
        service.provision(hub, device, Some(module));
        service
    }

    pub fn state(&self) -> MutexGuard<'_, IdentityState> {
        self.state.lock().unwrap()
    }

    /// Provisions an identity that is registered at `hub`, with a new key handle.
    pub fn provision(&self, hub: &Hub, device: &str, module: Option<&str>) {
        let id = module.map_or_else(|| device.to_owned(), |module| format!("{device}%2F{module}"));
        let handle = format!("sr={}&sig=handle", hub.port());
        let mut spec = json!({
            "hubName": hub.name(),
            "gatewayHost": hub.name(),
            "deviceId": device,
            "auth": { "type": "sas", "keyHandle": handle },
        });
        if let Some(module) = module {
            spec["moduleId"] = module.into();
            spec["genId"] = "638000000000000000".into();
        }
        let mut state = self.state();
        state.identity = json!({ "type": "aziot", "spec": spec });
        state.keys.insert(handle, key(hub, &id));
    }

    /// The agent's configuration with this service, without targets.
    pub fn config(&self, hub: &Hub) -> String {
        let (sockets, ca_file) = (&self.sockets, hub.dir.join("ca.pem"));
        format!("identity = \"aziot\"\naziot-sockets = {sockets:?}\nca-file = {ca_file:?}\n")
    }
}

fn identity(request: &KeyRequest, state: &mut IdentityState) -> KeyReply {
    request.check_version(&["2020-09-01", "2021-12-01", "2022-08-01"])?;
    match (&*request.method, &*request.path) {
        ("GET", "/identities/identity") => {}
        ("PUT", "/identities/identity") => return Err((400, "method not allowed".into())),
        _ => return Err((404, "not found".into())),
    }
    state.asked += 1;
    if request.uid != state.uid {
        return Err((401, "authorization error".into()));
    }
    match &state.identity {
        Value::String(message) => Err((404, message.clone())),
        identity => Ok(identity.clone()),
    }
}

/// Everyone who reaches the socket and has a handle may sign.
fn sign(request: &KeyRequest, state: &mut IdentityState) -> KeyReply {
    request.check_version(&["2020-09-01", "2021-05-01"])?;
    if (&*request.method, &*request.path) != ("POST", "/sign") {
        return Err((404, "not found".into()));
    }
    let body = request.json()?;
    if body["algorithm"] != "HMAC-SHA256" {
        return Err((422, "unknown variant".into()));
    }
    let key = body["keyHandle"].as_str().and_then(|handle| state.keys.get(handle));
    let key = key.ok_or((400, "parameter \"keyHandle\" has an invalid value".to_owned()))?.clone();
    let message = body["parameters"]["message"].as_str().unwrap_or_default();
    let (message, signature) = signed(&key, message)?;
    state.messages.push(message);
    Ok(json!({ "signature": signature }))
}

/// The message in base64 `data`, and its signature.
pub fn signed(key: &str, data: &str) -> Result<(String, String), (u16, String)> {
    let message = BASE64.decode(data.as_bytes()).map_err(|error| (422, error.to_string()))?;
    let message = String::from_utf8(message).unwrap();
    let (sr, expiry) = message.split_once('\n').expect("a message of two lines");
    let signature = sas::signature(key, sr, expiry.parse().expect("seconds"));
    Ok((message, signature))
}
