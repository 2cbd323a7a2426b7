//! Azure Arc machines, whose own agent listens at a relay.

mod info;
mod resource;

pub(crate) use info::RelayInfo;
pub(crate) use resource::ResourceId;
