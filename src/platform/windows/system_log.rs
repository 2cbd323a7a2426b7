//! The system log.

use log::Level;

/// Does nothing: messages go there only once stderr was released, which never happens on Windows.
pub(crate) fn send(_: Level, _: &str) {}
