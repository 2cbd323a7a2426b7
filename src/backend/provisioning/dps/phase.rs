//! The phase of registering.

use crate::time::phase::Phase;

/// Registering at a Device Provisioning Service.
pub(crate) const PROVISIONING: Phase = Phase::named("provisioning");
