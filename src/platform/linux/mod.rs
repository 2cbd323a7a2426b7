//! What only Linux offers. Every part is an improvement: `elsewhere.rs` has the same functions for the other systems,
//! and they do nothing.

pub mod file;
pub mod parent;
pub mod pipe;
pub mod signals;
pub mod tcp;
pub mod users;
