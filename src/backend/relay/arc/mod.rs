//! Azure Arc machines, whose own agent listens at a relay.

mod credentials;
mod dialer;
mod error;
#[cfg(fuzzing)]
pub mod fuzzing;
mod info;
mod resource;

pub(crate) use dialer::ArcDialer;
use info::RelayInfo;
use resource::{ResourceId, service};
