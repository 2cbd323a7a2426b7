//! The Device Provisioning Service (DPS), which assigns a device to a hub.

// Used by the emulator's service and by the agent.
#![allow(dead_code)]

pub(crate) mod proto;
