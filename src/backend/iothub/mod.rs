//! Azure IoT Hub device streams.

pub(crate) mod caller;
pub(crate) mod clock;
pub(crate) mod error;
pub(crate) mod gateway;
pub(crate) mod listener;
pub(crate) mod phase;
pub(crate) mod proto;
mod rest;

use self::proto::{HostName, HubAddress};

/// The new streams a second that a hub of the service accepts \[D].
const STREAMS_PER_SECOND: u32 = 5;

/// The limit of new streams a second at `hub`. An emulator has none.
pub(crate) fn streams_per_second(hub: &HubAddress) -> Option<u32> {
    HostName::parse(&hub.name).map(|_| STREAMS_PER_SECOND)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_hubs_of_the_service_have_a_rate() {
        let rate = |hub: &str| streams_per_second(&HubAddress::parse(hub).unwrap());
        assert_eq!(rate("contoso.azure-devices.net"), Some(5));
        assert_eq!(rate("contoso.service.Azure-Devices.NET"), Some(5));
        assert_eq!(rate("contoso.azure-devices.us"), Some(5));
        assert_eq!(rate("azure-devices.net.example"), None);
        assert_eq!(rate("localhost:8443"), None);
    }
}
