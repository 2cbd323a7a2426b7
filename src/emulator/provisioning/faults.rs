//! The faults of the Device Provisioning Service that `--inject` knows, and its settings.

use hyper::StatusCode;

use crate::emulator::fault::{Fault, status};

/// These faults, for the usage error of `--inject`.
pub(in crate::emulator) const KNOWN_FAULTS: &str = "dps=silent|garbage|drop|disabled|unassigned|unknown-status, \
    dps-status=429, dps-assigning=POLLS|none, dps-failed=401002, dps-hub=NAME, dps-mode=mqttV5, dps-token=late, \
    dps-retry-after=SECONDS";

/// The faults to make.
#[derive(Debug)]
pub(in crate::emulator) struct Faults {
    /// How any request fails.
    pub(super) request: Fault<RequestFault>,
    /// The status of the answer to any request.
    pub(super) status: Fault<StatusCode>,
    /// How long a registration takes.
    pub(super) assigning: Fault<Assigning>,
    /// A registration fails with this code.
    pub(super) failed: Fault<u32>,
    /// A registration ends with another status.
    pub(super) not_assigned: Fault<NotAssigned>,
    /// The hub that a device is assigned to, in place of the emulator's.
    pub(super) hub: Fault<String>,
    /// The `connectionProfile` of an assignment.
    pub(super) mode: Option<String>,
    /// The token is checked at the requests of a client of MQTT, and not at its login: both were seen \[I].
    pub(super) late_token: bool,
    /// When a device is to ask again, in seconds.
    pub(super) retry_after: u32,
}

/// How a request fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum RequestFault {
    /// No answer.
    Silent,
    /// 200, with HTML.
    Garbage,
    /// The connection closes without an answer.
    Drop,
}

/// How long a registration takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Assigning {
    /// So many polls are told to ask again.
    Polls(u32),
    /// The answer to the registration is final.
    None,
}

/// The end of a registration without an assignment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NotAssigned {
    Disabled,
    Unassigned,
    /// A status that nobody knows.
    Unknown,
}

impl Default for Faults {
    fn default() -> Self {
        Self {
            request: Fault::default(),
            status: Fault::default(),
            assigning: Fault::default(),
            failed: Fault::default(),
            not_assigned: Fault::default(),
            hub: Fault::default(),
            mode: None,
            late_token: false,
            retry_after: 1,
        }
    }
}

impl Faults {
    /// Sets the fault `kind` to `value`, `count` times; `None` where there is no such fault.
    pub(in crate::emulator) fn set(&mut self, kind: &str, value: &str, count: Option<u32>) -> Option<()> {
        match (kind, value) {
            ("dps", "silent") => self.request = Fault::new(RequestFault::Silent, count),
            ("dps", "garbage") => self.request = Fault::new(RequestFault::Garbage, count),
            ("dps", "drop") => self.request = Fault::new(RequestFault::Drop, count),
            ("dps", "disabled") => self.not_assigned = Fault::new(NotAssigned::Disabled, count),
            ("dps", "unassigned") => self.not_assigned = Fault::new(NotAssigned::Unassigned, count),
            ("dps", "unknown-status") => self.not_assigned = Fault::new(NotAssigned::Unknown, count),
            ("dps-status", _) => self.status = Fault::new(status(value)?, count),
            ("dps-assigning", "none") => self.assigning = Fault::new(Assigning::None, count),
            ("dps-assigning", _) => {
                self.assigning = Fault::new(Assigning::Polls(value.parse().ok()?), count);
            }
            ("dps-failed", _) => self.failed = Fault::new(error_code(value)?, count),
            ("dps-hub", _) if !value.is_empty() => self.hub = Fault::new(value.to_owned(), count),
            // Those below are settings.
            _ if count.is_some() => return None,
            ("dps-mode", _) => self.mode = Some(value.to_owned()),
            ("dps-token", "late") => self.late_token = true,
            ("dps-retry-after", _) => self.retry_after = value.parse().ok()?,
            _ => return None,
        }
        Some(())
    }
}

/// Reads an error code. Clients have 32 bits for it \[C].
fn error_code(text: &str) -> Option<u32> {
    text.parse().ok().filter(|code| (1..=i32::MAX.unsigned_abs()).contains(code))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_known_fault_is_read() {
        for known in KNOWN_FAULTS.split(", ") {
            let (kind, values) = known.split_once('=').unwrap();
            for value in values.split('|').map(|value| match value {
                "POLLS" | "SECONDS" => "2",
                value => value,
            }) {
                assert_eq!(Faults::default().set(kind, value, None), Some(()), "{kind}={value}");
                let counted = !["dps-mode", "dps-token", "dps-retry-after"].contains(&kind);
                let set = Faults::default().set(kind, value, Some(1));
                assert_eq!(set.is_some(), counted, "{kind}={value}@1");
            }
        }
    }

    #[test]
    fn other_values_are_refused() {
        for (kind, value) in [
            ("dps", "x"),
            ("dps-x", "1"),
            ("dps-status", "200"),
            ("dps-assigning", "-1"),
            ("dps-failed", "0"),
            ("dps-failed", "2147483648"),
            ("dps-hub", ""),
            ("dps-token", "early"),
            ("dps-retry-after", "1s"),
        ] {
            assert_eq!(Faults::default().set(kind, value, None), None, "{kind}={value}");
        }
    }
}
