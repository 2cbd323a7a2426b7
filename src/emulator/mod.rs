//! An IoT Hub in one process, for tests, demonstrations and rehearsals: it speaks to clients of device streams what
//! the service speaks, as far as that is known.
//!
//! One port is HTTPS, with the REST API, the streaming gateway and MQTT over WebSocket; the other is MQTT over TLS.
//! Facts of the service carry the marks of [`crate::iothub`]; where the service's behaviour is not known, a comment
//! says that what stands there is a choice. There are no quotas unless they are asked for: throttling would slow tests.

mod authorization;
mod certificate;
mod client_certificate;
mod devices;
mod directory;
mod faults;
mod frames;
mod gateway;
mod links;
mod mqtt;
mod pipe;
mod quota;
mod registry;
mod rest;
mod server;
mod sessions;
mod streams;
mod websocket;

use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

use crate::error::{Error, Result};
use crate::iothub::{HubAddress, Identity};

pub use client_certificate::Thumbprint;
pub use faults::Faults;
pub use quota::Quota;

/// What an emulator is made from.
#[derive(Debug, Default)]
pub struct Options {
    /// Where keys, certificates and connection strings are kept; made if it is not there.
    pub dir: PathBuf,
    /// Registered besides those that the directory has.
    pub devices: Vec<Identity>,
    /// The same, which prove themselves with a certificate.
    pub x509_devices: Vec<(Identity, Thumbprint)>,
    /// Names of the hub besides `localhost` and the loopback addresses.
    pub hostnames: Vec<String>,
    pub faults: Faults,
    /// How many streams it lets in; without one, all.
    pub quota: Option<Quota>,
}

/// A hub that is ready to run. Clients may connect at once: the ports are bound.
pub struct Emulator {
    https: TcpListener,
    mqtts: TcpListener,
    https_address: SocketAddr,
    mqtts_address: SocketAddr,
    acceptor: TlsAcceptor,
    hub: Arc<Hub>,
}

/// What all connections share.
#[derive(Debug)]
struct Hub {
    /// The names that tokens and user names may use; the first is for URLs.
    names: Vec<String>,
    /// As connection strings have it, with the port of HTTPS.
    address: HubAddress,
    faults: Faults,
    quota: Option<Quota>,
    registry: registry::Registry,
    links: Arc<links::Links>,
    sessions: Arc<sessions::Sessions>,
}

impl Emulator {
    /// Reads or makes the directory, and writes everything clients need into it.
    ///
    /// # Errors
    /// A directory or a file in it that cannot be used, a host name that is none, or an id that cannot be registered.
    pub fn open(https: TcpListener, mqtts: TcpListener, options: Options) -> Result<Self> {
        let address_of =
            |listener: &TcpListener| listener.local_addr().map_err(Error::local_io("listening socket"));
        let (https_address, mqtts_address) = (address_of(&https)?, address_of(&mqtts)?);
        let names = names(https_address, &options.hostnames)?;
        let address = HubAddress { name: names[0].clone(), port: Some(https_address.port()) };
        let directory = directory::Directory::open(&options.dir)?;
        let config = directory.authority()?.server(&names).map_err(Error::from)?;
        let rate = options.quota.as_ref().map(|quota| quota.rate);
        let registry = registry::Registry::open(directory, address.clone(), rate)?;
        for identity in &options.devices {
            registry.register(identity)?;
        }
        for (identity, thumbprint) in &options.x509_devices {
            registry.register_certificate(identity, *thumbprint)?;
        }
        let sessions = sessions::Sessions::new().map_err(anyhow::Error::new)?;
        let hub = Hub {
            names,
            address,
            faults: options.faults,
            quota: options.quota,
            registry,
            links: links::Links::new(),
            sessions,
        };
        Ok(Self {
            https,
            mqtts,
            https_address,
            mqtts_address,
            acceptor: TlsAcceptor::from(config),
            hub: Arc::new(hub),
        })
    }

    /// Where REST, the gateway and MQTT over WebSocket are.
    pub fn https_address(&self) -> SocketAddr {
        self.https_address
    }

    /// Where MQTT over TLS is.
    pub fn mqtts_address(&self) -> SocketAddr {
        self.mqtts_address
    }

    /// Serves until `shutdown`; then every connection is dropped.
    pub async fn run(self, shutdown: impl Future<Output = ()>) {
        tokio::select! {
            () = shutdown => {}
            () = server::run(&self.https, &self.mqtts, &self.acceptor, &self.hub) => {}
        }
    }
}

impl fmt::Debug for Emulator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Emulator").field("hub", &self.hub).finish_non_exhaustive()
    }
}

impl Hub {
    /// Where a device that came over MQTT's own port reaches the gateway: the hub as it named it, on HTTPS's port.
    fn authority_as(&self, hub: &str) -> String {
        HubAddress::parse(hub).map_or_else(
            |_| self.address.to_string(),
            |named| HubAddress { port: self.address.port, ..named }.to_string(),
        )
    }
}

/// The hub's names, the one for connection strings first: `localhost`, unless others can reach the port.
fn names(listening: SocketAddr, hostnames: &[String]) -> Result<Vec<String>> {
    for name in hostnames {
        match HubAddress::parse(name) {
            Ok(HubAddress { port: None, .. }) => {}
            Ok(_) => return Err(bad_hostname(name, "it has a port")),
            Err(problem) => return Err(bad_hostname(name, &problem.0)),
        }
    }
    let mut names: Vec<String> = Vec::new();
    let mut add = |name: String| {
        if !names.contains(&name) {
            names.push(name);
        }
    };
    let address = listening.ip();
    if !address.is_loopback() {
        if let Some(first) = hostnames.first() {
            add(first.clone());
        } else if !address.is_unspecified() {
            add(address.to_string());
        }
    }
    add("localhost".into());
    add("127.0.0.1".into());
    add("::1".into());
    if !address.is_unspecified() {
        add(address.to_string());
    }
    hostnames.iter().cloned().for_each(&mut add);
    Ok(names)
}

fn bad_hostname(name: &str, problem: &str) -> Error {
    Error::Usage {
        problem: format!("'{name}' cannot be a host name: {problem}"),
        hint: "see --hostname".into(),
    }
}
