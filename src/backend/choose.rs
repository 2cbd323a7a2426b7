//! Which backend serves a device. No other file outside the backends knows them.

use std::sync::Arc;

use super::iothub::listener::HubListener;
use super::listener::Listener;
use super::settings::DeviceSettings;
use crate::error::Result;
use crate::platform::private_file::Exposure;

/// The listener of a device. Files of its credential that other users can change are added to `warnings`, where that is
/// no reason to refuse them.
///
/// # Errors
/// What is wrong with the credential; never what it holds.
pub fn listener(settings: &DeviceSettings, warnings: &mut Vec<Exposure>) -> Result<Arc<dyn Listener>> {
    Ok(Arc::new(HubListener::new(settings, warnings)?))
}
