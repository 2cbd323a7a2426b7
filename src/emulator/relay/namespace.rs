//! The namespace's state, which all of its parts share.

use std::net::SocketAddr;
use std::sync::Arc;

use super::address::Address;
use super::files::{self, Files};
use super::http_requests::HttpRequests;
use super::hybrid_connection::HybridConnection;
use super::rendezvous::Rendezvous;
use super::rules::Rule;
use crate::backend::relay::proto::Entity;
use crate::emulator::directory::Directory;
use crate::emulator::faults::Faults;
use crate::emulator::hostnames::Hostnames;
use crate::emulator::profiles::{Profile, quoted};
use crate::error::{Error, Result};
use crate::secret::Secret;

/// The resource group of everything in the emulator, and its providers.
const GROUP: &str = "/subscriptions/emulator/resourceGroups/emulator/providers";

/// A Relay namespace.
#[derive(Debug)]
pub(in crate::emulator) struct Namespace {
    pub(super) address: Address,
    pub(super) faults: Arc<Faults>,
    /// Its own rules, which hold for every hybrid connection: the root's and the senders'.
    pub(super) rules: [Rule; 2],
    pub(super) connections: Vec<HybridConnection>,
    pub(super) rendezvous: Rendezvous,
    pub(super) http_requests: HttpRequests,
}

/// The hybrid connections of a namespace, by name.
#[derive(Clone, Debug, Default)]
pub(in crate::emulator) struct Names {
    pub(in crate::emulator) entities: Vec<String>,
    /// Those that senders connect to without a token.
    pub(in crate::emulator) anonymous: Vec<String>,
}

/// Where clients reach the emulator.
#[derive(Debug)]
pub(in crate::emulator) struct Ports<'a> {
    pub(in crate::emulator) names: &'a Hostnames,
    /// The names that were asked for.
    pub(in crate::emulator) named: &'a [String],
    pub(in crate::emulator) https: u16,
    /// Where listeners meet senders.
    pub(in crate::emulator) gateway: SocketAddr,
}

impl Names {
    /// Whether there are none.
    pub(in crate::emulator) fn is_empty(&self) -> bool {
        self.entities.is_empty() && self.anonymous.is_empty()
    }
}

impl Namespace {
    /// Opens the namespace, and writes everything that clients need into `directory`.
    ///
    /// # Errors
    /// A name is invalid, or a file is invalid, or cannot be read or written.
    pub(in crate::emulator) fn open(
        directory: Directory,
        names: &Names,
        ports: &Ports<'_>,
        faults: Arc<Faults>,
    ) -> Result<Self> {
        let address = Address::new(ports.names, ports.named, ports.https, ports.gateway);
        let files = Files::open(directory, address.public.clone())?;
        let rules = [files.root()?, files.send()?];
        let mut connections: Vec<HybridConnection> = Vec::new();
        let anonymous = names.anonymous.iter().map(|name| (name, true));
        for (name, is_anonymous) in anonymous.chain(names.entities.iter().map(|name| (name, false))) {
            let entity = parse_name(name)?;
            let same =
                |one: &HybridConnection| one.entity.to_string().eq_ignore_ascii_case(&entity.to_string());
            if !connections.iter().any(same) {
                let (rule, listeners) = (files.listen(&entity)?, Default::default());
                connections.push(HybridConnection { entity, is_anonymous, rule, listeners });
            }
        }
        let (rendezvous, http_requests) = Default::default();
        Ok(Self { address, faults, rules, connections, rendezvous, http_requests })
    }

    /// The profiles for users on this machine: of the relay, and of Arc machines that are hybrid connections.
    pub(in crate::emulator) fn profiles(&self) -> [Profile; 2] {
        let Address { public, nearby, .. } = &self.address;
        let keys = if public == nearby {
            "connection-string-file = \"relay/send.conn\"\n".to_owned()
        } else {
            let string = files::connection_string(nearby, &self.rules[1], None);
            format!("connection-string = {}\n", quoted(string.expose()))
        };
        // Any token is valid.
        let manager =
            format!("token-command = \"echo emulator\"\narm-endpoint = {}\n", quoted(&nearby.to_string()));
        let keys = format!("{keys}resource = \"{GROUP}/Microsoft.Relay/namespaces/emulator\"\n{manager}");
        let arc = format!("arc = \"{GROUP}/Microsoft.HybridCompute/machines/{{device}}\"\n{manager}");
        [Profile { name: "relay", keys: Secret::new(keys) }, Profile { name: "arc", keys: Secret::new(arc) }]
    }
}

fn parse_name(name: &str) -> Result<Entity> {
    let wrong = |problem: String| {
        Error::usage(
            format!("hybrid connection '{name}': {problem}"),
            "a name has letters, digits and -._ in it, and parts between slashes",
        )
    };
    if name.contains(';') {
        return Err(wrong("a connection string cannot carry the ';'".into()));
    }
    Entity::parse(name).map_err(|problem| wrong(problem.0))
}
