//! Foreign bytes for the parsers and the sessions. A function here panics if what these make of the bytes contradicts itself;
//! comparisons with other implementations are in `fuzz/`. What a room does not show is in a file `fuzzing.rs` of its own.

pub mod iothub;
pub mod provisioning;
pub mod relay;
pub mod text;

pub use crate::agent::fuzzing as agent;
pub use crate::backend::iothub::listener::fuzzing as mqtt;
pub use crate::backend::provisioning::identity_service_answers as identity_service;
pub use crate::backend::relay::arc::fuzzing as arc;
pub use crate::backend::relay::listener::fuzzing as relay_listener;
pub use crate::net::fuzzing as net;
pub use crate::profile::fuzzing as profile;
pub use crate::ssh::fuzzing as ssh;
pub use crate::state::fuzzing as state;
pub use crate::tunnel::fuzzing as tunnel;
