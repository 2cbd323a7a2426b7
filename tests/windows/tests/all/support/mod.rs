//! The harness: iotstream.exe on Win32-OpenSSH's pipes, the other programs on Linux.

mod hub;
mod linux;
mod output;
mod pattern;
mod program;
mod sandbox;
mod tcp;

use std::time::Duration;

pub use hub::{Background, Host, Hub, agent, agent_with};
pub use linux::LinuxProgram;
pub use pattern::{Pattern, verify};
pub use program::{Finished, Iotstream, Program, exe};
pub use sandbox::{Sandbox, linux_path};
pub use tcp::{closed_port, echo, serve};

pub const DEVICE: &str = "dev-1";

/// How long anything may take that does not depend on the amount of data.
pub const LIMIT: Duration = Duration::from_secs(60);

/// A variable that `run` sets.
#[track_caller]
fn variable(name: &str) -> String {
    std::env::var(name)
        .unwrap_or_else(|_| panic!("{name} is not set: start these tests with tests/windows/run"))
}
