//! The phases of a stream through a hub, after connecting to a server.

use crate::time::phase::Phase;

/// The hub's own answer: authorization, throttling, finding the device.
pub(crate) const HUB: Phase = Phase::named("hub");
/// Waiting for the device to accept.
pub(crate) const DEVICE: Phase = Phase::named("device");
/// The WebSocket upgrade at the streaming gateway.
pub(crate) const GATEWAY: Phase = Phase::named("gateway");
