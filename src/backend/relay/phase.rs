//! The phases of a stream through a relay, after connecting to it.

use crate::time::phase::Phase;

/// The WebSocket upgrade, which the namespace answers once the listener has accepted.
pub(crate) const RELAY: Phase = Phase::named("relay");
/// The listener's part of it: finding it, and its answer.
pub(crate) const DEVICE: Phase = Phase::named("device");
/// A listener's WebSocket upgrade at the gateway where it meets a sender.
pub(crate) const GATEWAY: Phase = Phase::named("gateway");
