//! A fault that is made a number of times.

use std::sync::atomic::{AtomicU32, Ordering::Relaxed};

use hyper::StatusCode;

/// A fault to make: never, a number of times, or always.
#[derive(Debug)]
pub(super) struct Fault<T> {
    value: Option<T>,
    left: Option<AtomicU32>,
}

impl<T> Default for Fault<T> {
    fn default() -> Self {
        Self { value: None, left: None }
    }
}

impl<T> Fault<T> {
    /// A fault to make `count` times; without a count, always.
    pub(super) fn new(value: T, count: Option<u32>) -> Self {
        Self { value: Some(value), left: count.map(AtomicU32::new) }
    }
}

impl<T: Clone> Fault<T> {
    /// The fault to make this time, if one is left. Each call counts as one time.
    pub(super) fn take(&self) -> Option<T> {
        let value = self.value.clone()?;
        match &self.left {
            None => Some(value),
            Some(left) => {
                left.fetch_update(Relaxed, Relaxed, |left| left.checked_sub(1)).is_ok().then_some(value)
            }
        }
    }
}

/// Reads an HTTP status that is an error or a redirection.
pub(super) fn status(text: &str) -> Option<StatusCode> {
    let code = text.parse().ok().filter(|code| (300..=599).contains(code))?;
    StatusCode::from_u16(code).ok()
}
