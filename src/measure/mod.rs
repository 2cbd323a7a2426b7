//! Measures a stream through the bridge that carries ssh: round trips, and throughput in each direction. The peer is a
//! built-in target of the agent: see [`crate::agent::Builtin`].

mod round_trips;
mod stream;
mod summary;
mod transfer;

pub use round_trips::{Event, Pace, round_trips};
pub use stream::MeasuredStream;
pub use summary::Summary;
pub use transfer::{Transfer, download, upload};
