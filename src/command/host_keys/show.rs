//! Shows the host keys that a device reports now.

use std::fmt::Write as _;

use super::super::output::print;
use super::Device;
use super::trust::{Refusal, minute, trusted};
use crate::backend::{Reported, ReportedKey};
use crate::cli;
use crate::error::{Result, escape};
use crate::profile::HostKeyPolicy;
use crate::ssh::randomart::randomart;
use crate::state::pinned_host_keys::{Pin, Pins};

pub(super) fn run(args: &cli::HostKeys) -> Result<()> {
    let device = Device::of(args)?;
    let reported = device.reported_now()?;
    let pins = device.pins.read();
    let mut text = shown(&reported, &device.dialer.service(), pins.as_ref().unwrap_or(&Pins::new()));
    match &pins {
        Ok(pins) => {
            if let Some(note) = note(&device, &reported, pins) {
                let _ = writeln!(text, "{note}");
            }
        }
        Err(error) => log::warn!("{error}"),
    }
    print(&text)
}

/// The report, for people.
fn shown(reported: &Reported, service: &str, pins: &Pins) -> String {
    let agent = reported.agent.as_deref().unwrap_or("of unknown version");
    let mut text = format!("{} at {service}: iotstream {}\n", escape(&reported.device), escape(agent));
    for stream in &reported.streams {
        let _ = writeln!(text, "stream {}", escape(&stream.name));
        let pinned = pins.get(&stream.name).map_or(&[][..], Vec::as_slice);
        for ReportedKey { key, since } in &stream.keys {
            let since = since.as_deref().and_then(minute).map(|since| format!(", since {since}"));
            let is_pinned = pinned.iter().any(|pin| pin.key == *key);
            let state = if is_pinned { "pinned" } else { "not pinned" };
            let _ = writeln!(
                text,
                "{} {}, {state}{}",
                key.fingerprint(),
                key.key_type(),
                since.unwrap_or_default()
            );
            text += &randomart(key);
        }
        let is_gone = |pin: &&Pin| stream.keys.iter().all(|reported| reported.key != pin.key);
        for Pin { key, .. } in pinned.iter().filter(is_gone) {
            let _ = writeln!(text, "{} {}, pinned, no longer reported", key.fingerprint(), key.key_type());
        }
    }
    text
}

/// What ssh is not told.
fn note(device: &Device, reported: &Reported, pins: &Pins) -> Option<String> {
    let stream = device.dialer.stream();
    let keys = reported.stream(stream).map_or(&[][..], |stream| &stream.keys);
    let pinned = pins.get(stream).map(Vec::as_slice);
    let refused = match (device.policy, trusted(device.policy, keys, pinned)) {
        (HostKeyPolicy::Off, _) => {
            return Some("ssh is told no keys: the profile has host-keys = \"off\"".into());
        }
        (_, Err(Refusal::Unreported)) => {
            return Some(format!(
                "ssh is told no keys: none are reported for the stream '{}'",
                escape(stream)
            ));
        }
        (_, Err(_)) => "ssh is told no keys: those that are pinned are no longer reported",
        (_, Ok(trusted)) if trusted.len() < keys.len() => "ssh is told the pinned keys alone",
        _ => return None,
    };
    Some(format!("{refused}; `{}` if it was set up anew", escape(&device.accept)))
}
