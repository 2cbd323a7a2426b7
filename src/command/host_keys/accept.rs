//! Accepts the host keys that a device reports now.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use super::super::output::print;
use super::Device;
use crate::backend::{Reported, ReportedKey};
use crate::cli;
use crate::error::{Result, escape};
use crate::state::pinned_host_keys::{Pin, Pins};

pub(super) fn run(args: &cli::HostKeys) -> Result<()> {
    let device = Device::of(args)?;
    let reported = device.reported_now()?;
    let before = device.pins.read().unwrap_or_else(|error| {
        log::warn!("{error}; the file is replaced");
        Pins::new()
    });
    let after = accepted(&reported, &before, device.dialer.stream());
    let unwritable = |problem: crate::platform::private_file::Unwritable| {
        problem.into_error(device.pins.path().display().to_string())
    };
    device.pins.write(&after).map_err(unwritable)?;
    print(&changes(&reported.device, &before, &after))
}

/// The pins after what is reported has been accepted: of each stream that is reported by its name, and of those that a
/// pattern matches and that have pins or are `asked` for.
fn accepted(reported: &Reported, before: &Pins, asked: &str) -> Pins {
    let named = reported.streams.iter().map(|stream| &*stream.name).filter(|name| !name.contains(['*', '?']));
    let names: BTreeSet<&str> = named.chain(before.keys().map(String::as_str)).chain([asked]).collect();
    let pin = |key: &ReportedKey| Pin { key: key.key.clone(), since: key.since.clone() };
    let pins = names.into_iter().map(|name| {
        let keys = reported.stream(name).map_or(&[][..], |stream| &stream.keys);
        (name.to_owned(), keys.iter().map(pin).collect::<Vec<_>>())
    });
    pins.filter(|(_, pins)| !pins.is_empty()).collect()
}

/// What has changed, for people.
fn changes(device: &str, before: &Pins, after: &Pins) -> String {
    let mut text = String::new();
    for stream in before.keys().chain(after.keys()).collect::<BTreeSet<_>>() {
        let _ = writeln!(text, "{}, stream {}:", escape(device), escape(stream));
        let pins = |pins: &Pins| pins.get(stream).cloned().unwrap_or_default();
        let (old, new) = (pins(before), pins(after));
        let has = |pins: &[Pin], pin: &Pin| pins.iter().any(|other| other.key == pin.key);
        let gone = old.iter().filter(|pin| !has(&new, pin)).map(|pin| ("removed", pin));
        let kept = new.iter().map(|pin| (if has(&old, pin) { "already" } else { "accepted" }, pin));
        for (what, Pin { key, .. }) in kept.chain(gone) {
            let _ = writeln!(text, "  {what:8}  {} {}", key.fingerprint(), key.key_type());
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backend::ReportedStream;
    use crate::text::public_key::PublicKey;

    fn key(number: u8) -> PublicKey {
        PublicKey::of_blob(&[&[0, 0, 0, 11][..], b"ssh-ed25519", &[number]].concat()).unwrap()
    }

    fn pins(streams: &[(&str, &[u8])]) -> Pins {
        let pin = |&number: &u8| Pin { key: key(number), since: None };
        streams.iter().map(|(name, keys)| ((*name).to_owned(), keys.iter().map(pin).collect())).collect()
    }

    fn reported(streams: &[(&str, &[u8])]) -> Reported {
        let key = |&number: &u8| ReportedKey { key: key(number), since: None };
        let stream = |(name, keys): &(&str, &[u8])| ReportedStream {
            name: (*name).to_owned(),
            ports: None,
            keys: keys.iter().map(key).collect(),
        };
        Reported {
            device: "gw-07".into(),
            agent: Some("0.2.0".into()),
            streams: streams.iter().map(stream).collect(),
        }
    }

    #[test]
    fn pins_become_what_is_reported_for_each_stream() {
        let before = pins(&[("ssh", &[1, 2]), ("tcp-7", &[3]), ("old", &[4])]);
        let reported = reported(&[("ssh", &[2, 5]), ("tcp-*", &[6]), ("none", &[])]);
        let after = accepted(&reported, &before, "tcp-8");
        assert_eq!(after, pins(&[("ssh", &[2, 5]), ("tcp-7", &[6]), ("tcp-8", &[6])]));
        let line = |what: &str, number| format!("  {what:8}  {} ssh-ed25519\n", key(number).fingerprint());
        assert_eq!(
            changes("gw-07", &before, &after),
            [
                "gw-07, stream old:\n",
                &line("removed", 4),
                "gw-07, stream ssh:\n",
                &line("already", 2),
                &line("accepted", 5),
                &line("removed", 1),
                "gw-07, stream tcp-7:\n",
                &line("accepted", 6),
                &line("removed", 3),
                "gw-07, stream tcp-8:\n",
                &line("accepted", 6),
            ]
            .concat()
        );
    }
}
