//! How a stream is asked for and offered.

pub mod iothub;
