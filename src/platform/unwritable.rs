//! Why a file is not written.

use std::fmt;
use std::io;

use crate::error::{Error, Exposure};

/// Why a file is not written.
#[derive(Debug)]
pub enum Unwritable {
    Io(io::Error),
    /// Other users can change it, or a directory or link on its path.
    Exposed(Exposure),
}

impl From<io::Error> for Unwritable {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

impl Unwritable {
    /// The error for the user; `what` names the file.
    pub fn into_error(self, what: impl Into<String>) -> Error {
        match self {
            Self::Io(source) => Error::LocalIo { what: what.into(), source },
            Self::Exposed(exposure) => Error::Permissions(exposure),
        }
    }
}

impl fmt::Display for Unwritable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Io(error) => error.fmt(f),
            Self::Exposed(exposure) => exposure.fmt(f),
        }
    }
}
