//! How streams are requested and offered. No other room depends on the service.

mod access;
pub(crate) mod address;
pub(crate) mod arm;
mod choose;
pub(crate) mod credential_watch;
mod dialer;
pub(crate) mod expiry;
pub(crate) mod iothub;
mod joined;
mod listener;
pub(crate) mod malformed;
mod pasted;
pub(crate) mod pasted_text;
pub(crate) mod product;
pub(crate) mod provisioning;
mod registry;
pub(crate) mod relay;
mod report;
pub(crate) mod request;

mod settings;
pub(crate) mod signature;
pub(crate) mod skew;
#[cfg(test)]
pub(crate) mod stand_in;

pub(crate) use access::{Access, Stored};
pub(crate) use choose::{
    BackendKeys, backend_keys, dialer, dialer_of_az, is_connection_string, is_iot_edge_module, is_relay,
    listener, may_keep_reports, recognise, registry, relay_listener,
};
pub(crate) use dialer::{Checked, Dialer, Request};
pub(crate) use joined::{Joined, Pending};
pub(crate) use listener::{
    Cause, Event, Listener, Login, Offer, Offers, Order, Orders, Rejection, Reply, Reports, Reread, Source,
};
pub(crate) use pasted::Pasted;
pub(crate) use registry::{Activity, Device, Progress, Registry, State};
pub(crate) use report::{HostKeys, Report, Reported, ReportedKey, ReportedStream, StreamReport, Wanted};
pub(crate) use settings::{
    Attestation, CertificateFiles, DeviceAccess, DeviceSettings, ProvisioningSettings, RelayAccess,
    RelaySettings, Transport,
};
