//! Text formats: durations, sizes, patterns, ids, ports, public keys, percent-encoding, units of systemd, and the content of
//! files and pastes.

pub(crate) mod content;
pub(crate) mod duration;
pub(crate) mod hub_id;
pub(crate) mod pattern;
pub(crate) mod percent;
pub(crate) mod ports;
pub(crate) mod public_key;
pub(crate) mod size;
pub(crate) mod unit;
