//! The system log.

use std::os::unix::net::UnixDatagram;

use log::Level;

use crate::platform::extra::SYSTEM_LOG;

/// Sends a message to the system log. It is lost where there is none.
pub(crate) fn send(level: Level, text: &str) {
    const USER_FACILITY: u8 = 1 << 3;
    let severity = match level {
        Level::Error => 3,
        Level::Warn => 4,
        Level::Info => 6,
        Level::Debug | Level::Trace => 7,
    };
    // RFC 3164, which syslog daemons and the journal read.
    let message = format!("<{}>iotstream[{}]: {text}", USER_FACILITY | severity, std::process::id());
    let _ = UnixDatagram::unbound().and_then(|socket| socket.send_to(message.as_bytes(), SYSTEM_LOG));
}
