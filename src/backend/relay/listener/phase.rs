//! The phases of a listener, after connecting to a server.

use crate::time::phase::Phase;

/// The WebSocket upgrade to the control channel.
pub(super) const RELAY: Phase = Phase::named("relay");
/// The WebSocket upgrade at a gateway.
pub(super) const GATEWAY: Phase = Phase::named("gateway");
