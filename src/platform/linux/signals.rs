//! The signals that the parent process had set to be ignored.

use std::fs;

/// The signals that were ignored when this process started, as a mask: signal 1 is the lowest bit.
pub(crate) fn inherited_ignored() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).unwrap_or(0)
}
