//! Lists a service's devices, and refreshes the cache of their ids.

use std::fmt::Write as _;
use std::process::ExitCode;

use serde_json::{Value, json};

use super::listing;
use super::output::print;
use crate::backend::{Activity, Device, ReportedStream, State};
use crate::cli;
use crate::connect::ProfileOptions;
use crate::error::{Result, escape};
use crate::profile::fits;

pub(super) fn run(args: &cli::Devices) -> Result<ExitCode> {
    let options = ProfileOptions::from(&args.profile);
    let profiles = options.read()?;
    let (name, profile) = profiles.chosen(options.name.as_deref())?;
    let mut devices = listing::devices(&options, &profiles, name, profile, args.json)?;
    let state = args.state.map(|state| match state {
        cli::DeviceState::Online => State::Online,
        cli::DeviceState::Offline => State::Offline,
        cli::DeviceState::Disabled => State::Disabled,
    });
    devices.retain(|device| {
        args.pattern.as_deref().is_none_or(|pattern| fits(pattern, &device.id))
            && state.is_none_or(|state| device.state == state)
    });
    print(&if args.json { json(&devices) } else { table(&devices) })?;
    Ok(ExitCode::SUCCESS)
}

fn table(devices: &[Device]) -> String {
    let width = devices.iter().map(|device| device.id.len()).max().unwrap_or(0).max("DEVICE".len());
    let mut text = format!("{:width$}  {:8}  LAST ACTIVITY\n", "DEVICE", "STATE");
    for device in devices {
        let last = match &device.last_activity {
            Activity::At(time) => time,
            Activity::Never => "never",
            Activity::Unknown => "-",
        };
        let _ = writeln!(text, "{:width$}  {:8}  {}", device.id, device.state.name(), escape(last));
    }
    text
}

fn json(devices: &[Device]) -> String {
    // The values of all devices at once take twenty times the memory of their text.
    let mut text = String::from("[");
    for (at, device) in devices.iter().enumerate() {
        let comma = if at == 0 { "" } else { "," };
        let _ = write!(text, "{comma}{}", object(device));
    }
    text + "]\n"
}

fn object(device: &Device) -> Value {
    let mut object = json!({
        "id": device.id,
        "state": device.state.name(),
        "lastActivity": device.last_activity.time(),
    });
    if let Some(reported) = &device.reported {
        object["agent"] = reported.agent.as_deref().into();
        object["streams"] = reported.streams.iter().map(stream).collect();
    }
    object
}

fn stream(stream: &ReportedStream) -> Value {
    let keys: Vec<String> = stream.keys.iter().map(|key| key.key.fingerprint()).collect();
    let mut object = json!({ "name": stream.name, "keys": keys });
    if let Some(ports) = &stream.ports {
        object["ports"] = ports.to_string().into();
    }
    object
}
