//! Services of Azure in one process, for tests, demonstrations and rehearsals.
//!
//! One port is HTTPS, where each service adds its routes; the other is MQTT over TLS. What any service needs is in this
//! folder: the server, WebSocket, the forwarding between two sides, faults, certificates, and the directory that is kept.
//! `iothub` is IoT Hub; `provisioning` is the Device Provisioning Service, which assigns devices to it; and `relay` is Azure
//! Relay, whose gateway has a port of its own.

mod authority;
mod client_certificate;
mod clock;
mod directory;
mod fault;
mod faults;
mod forward;
mod hostnames;
mod iothub;
mod key;
mod mqtt;
mod profiles;
mod provisioning;
mod relay;
mod server;
mod websocket;

use std::fmt;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::SystemTime;

use rustls::ServerConfig;
use tokio::net::TcpListener;

use crate::error::{Error, Result};

pub(crate) use client_certificate::Thumbprint;
pub(crate) use faults::Faults;
pub(crate) use iothub::Quota;
pub(crate) use provisioning::Options as ProvisioningOptions;

use authority::Authority;
use directory::Directory;
use hostnames::Hostnames;
use iothub::{Address, Hub};
use mqtt::{Mqtt, WebSocket};
use provisioning::Provisioning;
use relay::{Gateway, Namespace, ResourceManager};
use server::{Http, Service};

/// The settings of an emulator.
#[derive(Debug, Default)]
pub(crate) struct Options {
    /// Where keys, certificates and connection strings are kept; made if it is missing.
    pub dir: PathBuf,
    /// Devices and modules to register, as `DEVICE` or `DEVICE/MODULE`, besides those that the directory has.
    pub devices: Vec<String>,
    /// The same for those that authenticate with a certificate.
    pub x509_devices: Vec<(String, Thumbprint)>,
    /// The Device Provisioning Service, if there is one.
    pub provisioning: Option<ProvisioningOptions>,
    /// Hybrid connections of the relay; without any there is no relay.
    pub relay_entities: Vec<String>,
    /// The same for those that senders connect to without a token.
    pub relay_anonymous: Vec<String>,
    /// Names of the hub and the relay besides `localhost` and the loopback addresses; connection strings have the first.
    pub hostnames: Vec<String>,
    /// Faults to make; none by default.
    pub faults: Faults,
    /// How many streams the hub lets in; without a quota, all.
    pub quota: Option<Quota>,
}

/// An emulator that is ready to run. Clients may connect at once: the ports are bound.
pub(crate) struct Emulator {
    https: TcpListener,
    mqtts: TcpListener,
    https_address: SocketAddr,
    mqtts_address: SocketAddr,
    tls: Arc<ServerConfig>,
    http: Arc<Http>,
    mqtt: Mqtt,
    hub: Arc<Hub>,
    /// The relay's gateway.
    gateway: Option<(TcpListener, Arc<Http>)>,
}

