//! Pipes whose capacity can be set, and sockets whose half-close can be polled for.

use std::os::fd::AsFd;

use rustix::event::PollFlags;

/// The peer of a socket has shut down its writing half.
pub(crate) const RDHUP: PollFlags = PollFlags::RDHUP;

/// Sets the capacity of a pipe in bytes.
pub(crate) fn set_capacity(pipe: impl AsFd, bytes: usize) {
    // It fails for anything but a pipe, for less than the pipe holds, and beyond the user's limit. Then the capacity
    // stays as it is.
    let _ = rustix::pipe::fcntl_setpipe_size(pipe, bytes);
}
