//! What a failure of another room brings along: its message is `Display`, its cause is `source()`.

use std::any::Any;

use super::{Exit, Retry};
use crate::time::phase::Phase;

/// A failure that knows how it is reported. A backend's errors are such, and only the backend knows their types.
pub trait Fault: std::error::Error + Any + Send + Sync {
    /// The exit status of a command that ends with it.
    fn exit(&self) -> Exit;

    /// What to do about it, as an imperative.
    fn hint(&self) -> Option<String> {
        None
    }

    /// Whether a later try may succeed.
    fn retry(&self) -> Option<Retry> {
        None
    }

    /// The phase of the set-up that failed.
    fn phase(&self) -> Option<Phase> {
        None
    }

    /// Whether the device refused the stream.
    fn is_rejection(&self) -> bool {
        false
    }
}
