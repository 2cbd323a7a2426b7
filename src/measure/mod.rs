//! Measuring a stream through the same bridge that carries ssh: round trips, and throughput each way. The other side is
//! a service of the agent's own: see [`crate::agent::Builtin`].

mod round_trips;
mod stream;
mod summary;
mod transfer;

pub use round_trips::{Event, Pace, round_trips};
pub use stream::{MeasuredStream, failure};
pub use summary::Summary;
pub use transfer::{Transfer, download, upload};
