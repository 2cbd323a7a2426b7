//! The whole chain on loopback, driven from outside: real OpenSSH programs, this crate's binary as helper, agent and hub.
//! One test binary, so that the heavy tests can take turns and the harness is compiled once.

mod agent;
mod check;
mod clocks;
mod credentials;
mod devices;
mod endings;
mod examples;
mod failures;
mod fleet;
mod gateway;
mod hostile_hub;
mod life;
mod manners;
mod measuring;
mod pacing;
mod private_files;
mod profiles;
mod proxies;
mod ssh;
mod ssh_config;
mod support;
