//! WebSocket as a server speaks it: the opening handshake, the frames, and a byte stream over them.

pub(super) mod byte_stream;
pub(super) mod frames;
pub(super) mod handshake;
