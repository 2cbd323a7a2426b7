//! What fuzzing runs of this room: files that another version, another program or a broken disk may have written.

use std::time::Duration;

use super::assignment::Assignment;
use super::pinned_host_keys::{PinFile, PinnedDevice};
use super::reports::Copied;
use super::without_module::{Absent, lines};
use super::{rate, without_module};
use crate::backend::Reported;
use crate::text::public_key::PublicKey;

/// The pins of the device `gw-07`.
pub fn pins(text: &[u8]) {
    let device =
        PinnedDevice { service: "contoso.azure-devices.net".into(), device: "gw-07".into(), module: None };
    let file = PinFile::within("/d".into(), device);
    let Ok(pins) = file.parse(text) else { return };
    for pin in pins.values().flatten() {
        assert_eq!(PublicKey::parse(&pin.key.to_string()).as_ref(), Some(&pin.key));
    }
    assert!(pins.values().all(|pins| !pins.is_empty()), "a stream without a pin trusts any key");
}

/// The last starts of streams: how long the next one waits.
pub fn starts(text: &[u8], now: u32, streams_per_second: u32) {
    let Some(slot) = Duration::from_secs(1).checked_div(streams_per_second) else { return };
    let now = Duration::from_millis(now.into());
    let starts = rate::read(text, now);
    assert!(starts.iter().all(|start| *start <= now + rate::LONGEST));
    let next = rate::next(&starts, now, slot);
    assert!(
        next >= now && next - now <= 5 * slot + rate::LONGEST,
        "a file makes a start wait for {:?}",
        next - now
    );
}

/// The devices without a module, with one more.
pub fn devices_without_module(text: &str, now: u64, device: &str) {
    let absent = Absent { service: "hub", device, module: "m" };
    // One carriage return at a line's end belongs to it, and is not written again.
    if device.contains(['\n', '\r', ' ']) || text.contains('\r') {
        return;
    }
    let name = format!("hub {device}/m");
    let has = |text: &str| lines(text, now).any(|line| line.ends_with(&name));
    let kept = absent.replaced(text, now, true);
    assert!(has(&kept), "what is remembered is not known");
    assert_eq!(absent.replaced(&kept, now, true), kept, "a second time changes something");
    let forgotten = absent.replaced(&kept, now, false);
    assert!(!lines(&forgotten, now).any(|line| line.split_once(' ').is_some_and(|(_, found)| found == name)));
    assert!(without_module::lines(&forgotten, now).count() <= 4096);
}

/// A copy of a report, and an assignment.
pub fn copies(text: &str) {
    if let Ok(copied) = serde_json::from_str::<Copied<Reported>>(text) {
        let again = serde_json::to_string(&copied).expect("a copy can be written");
        assert_eq!(serde_json::from_str::<Copied<Reported>>(&again).ok().as_ref(), Some(&copied));
        let _ = copied.fetched();
    }
    if let Ok(assignment) = serde_json::from_str::<Assignment>(text) {
        let again = serde_json::to_string(&assignment).expect("an assignment can be written");
        assert_eq!(serde_json::from_str::<Assignment>(&again).ok().as_ref(), Some(&assignment));
    }
}
