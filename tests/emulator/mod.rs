//! The emulator, driven by raw clients over real TLS, which share no code with the project's own clients.

mod authorization;
mod command;
mod gateway;
mod mqtt;
mod registry;
mod running;
mod stream_endings;
mod stream_requests;
mod tls;
mod twins;
mod wire;
