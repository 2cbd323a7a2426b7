//! Azure IoT Hub device streams.

pub mod caller;
pub mod listener;
pub mod proto;
