//! Measures a stream through the bridge that carries ssh: round trips, and throughput in each direction. The peer is a
//! built-in target of the agent: see [`crate::agent::Builtin`].

mod round_trips;
mod stream;
mod summary;
mod transfer;

pub(crate) use round_trips::{Event, Pace, round_trips};
pub(crate) use stream::MeasuredStream;
pub(crate) use summary::Summary;
pub(crate) use transfer::{Transfer, download, upload};
