//! The emulator, driven by raw clients over real TLS: none of the project's own client code but its signatures.

mod ends;
mod gateway;
mod mqtt;
mod process;
mod rest;
mod running;
mod tls;
mod twins;
mod wire;
