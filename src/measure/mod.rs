//! Measuring a stream through the same bridge that carries ssh: round trips, and throughput each way. The other side is
//! a service of the agent's own: see [`crate::agent::Builtin`].

mod round_trips;
mod session;
mod summary;
mod transfer;

pub use round_trips::{Event, Pace, round_trips};
pub use session::{Session, failure};
pub use summary::Summary;
pub use transfer::{Transfer, download, upload};
