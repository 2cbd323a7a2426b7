//! The host keys of an SSH server, from a key exchange with it: the server proves that it has the key, as it does to a client
//! that logs in. Each exchange shows one key.

mod algorithms;
mod fields;
mod quote;
mod signature;
mod version;

use std::time::Duration;

use ring::digest::Digest;
use ring::{agreement, digest, rand};
use tokio::io::{AsyncBufRead, AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, BufReader};
use tokio::time::timeout;

use self::algorithms::{Choice, SSH_MSG_KEXINIT, ServerOffer};
pub(crate) use self::algorithms::{KeyType, Offered};
use self::fields::{Fields, mpint};
use self::quote::quoted;
use self::signature::Verdict;
use super::packet::{self, SSH_DISCONNECT_BY_APPLICATION, SSH_MSG_DISCONNECT, put_string};
use crate::error::Problem;
use crate::text::public_key::PublicKey;

const SSH_MSG_IGNORE: u8 = 2;
const SSH_MSG_UNIMPLEMENTED: u8 = 3;
const SSH_MSG_DEBUG: u8 = 4;
const SSH_MSG_KEX_ECDH_INIT: u8 = 30;
const SSH_MSG_KEX_ECDH_REPLY: u8 = 31;

/// The messages without a meaning here that are skipped before each expected one.
const MOST_SKIPPED: usize = 16;

/// What the server logs as the reason of our disconnect.
const REASON: &str = "host keys read";

/// The time limit for the server to close the connection after our disconnect.
const CLOSE_LIMIT: Duration = Duration::from_secs(1);

/// What a server tells in one exchange.
#[derive(Debug)]
pub(crate) struct Answer {
    /// The type of its key.
    pub(crate) key_type: KeyType,
    /// The key, which the server has proved to have; `None` if its size cannot be verified.
    pub(crate) key: Option<PublicKey>,
    /// All host key algorithms of the server.
    pub(crate) offered: Offered,
}

/// Reads one host key of the server at the other end of a new connection: that of the type `wanted`, or of the first type that
/// can be verified. Then disconnects. The caller limits the time.
///
/// Cancel-safe: dropping the future drops the connection.
///
/// # Errors
/// Returns an error, about the server as "it", if it is no SSH server, disconnects, has no key of that type, or does not
/// prove that it has the key.
pub(crate) async fn host_key(
    io: impl AsyncRead + AsyncWrite + Unpin,
    wanted: Option<KeyType>,
) -> Result<Answer, Problem> {
    let mut io = BufReader::new(io);
    // If the server has closed the connection already, reading tells what it said before.
    let _ = send(&mut io, &[version::OURS, b"\r\n"].concat()).await;
    let version = version::read(&mut io).await?;
    let answer = exchange(&mut io, &version, wanted).await?;
    disconnect(io).await;
    Ok(answer)
}

/// The key exchange (RFC 4253, section 7; RFC 5656, section 4).
async fn exchange(
    io: &mut (impl AsyncBufRead + AsyncWrite + Unpin),
    server_version: &[u8],
    wanted: Option<KeyType>,
) -> Result<Answer, Problem> {
    let server_offer = receive(io, SSH_MSG_KEXINIT).await?;
    let offer = ServerOffer::parse(&server_offer)?;
    let choice = offer.choose(wanted)?;
    let random = rand::SystemRandom::new();
    let our_offer = offer.answer(&choice, &random)?;
    let secret = agreement::EphemeralPrivateKey::generate(choice.method.agreement, &random)
        .map_err(|_unspecified| "no ephemeral key could be made")?;
    let our_share = secret.compute_public_key().map_err(|_unspecified| "no ephemeral key could be made")?;
    let mut init = vec![SSH_MSG_KEX_ECDH_INIT];
    put_string(&mut init, our_share.as_ref());
    send(io, &[packet::frame(&our_offer), packet::frame(&init)].concat()).await?;
    if offer.has_guessed_wrong(&choice) {
        packet::read(io).await?;
    }
    let reply = receive(io, SSH_MSG_KEX_ECDH_REPLY).await?;
    let mut fields = Fields(&reply[1..]);
    let (blob, server_share, signature) = (fields.string()?, fields.string()?, fields.string()?);
    fields.end()?;
    let server_key = agreement::UnparsedPublicKey::new(choice.method.agreement, server_share);
    let hash = agreement::agree_ephemeral(secret, &server_key, |secret| {
        let strings = [
            version::OURS,
            server_version,
            &our_offer,
            &server_offer,
            blob,
            our_share.as_ref(),
            server_share,
        ];
        exchange_hash(choice.method.digest, &strings, secret)
    });
    let hash = hash.map_err(|_unspecified| "its ephemeral key is invalid")?;
    let key = PublicKey::of_blob(blob).ok_or("its host key is malformed")?;
    let verdict = signature::verify(&choice, &key, signature, hash.as_ref())?;
    let Choice { key_type, .. } = choice;
    let key = (verdict == Verdict::Verified).then_some(key);
    Ok(Answer { key_type, key, offered: offer.host_keys })
}

/// The exchange hash (RFC 5656, section 4): of both versions, both SSH_MSG_KEXINIT, the host key, both ephemeral keys and
/// the shared secret.
fn exchange_hash(algorithm: &'static digest::Algorithm, strings: &[&[u8]; 7], secret: &[u8]) -> Digest {
    let mut hashed = Vec::new();
    for string in strings {
        put_string(&mut hashed, string);
    }
    hashed.extend_from_slice(&mpint(secret));
    digest::digest(algorithm, &hashed)
}

async fn send(io: &mut (impl AsyncWrite + Unpin), bytes: &[u8]) -> std::io::Result<()> {
    io.write_all(bytes).await?;
    io.flush().await
}

/// Receives the message with this number. Skips those that may come at any time.
async fn receive(io: &mut (impl AsyncBufRead + Unpin), number: u8) -> Result<Vec<u8>, Problem> {
    for _ in 0..=MOST_SKIPPED {
        let message = packet::read(io).await?;
        match message[0] {
            found if found == number => return Ok(message),
            SSH_MSG_IGNORE | SSH_MSG_UNIMPLEMENTED | SSH_MSG_DEBUG => {}
            SSH_MSG_DISCONNECT => {
                let mut fields = Fields(&message[1..]);
                let (reason, text) = (fields.uint32()?, fields.string()?);
                return Err(format!("it disconnected with the reason {reason}: {}", quoted(text)).into());
            }
            other => return Err(format!("it sent message {other} where message {number} is due").into()),
        }
    }
    Err(format!("it did not send message {number}").into())
}

/// Disconnects, and waits for the server to close the connection: one that is reset gets another line in the server's log.
async fn disconnect(mut io: impl AsyncRead + AsyncWrite + Unpin) {
    let message = packet::disconnect(SSH_DISCONNECT_BY_APPLICATION, REASON);
    let closing = async {
        send(&mut io, &message).await?;
        io.shutdown().await?;
        let mut ignored = [0; 512];
        while io.read(&mut ignored).await? > 0 {}
        Ok::<_, std::io::Error>(())
    };
    // The key is known, however the connection ends.
    let _ = timeout(CLOSE_LIMIT, closing).await;
}

#[cfg(test)]
mod tests;
