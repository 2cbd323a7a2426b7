//! The commands besides the ProxyCommand, the agent and the emulator.

mod arc;
mod bench;
mod check;
mod check_identity;
mod demo;
mod devices;
mod host_keys;
mod measuring;
mod ping;
mod profile;
mod relay_check;
mod relay_devices;
mod relay_profile;
mod socket_unit;
mod ssh_config;
