//! An IoT Hub in one process, for tests, demonstrations and rehearsals: it speaks to clients of device streams what
//! the service speaks, as far as that is known.
//!
//! One port is HTTPS, with the REST API, the streaming gateway and MQTT over WebSocket; the other is MQTT over TLS.
//! Facts of the service carry the marks of [`crate::backend::iothub::proto`]; where the service's behaviour is not known, a comment
//! says that what stands there is a choice. There are no quotas unless they are asked for: throttling would slow tests.

mod authentication;
mod authority;
mod authorization;
mod client_certificate;
mod clock;
mod devices;
mod directory;
mod faults;
mod files;
mod gateway;
mod links;
mod mqtt;
mod mqtt_websocket;
mod pipe;
mod policies;
mod quota;
mod registry;
mod rest;
mod routes;
mod server;
mod sessions;
mod streams;
mod twins;
mod websocket;

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::SystemTime;

use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use crate::backend::iothub::proto::{HubAddress, Identity};
use crate::error::{Error, Result};

pub use client_certificate::Thumbprint;
pub use faults::Faults;
pub use quota::Quota;

/// The port that clients use where none is written.
const HTTPS: u16 = 443;

/// What an emulator is made from.
#[derive(Debug, Default)]
pub struct Options {
    /// Where keys, certificates and connection strings are kept; made if it is not there.
    pub dir: PathBuf,
    /// Registered besides those that the directory has.
    pub devices: Vec<Identity>,
    /// The same, which prove themselves with a certificate.
    pub x509_devices: Vec<(Identity, Thumbprint)>,
    /// Names of the hub besides `localhost` and the loopback addresses; the first one stands in connection strings.
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
    /// As connection strings have it, with the port of HTTPS where that is not the service's.
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
        clock::check(SystemTime::now())?;
        let address_of =
            |listener: &TcpListener| listener.local_addr().map_err(Error::local_io("listening socket"));
        let (https_address, mqtts_address) = (address_of(&https)?, address_of(&mqtts)?);
        let names = names(https_address, &options.hostnames)?;
        let address = address(names[0].clone(), https_address);
        let nearby = self::address(nearby(https_address), https_address);
        let directory = directory::Directory::open(&options.dir)?;
        let config = authority::Authority::open(&directory)?.server(&names).map_err(Error::from)?;
        let rate = options.quota.as_ref().map(|quota| quota.rate);
        let registry = registry::Registry::open(
            files::Files::open(directory)?,
            address.clone(),
            &nearby,
            rate,
            options.faults.clock.now(),
        )?;
        for identity in &options.devices {
            registry.register(identity, options.faults.clock.now())?;
        }
        for (identity, thumbprint) in &options.x509_devices {
            let authentication = authentication::Authentication::SelfSigned(*thumbprint);
            registry.register_certificate(identity, authentication, options.faults.clock.now())?;
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
        let Self { https, mqtts, acceptor, hub, .. } = self;
        let http = Arc::new(server::Http {
            services: vec![Arc::clone(&hub) as Arc<dyn server::Service>],
            latency: hub.faults.latency,
            clock: hub.faults.clock,
        });
        let expiry = hub.sessions.expire_regularly();
        let mqtt_hub = Arc::clone(&hub);
        let mqtt = move |io: TlsStream<TcpStream>| {
            let certificate = Thumbprint::of_peer(io.get_ref().1);
            mqtt::serve(io, Arc::clone(&mqtt_hub), None, certificate)
        };
        let serving = async {
            tokio::join!(
                server::serve(&https, &acceptor, move |io| Arc::clone(&http).serve(io)),
                server::serve(&mqtts, &acceptor, mqtt),
                expiry,
            )
        };
        tokio::select! {
            () = shutdown => {}
            _ = serving => {}
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

/// The hub's address as connection strings have it: Microsoft's clients know the service's port alone, and cannot read
/// another.
fn address(name: String, listening: SocketAddr) -> HubAddress {
    HubAddress { name, port: Some(listening.port()).filter(|port| *port != HTTPS) }
}

/// What the hub is called on this machine, without a line in the hosts file.
fn nearby(listening: SocketAddr) -> String {
    let address = listening.ip();
    let is_localhost = [IpAddr::from(Ipv4Addr::LOCALHOST), Ipv6Addr::LOCALHOST.into()].contains(&address);
    if is_localhost || address.is_unspecified() { "localhost".into() } else { address.to_string() }
}

/// The hub's names, the one for connection strings first: the first that was asked for, or the one nearby.
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
    hostnames.first().cloned().into_iter().for_each(&mut add);
    add(nearby(listening));
    add("localhost".into());
    add("127.0.0.1".into());
    add("::1".into());
    if !listening.ip().is_unspecified() {
        add(listening.ip().to_string());
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_connection_strings_name() {
        for (listening, hostnames, hub, here) in [
            ("127.0.0.1:443", &[][..], "localhost", "localhost"),
            ("127.0.0.1:8443", &[], "localhost:8443", "localhost:8443"),
            ("[::1]:443", &["hub.example"], "hub.example", "localhost"),
            ("127.0.0.1:443", &["hub.example", "b.example"], "hub.example", "localhost"),
            ("0.0.0.0:8443", &["hub.example"], "hub.example:8443", "localhost:8443"),
            ("0.0.0.0:443", &[], "localhost", "localhost"),
            ("192.0.2.7:443", &["hub.example"], "hub.example", "192.0.2.7"),
            ("192.0.2.7:8443", &[], "192.0.2.7:8443", "192.0.2.7:8443"),
            ("127.0.0.2:443", &[], "127.0.0.2", "127.0.0.2"),
        ] {
            let listening: SocketAddr = listening.parse().unwrap();
            let hostnames: Vec<_> = hostnames.iter().map(|name| (*name).to_owned()).collect();
            let names = names(listening, &hostnames).unwrap();
            assert_eq!(address(names[0].clone(), listening).to_string(), hub, "{listening}");
            assert_eq!(address(nearby(listening), listening).to_string(), here, "{listening}");
            for name in hostnames.iter().map(String::as_str).chain(["localhost", "127.0.0.1", "::1"]) {
                assert!(names.iter().any(|known| known == name), "{listening} {name}");
            }
        }
    }
}
