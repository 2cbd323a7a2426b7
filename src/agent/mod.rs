//! The device's side: waits at the hub for stream offers, decides, and connects each stream to its target.

mod config;
mod mqtt;
mod serve;
mod stream;
mod target;

pub use config::{Config, Transport};
pub use serve::serve;
pub use target::{Address, Target};
