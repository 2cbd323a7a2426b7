//! Files that other users must not be able to change: those that hold secrets, and those that this program writes. All of
//! them are opened here.

mod owners;
mod read;
mod stamp;
mod walk;
mod write;

pub use crate::platform::file_access::{Access, LONGEST, Log, Read};
pub use crate::platform::replace::{put, replace};
pub use crate::platform::unwritable::Unwritable;
pub(crate) use owners::{home as home_of_user, name as user_name};
pub use read::{is_credential, is_deleted, is_readable_by_everyone, read, read_own, read_plain};
pub use stamp::Stamp;
pub use write::{
    create_directories, destination, log_exposures, log_if_possible, open_log, open_own, replacement,
};
