//! The parts that both sides' configuration files share: TOML with line numbers, and the sources of secrets.

mod command;
mod document;
pub(crate) mod network;
mod permissions;
mod source;
mod token;
mod values;
mod watched;

pub(crate) use document::{line_of, parse_toml};
pub(crate) use permissions::{has_password, read_secret, read_secret_bytes, read_toml};
pub(crate) use source::systemd_credential;
pub(crate) use source::{Keys, Owner, Source};
pub(crate) use token::TokenCommand;
pub(crate) use values::{CommandLine, Preamble, Seconds, SecretText};
pub(crate) use watched::WatchedFiles;
