//! The hub's MQTT: what a device that has logged in subscribes to, publishes and is sent.

mod device;
mod twin;
