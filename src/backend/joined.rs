//! A stream that both ends have joined.

use std::fmt;
use std::pin::Pin;

use bytes::Bytes;

use crate::net::WebSocket;
use crate::tunnel::Remote;

/// A future behind a trait object.
pub(crate) type Pending<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// An established WebSocket to the other end of a stream.
pub struct Joined {
    /// The connection under the WebSocket.
    pub io: Box<dyn Remote + Send>,
    /// The bytes that arrived behind the upgrade's response.
    pub early: Bytes,
    /// The peer's Close with code 1001 is an end in order.
    pub going_away_is_end: bool,
}

impl<S: Remote + Send + 'static> From<WebSocket<S>> for Joined {
    fn from(websocket: WebSocket<S>) -> Self {
        Self { io: Box::new(websocket.io), early: websocket.early, going_away_is_end: false }
    }
}

impl fmt::Debug for Joined {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Joined").finish_non_exhaustive()
    }
}
