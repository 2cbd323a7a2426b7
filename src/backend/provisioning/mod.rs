//! Where a device's credential comes from, when it is not written in a file.

pub(crate) mod dps;
