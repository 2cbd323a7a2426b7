//! What only Linux offers. Every part is an improvement: `elsewhere.rs` has the same functions for the other systems,
//! and they do nothing.

pub(crate) mod file;
pub(crate) mod machine;
pub(crate) mod parent;
pub(crate) mod pipe;
pub(crate) mod signals;
pub(crate) mod tcp;
pub(crate) mod users;
