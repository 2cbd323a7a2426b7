//! The control socket, through which commands on this device talk to the running agent: one line of JSON asks, and one
//! answers.

mod client;
mod message;
mod server;

pub use self::client::{ask, default_socket};
pub(super) use self::message::{LiveStreamStatus, PendingStatus, ServiceStatus, WindowStatus};
pub use self::message::{Reply, Request, ServiceState, Status};
pub(super) use self::server::{ControlSocket, MODE, Question};

use std::time::Duration;

/// The longest question, in bytes.
const LONGEST_QUESTION: u64 = 16 * 1024;

/// The longest answer, in bytes: the status of some ten thousand streams.
const LONGEST_ANSWER: u64 = 16 * 1024 * 1024;

/// The time limit of either side for the other.
const LIMIT: Duration = Duration::from_secs(5);
