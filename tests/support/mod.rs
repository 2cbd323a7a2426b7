//! The harness: real processes in a directory of their own, each bounded in time and gone when its test ends.

mod agent;
mod ca;
mod data;
mod echo;
mod exchange;
mod files;
mod hub;
pub mod hub_client;
mod identity_service;
mod key_daemon;
mod process;
mod procfs;
mod programs;
mod proxy;
mod relay;
pub mod relay_client;
mod run;
mod sandbox;
pub mod sas;
mod scripted_relay;
mod self_test;
mod sshd;
mod tcp;
mod terminal;
mod testbed;
mod tls;
mod twin;
mod workload_api;

use std::sync::{PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::thread;
use std::time::{Duration, Instant};

pub use agent::{agent, agent_command, agent_with_config, device_with, echo_device, in_service};
pub use ca::{Ca, Leaf, named};
pub use data::{fill_tree, random, sha256, tree_sha256};
pub use echo::{EchoStream, echoes};
pub use exchange::exchange;
pub use files::{OTHER_USER, give, make_fifo, mode, set_mode};
pub use hub::Hub;
pub use identity_service::IdentityService;
pub use process::{Finished, Process};
pub use procfs::{is_running, peak_rss_kib, resident_kib};
pub use programs::{iotstream, need, python_program};
pub use proxy::{LOGIN, Proxy};
pub use relay::{Namespace, configure_relay, relay_agent, relay_agent_with_config};
pub use run::{Stdin, finish, run};
pub use sandbox::{MARKER, Sandbox};
pub use scripted_relay::{Answer, RELAY_KEY, ScriptedRelay, header, refuse};
pub use sshd::{SshFiles, Sshd, ssh_config};
pub use tcp::{closed_port, serve, serve_unix};
pub use terminal::{INTERRUPT, SUSPEND, Terminal};
pub use testbed::{DEVICE, Testbed};
pub use tls::{TlsStream, http_answer, http_request, serve_tls};
pub use twin::{HOST_KEY, report};
pub use workload_api::{GENERATION, WorkloadApi};

/// The limit of a command that should be quick; generous, for two cores that run other tests as well.
pub const LIMIT: Duration = Duration::from_secs(60);

/// Tries until `probe` succeeds.
///
/// # Panics
/// With the last refusal, when `limit` has passed.
#[track_caller]
pub fn eventually<T>(limit: Duration, mut probe: impl FnMut() -> Result<T, String>) -> T {
    let deadline = Instant::now() + limit;
    loop {
        match probe() {
            Ok(value) => return value,
            Err(refusal) if Instant::now() >= deadline => panic!("not within {limit:?}: {refusal}"),
            Err(_) => thread::sleep(Duration::from_millis(10)),
        }
    }
}

static LOAD: RwLock<()> = RwLock::new(());

/// Held by tests that load the machine or need it, one at a time.
pub fn heavy() -> RwLockWriteGuard<'static, ()> {
    LOAD.write().unwrap_or_else(PoisonError::into_inner)
}

/// Held by tests that hold the program to seconds, while no heavy test runs.
pub fn timed() -> RwLockReadGuard<'static, ()> {
    LOAD.read().unwrap_or_else(PoisonError::into_inner)
}
