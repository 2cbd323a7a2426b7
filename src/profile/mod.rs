//! The profile file: what it may say, reading it with care, its credential, and which device a host name means.

mod command;
mod credential;
mod edit;
mod file;
mod host;
mod permissions;
mod schema;
mod source;
mod token;

pub use credential::Credential;
pub use edit::{Editor, NewProfile};
pub use file::{Profiles, default_path, parse_toml};
pub use host::{Destination, Name, fits};
pub use permissions::{Guarded, has_password, read_secret, read_secret_bytes, read_toml};
pub use schema::{CommandLine, Device, Port, Profile, Seconds, SecretText, is_pattern};
pub use source::Source;
