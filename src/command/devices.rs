//! Lists a hub's devices, and refreshes the cache of their ids.

use std::fmt::Write as _;
use std::io::{IsTerminal, Write as _};
use std::process::ExitCode;

use super::output::print;
use crate::backend::iothub::caller::{self, Progress};
use crate::backend::iothub::proto::DEFAULT_API_VERSION;
use crate::backend::{Device, State};
use crate::cli;
use crate::config::network::network;
use crate::error::{Result, escape};
use crate::profile::{Credential, Profile, Profiles, default_path, fits};
use crate::state::device_ids;

pub(super) fn run(args: &cli::Devices) -> Result<ExitCode> {
    let profiles = Profiles::read(&args.service.config.clone().unwrap_or_else(default_path))?;
    let (name, profile) = profiles.chosen(args.service.profile.as_deref())?;
    let mut devices = fetch(&args.service, &profiles, name, profile)?;
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

/// Asks the hub of a profile for its devices, and keeps their ids.
pub(super) fn fetch(
    options: &cli::Service,
    profiles: &Profiles,
    name: &str,
    profile: &Profile,
) -> Result<Vec<Device>> {
    let credential = Credential::of(profiles, name, profile)?;
    let ca_file =
        options.ca_file.clone().or_else(|| profile.ca_file.as_deref().map(|f| profiles.relative(f)));
    let proxy = profile.proxy.as_ref().map(|url| &url.0);
    let network = network(ca_file.as_deref(), options.proxy.as_deref(), &profiles.path, proxy)?;
    let api_version = profile.api_version.as_deref().unwrap_or(DEFAULT_API_VERSION);
    let terminal = std::io::stderr().is_terminal();
    let progress = |Progress { devices, pause }: Progress| {
        if terminal {
            let pause = pause.map(|pause| format!("; the hub throttles, going on in {} s", pause.as_secs()));
            let pause = pause.unwrap_or_default();
            // Progress that cannot be shown is no reason to stop.
            let _ = write!(std::io::stderr(), "\r{devices} devices{pause}\x1b[K");
        }
    };
    let runtime = super::runtime()?;
    let devices = runtime.block_on(caller::devices(&network, &credential, api_version, progress));
    if terminal {
        let _ = write!(std::io::stderr(), "\r\x1b[K");
    }
    let devices = devices?;
    if let Err(error) = device_ids::keep(&profiles.path, name, devices.iter().map(|device| &*device.id)) {
        log::warn!("the ids cannot be kept for names that ssh has lower-cased: {error}");
    }
    Ok(devices)
}

fn table(devices: &[Device]) -> String {
    let width = devices.iter().map(|device| device.id.len()).max().unwrap_or(0).max("DEVICE".len());
    let mut text = format!("{:width$}  {:8}  LAST ACTIVITY\n", "DEVICE", "STATE");
    for device in devices {
        let last = device.last_activity.as_deref().unwrap_or("never");
        let _ = writeln!(text, "{:width$}  {:8}  {}", device.id, device.state.name(), escape(last));
    }
    text
}

fn json(devices: &[Device]) -> String {
    let object = |device: &Device| {
        serde_json::json!({
            "id": device.id,
            "state": device.state.name(),
            "lastActivity": device.last_activity,
        })
    };
    let mut text = serde_json::Value::Array(devices.iter().map(object).collect()).to_string();
    text.push('\n');
    text
}
