//! What a failure of a backend brings along: its message is `Display`, its cause is `source()`.

use std::any::Any;
use std::time::Duration;

use super::{Exit, Retry};
use crate::time::phase::Phase;

/// A failure that knows how it is reported. Only its backend knows its type.
pub trait Fault: std::error::Error + Any + Send + Sync {
    /// The exit status of a command that ends with it.
    fn exit(&self) -> Exit;

    /// What to do about it, as an imperative.
    fn hint(&self) -> Option<String>;

    /// Whether a later try may succeed.
    fn retry(&self) -> Option<Retry>;

    /// The server's own word on when to try again, whether or not that is worth it.
    fn retry_after(&self) -> Option<Duration>;

    /// The phase of the set-up that failed.
    fn phase(&self) -> Phase;

    /// Whether the device refused the stream, possibly because it has no such target.
    fn is_rejection(&self) -> bool;
}

impl std::error::Error for Box<dyn Fault> {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        (**self).source()
    }
}

impl dyn Fault {
    /// The failure itself, for the backend that it is of.
    pub fn downcast_ref<T: Fault>(&self) -> Option<&T> {
        (self as &dyn Any).downcast_ref()
    }
}
