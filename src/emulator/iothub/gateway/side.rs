//! The two sides of a stream, and the path at which each joins.

use crate::backend::iothub::proto::{Identity, encode};

/// A side of a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::emulator) enum Side {
    Device,
    /// The user's side, which the service's API calls so.
    Service,
}

impl Side {
    /// The side's name in its path: `device` was seen \[I], `service` is its likely counterpart \[~].
    pub(super) fn name(self) -> &'static str {
        match self {
            Side::Device => "device",
            Side::Service => "service",
        }
    }
}

/// The path of one side's URL; opaque to clients, and of the form seen in May 2019 \[I].
pub(in crate::emulator) fn path(hub: &str, identity: &Identity, stream: &str, side: Side) -> String {
    format!("/bridges/ih/{}/d/{}/sid/{stream}/r/{}", encode(hub), encode(identity.device()), side.name())
}

/// The stream and the side of a path that [`path`] made.
pub(super) fn parse_path(path: &str) -> Option<(&str, Side)> {
    let parts: Vec<&str> = path.strip_prefix("/bridges/ih/")?.split('/').collect();
    let [_, "d", _, "sid", stream, "r", side] = parts[..] else { return None };
    [Side::Device, Side::Service].into_iter().find(|known| known.name() == side).map(|side| (stream, side))
}
