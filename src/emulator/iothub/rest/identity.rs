//! The device or module that a path names.

use percent_encoding::percent_decode_str;

use crate::backend::iothub::proto::Identity;
use crate::emulator::iothub::hub::Hub;

impl Hub {
    /// The identity that a path names; `None` when the id is invalid. Clients encode ids or send them raw \[S]; a raw id
    /// may look encoded.
    pub(super) fn identity(&self, device: &str, module: Option<&str>) -> Option<Identity> {
        let decoded = Identity::new(&decode(device), module.map(decode).as_deref()).ok();
        let raw = Identity::new(device, module).ok();
        match (&decoded, raw) {
            (Some(identity), _) if self.registry.get(identity).is_some() => decoded,
            (_, Some(raw)) if self.registry.get(&raw).is_some() => Some(raw),
            (_, raw) => decoded.or(raw),
        }
    }
}

/// Percent-decodes one segment of a path. A `+` stays: an id may have one, and no id has a space.
pub(super) fn decode(segment: &str) -> String {
    percent_decode_str(segment).decode_utf8_lossy().into_owned()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn foreign_segments_are_decoded(segment in ".*") {
            let _ = super::decode(&segment);
        }
    }
}
