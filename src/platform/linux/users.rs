//! Users in a user namespace.

use std::fs;

/// The uid that stands for every user who is not mapped into this process's user namespace; `None` where all are.
pub(crate) fn unmapped_user() -> Option<u32> {
    let map = fs::read_to_string("/proc/self/uid_map").ok()?;
    let mut fields = map.split_whitespace().map(str::parse::<u32>);
    let whole = [Ok(0), Ok(0), Ok(u32::MAX)];
    if whole.iter().all(|number| fields.next().as_ref() == Some(number)) {
        return None;
    }
    fs::read_to_string("/proc/sys/kernel/overflowuid").ok()?.trim().parse().ok()
}
