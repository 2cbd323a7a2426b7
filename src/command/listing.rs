//! Asks a profile's service for its devices, and shows how far that has come.

use std::io::IsTerminal;

use super::progress::draw;
use crate::backend::{self, Access, Device, Progress};
use crate::connect::ProfileOptions;
use crate::error::Result;
use crate::profile::{Profile, Profiles};
use crate::state::device_ids;

/// The devices of a profile's service, `with_reports` of all agents. Keeps their ids.
pub(super) fn devices(
    options: &ProfileOptions,
    profiles: &Profiles,
    name: &str,
    profile: &Profile,
    with_reports: bool,
) -> Result<Vec<Device>> {
    let network = options.network(profiles, profile)?;
    let registry = backend::registry(&Access { profiles, name, profile, network })?;
    let is_drawn = std::io::stderr().is_terminal();
    let mut progress = |Progress { devices, pause }| {
        if is_drawn {
            let pause = pause.map(|pause| format!("; the hub throttles, going on in {} s", pause.as_secs()));
            draw(&format!("{devices} devices{}", pause.unwrap_or_default()));
        }
    };
    let listed: Result<Vec<Device>> = super::runtime()?.block_on(async {
        let mut devices = registry.devices(&mut progress).await?;
        if with_reports {
            registry.complete_reports(&mut devices, &mut progress).await?;
        }
        Ok(devices)
    });
    if is_drawn {
        draw("");
    }
    let devices = listed?;
    if let Err(error) = device_ids::keep(&profiles.path, name, devices.iter().map(|device| &*device.id)) {
        log::warn!("the ids cannot be kept for names that ssh has lower-cased: {error}");
    }
    Ok(devices)
}
