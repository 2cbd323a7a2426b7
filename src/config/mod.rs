//! The parts that both sides' configuration files share: TOML with line numbers, and the sources of secrets.

mod command;
mod document;
pub mod network;
mod permissions;
mod source;
mod token;
mod values;

pub use document::parse_toml;
pub use permissions::{Guarded, has_password, read_secret, read_secret_bytes, read_toml};
pub(crate) use source::systemd_credential;
pub use source::{Keys, Owner, Source};
pub(crate) use token::{Cache, Token};
pub use values::{CommandLine, Seconds, SecretText};
