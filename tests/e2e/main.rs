//! The whole chain on loopback, driven from outside: real OpenSSH programs, this crate's binary as helper, agent and hub.
//! One test binary, so that the heavy tests can take turns and the harness is compiled once.

mod agent;
mod check;
mod clocks;
mod credentials;
mod devices;
mod examples;
mod failures;
mod gateway;
mod life;
mod manners;
mod measuring;
mod profiles;
mod proxies;
mod ssh;
mod ssh_config;
mod support;
