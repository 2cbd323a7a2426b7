//! The settings of this process.

/// Does nothing: Windows keeps memory dumps only where an administrator has asked for them.
pub fn no_core_dumps() {}

/// Whether this process runs as root: there is no such user.
pub fn is_root() -> bool {
    false
}

/// The number of the user that this process runs as: users have none.
pub fn user() -> u32 {
    0
}

/// The name of a user: nothing here knows one by a number.
pub(crate) fn user_name(_: u32) -> Option<String> {
    None
}