impl Emulator {
    /// Reads or makes the directory, and writes everything that clients need into it.
    ///
    /// # Errors
    /// The directory or a file in it cannot be used, a host name is invalid, an id cannot be registered, or the
    /// computer's clock is out of HTTP's range.
    pub(crate) fn open(https: TcpListener, mqtts: TcpListener, options: Options) -> Result<Self> {
        clock::check(SystemTime::now())?;
        options.hostnames.iter().try_for_each(|name| iothub::check_hostname(name))?;
        let address_of =
            |listener: &TcpListener| listener.local_addr().map_err(Error::local_io("listening socket"));
        let (https_address, mqtts_address) = (address_of(&https)?, address_of(&mqtts)?);
        let names = Hostnames::new(https_address.ip(), &options.hostnames);
        let directory = Directory::open(&options.dir)?;
        let faults = Arc::new(options.faults);
        let authority = Authority::open(&directory)?;
        let tls = authority.server(&names.all, faults.relay.p384_only).map_err(Error::from)?;
        let (latency, clock) = (faults.latency, faults.clock);
        let address = Address::new(&names, https_address.port());
        let hub = Arc::new(Hub::open(directory.clone(), address, Arc::clone(&faults), options.quota)?);
        let mut profiles = vec![hub.profile()];
        let mut services: Vec<Arc<dyn Service>> = Vec::new();
        let mut gateway = None;
        let relay = relay::Names { entities: options.relay_entities, anonymous: options.relay_anonymous };
        if !relay.is_empty() {
            let listener = listen(https_address.ip()).map_err(Error::local_io("listening socket"))?;
            let ports = relay::Ports {
                names: &names,
                named: &options.hostnames,
                https: https_address.port(),
                gateway: address_of(&listener)?,
            };
            let namespace = Namespace::open(directory.clone(), &relay, &ports, Arc::clone(&faults))?;
            let namespace = Arc::new(namespace);
            profiles.extend(namespace.profiles());
            services.push(Arc::clone(&namespace) as _);
            services.push(Arc::new(ResourceManager(Arc::clone(&namespace))));
            let http = Http { services: vec![Arc::new(Gateway(namespace))], latency, clock };
            gateway = Some((listener, Arc::new(http)));
        }
        let mut logins: Vec<Arc<dyn mqtt::Service>> = Vec::new();
        let serves_root = options.provisioning.is_some();
        if let Some(options) = options.provisioning {
            let hub = Arc::clone(&hub);
            let provisioning =
                Arc::new(Provisioning::open(directory.clone(), options, hub, Arc::clone(&faults))?);
            services.push(Arc::clone(&provisioning) as _);
            logins.push(provisioning);
        }
        // The hub takes every login that is left.
        logins.push(Arc::clone(&hub) as _);
        let mqtt = Mqtt::new(logins);
        services.push(Arc::new(WebSocket { mqtt: mqtt.clone(), serves_root, faults }));
        // The hub serves every path that is left.
        services.push(Arc::clone(&hub) as _);
        profiles::write(&directory, &profiles)?;
        for id in &options.devices {
            hub.register(id)?;
        }
        for (id, thumbprint) in &options.x509_devices {
            hub.register_certificate(id, *thumbprint)?;
        }
        let http = Arc::new(Http { services, latency, clock });
        Ok(Self { https, mqtts, https_address, mqtts_address, tls, http, mqtt, hub, gateway })
    }

    /// The address of REST, the gateway, and MQTT over WebSocket.
    pub(crate) fn https_address(&self) -> SocketAddr {
        self.https_address
    }

    /// The address of MQTT over TLS.
    pub(crate) fn mqtts_address(&self) -> SocketAddr {
        self.mqtts_address
    }

    /// Serves until `shutdown` resolves; then every connection is dropped.
    pub(crate) async fn run(self, shutdown: impl Future<Output = ()>) {
        let Self { https, mqtts, tls, http, mqtt, hub, gateway, .. } = self;
        let serving = async {
            tokio::join!(
                server::serve(&https, &tls, move |io| Arc::clone(&http).serve(io)),
                server::serve(&mqtts, &tls, move |io| mqtt.clone().serve_tls(io)),
                hub.expire_streams(),
                async {
                    if let Some((listener, http)) = gateway {
                        server::serve(&listener, &tls, move |io| Arc::clone(&http).serve(io)).await;
                    }
                },
            )
        };
        tokio::select! {
            () = shutdown => {}
            _ = serving => {}
        }
    }
}

/// Listens on any free port of `ip`.
fn listen(ip: IpAddr) -> io::Result<TcpListener> {
    let listener = std::net::TcpListener::bind((ip, 0))?;
    listener.set_nonblocking(true)?;
    TcpListener::from_std(listener)
}

impl fmt::Debug for Emulator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Emulator").field("hub", &self.hub).finish_non_exhaustive()
    }
}
