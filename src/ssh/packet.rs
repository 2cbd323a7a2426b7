//! The packets of the protocol before encryption (RFC 4253, section 6), and the messages that both ends may send.

use std::io;

use tokio::io::{AsyncRead, AsyncReadExt};

use crate::error::Problem;

pub(super) const SSH_MSG_DISCONNECT: u8 = 1;

/// The reason code of a client or a server that ends the connection by its own will.
pub(super) const SSH_DISCONNECT_BY_APPLICATION: u32 = 11;

/// The smallest padding, and the unit of a packet's length, in bytes.
const MIN_PADDING: usize = 4;
const BLOCK: usize = 8;

/// The longest packet that is read, in bytes. Every implementation must take 35,000.
const LONGEST: usize = 64 * 1024;

/// A packet with this payload.
pub(super) fn frame(payload: &[u8]) -> Vec<u8> {
    // The padded length includes the length field and the padding's length.
    let unpadded = 4 + 1 + payload.len();
    let padding = MIN_PADDING + (BLOCK - (unpadded + MIN_PADDING) % BLOCK) % BLOCK;
    let mut packet = length(1 + payload.len() + padding).to_be_bytes().to_vec();
    packet.push(padding.to_le_bytes()[0]);
    packet.extend_from_slice(payload);
    packet.resize(packet.len() + padding, 0);
    packet
}

/// Reads a packet and returns its payload, which has at least one byte: the message's number.
///
/// # Errors
/// Returns an error at the connection's end, and for a packet that is malformed or too long.
pub(super) async fn read(io: &mut (impl AsyncRead + Unpin)) -> Result<Vec<u8>, Problem> {
    let length = usize::try_from(io.read_u32().await.map_err(closed)?).unwrap_or(usize::MAX);
    if length > LONGEST {
        return Err(format!("it sent a packet of {length} bytes").into());
    }
    let mut packet = vec![0; length];
    io.read_exact(&mut packet).await.map_err(closed)?;
    let [padding, rest @ ..] = packet.as_slice() else { return Err("it sent an empty packet".into()) };
    match rest.len().checked_sub((*padding).into()) {
        None | Some(0) => Err("it sent a packet without a message".into()),
        Some(payload) => Ok(rest[..payload].to_vec()),
    }
}

fn closed(error: io::Error) -> Problem {
    match error.kind() {
        io::ErrorKind::UnexpectedEof => Problem::because("it closed the connection", error),
        _ => error.into(),
    }
}

/// SSH_MSG_DISCONNECT (RFC 4253, section 11.1).
pub(super) fn disconnect(reason: u32, text: &str) -> Vec<u8> {
    let mut payload = vec![SSH_MSG_DISCONNECT];
    payload.extend_from_slice(&reason.to_be_bytes());
    put_string(&mut payload, text.as_bytes());
    put_string(&mut payload, b"");
    frame(&payload)
}

/// Appends a string (RFC 4251, section 5).
pub(super) fn put_string(payload: &mut Vec<u8>, string: &[u8]) {
    payload.extend_from_slice(&length(string.len()).to_be_bytes());
    payload.extend_from_slice(string);
}

fn length(bytes: usize) -> u32 {
    u32::try_from(bytes).unwrap_or(u32::MAX)
}
