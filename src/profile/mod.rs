//! The profile file: what it may say, reading it with care, its credential, and which device a host name means.

mod credential;
mod edit;
mod file;
mod host;
mod schema;

pub use credential::Credential;
pub use edit::{Editor, NewProfile};
pub use file::{Profiles, default_path};
pub use host::{Destination, Name, fits};
pub use schema::{Device, Port, Profile, is_pattern, stream_for_port};
