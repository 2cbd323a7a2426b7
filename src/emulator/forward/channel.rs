//! What connects one side of a stream to the other.

use std::time::Duration;

use super::activity::Activity;
use super::cut::Cut;
use super::pipe::{Receiver, Sender, pipe};
use super::rules::Rules;

/// One side's end of a stream.
#[derive(Debug)]
pub(in crate::emulator) struct Channel {
    /// The stream and the side, for the log.
    pub(super) name: String,
    /// Whether the side may take nothing for as long as it likes; else it is disconnected once its peer is gone.
    pub(super) is_patient: bool,
    pub(super) to_peer: Sender,
    pub(super) from_peer: Receiver,
    pub(super) cut: Cut,
    pub(super) activity: Activity,
    pub(super) rules: Rules,
}

/// The settings of a stream.
#[derive(Debug)]
pub(in crate::emulator) struct Settings {
    /// One-way delay.
    pub(in crate::emulator) latency: Duration,
    /// Bytes that each direction holds at least; single frames have to fit.
    pub(in crate::emulator) window: usize,
    /// The stream is cut after so many bytes.
    pub(in crate::emulator) cut: Option<u64>,
    pub(in crate::emulator) rules: Rules,
}

impl Channel {
    /// The channels of the device's side and the user's side, which the log names `device` and `user`.
    pub(in crate::emulator) fn pair(device: String, user: String, settings: &Settings) -> [Box<Self>; 2] {
        let Settings { latency, window, cut, rules } = settings;
        let (cut, activity) = (Cut::after(*cut), Activity::new(rules.idle));
        let (to_user, from_device) = pipe(*latency, *window);
        let (to_device, from_user) = pipe(*latency, *window);
        let channel = |name, is_patient, to_peer, from_peer| {
            Box::new(Self {
                name,
                is_patient,
                to_peer,
                from_peer,
                cut: cut.clone(),
                activity: activity.clone(),
                rules: rules.clone(),
            })
        };
        [channel(device, false, to_user, from_user), channel(user, true, to_device, from_device)]
    }
}
