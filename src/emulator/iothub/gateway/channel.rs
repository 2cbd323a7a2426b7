//! What connects one side of a stream to the other.

use std::time::Duration;

use super::cut::Cut;
use super::side::Side;
use crate::emulator::pipe::{Receiver, Sender, pipe};

/// One side's end of a stream.
#[derive(Debug)]
pub(in crate::emulator) struct Channel {
    /// The stream and the side, for the log.
    pub(super) name: String,
    pub(super) side: Side,
    pub(super) to_peer: Sender,
    pub(super) from_peer: Receiver,
    pub(super) cut: Cut,
}

impl Channel {
    /// The channels of the device's and of the service's side. They carry frames of up to `largest` bytes, delayed by
    /// `latency`, and are cut after `cut` bytes.
    pub(super) fn pair(stream: &str, latency: Duration, largest: usize, cut: Option<u64>) -> [Self; 2] {
        let cut = Cut::after(cut);
        let (to_service, from_device) = pipe(latency, largest);
        let (to_device, from_service) = pipe(latency, largest);
        let channel = |side: Side, to_peer, from_peer| Self {
            name: format!("stream {}: the {}", &stream[..8], side.name()),
            side,
            to_peer,
            from_peer,
            cut: cut.clone(),
        };
        [channel(Side::Device, to_service, from_service), channel(Side::Service, to_device, from_device)]
    }
}
