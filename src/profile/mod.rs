//! The profile file: its keys, reading and editing it, and the mapping of host names to devices.

mod edit;
mod file;
#[cfg(fuzzing)]
pub mod fuzzing;
mod host;
mod schema;

pub use edit::{Editor, NewProfile};
pub use file::{Profiles, default_path};
pub use host::{Destination, Name, fits};
pub use schema::{Device, HostKeyPolicy, Port, Profile, is_pattern, stream_for_port};
