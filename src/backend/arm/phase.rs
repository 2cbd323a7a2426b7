//! The phase of a request to Azure Resource Manager.

use crate::time::phase::Phase;

/// The answer, after connecting.
pub(crate) const ARM: Phase = Phase::named("arm");
