//! The client's side of SOCKS 5 (RFC 1928), with a user name and a password (RFC 1929). Names are resolved by the
//! proxy.

use std::io;
use std::net::IpAddr;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

use super::Endpoint;
use crate::secret::Secret;

const VERSION: u8 = 5;
const NO_LOGIN: u8 = 0;
const USER_PASSWORD: u8 = 2;
const CONNECT: u8 = 1;

/// A user name and a password.
#[derive(Clone, Debug)]
pub(super) struct Login {
    pub(super) user: String,
    pub(super) password: Secret,
}

/// Why the proxy did not connect to the target.
#[derive(Debug)]
pub(super) enum Refusal {
    /// The proxy requires other credentials or does not allow the target.
    Denied(String),
    Failed(String),
    Io(io::Error),
}

impl From<io::Error> for Refusal {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

/// Asks the proxy behind `io` for a connection to `target`. Afterwards `io` is that connection.
///
/// Not cancel-safe.
pub(super) async fn connect<S>(io: &mut S, login: Option<&Login>, target: &Endpoint) -> Result<(), Refusal>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let methods: &[u8] = if login.is_some() { &[NO_LOGIN, USER_PASSWORD] } else { &[NO_LOGIN] };
    let mut greeting = vec![VERSION];
    with_length(&mut greeting, methods, "methods")?;
    io.write_all(&greeting).await?;
    match (answer(io).await?, login) {
        (NO_LOGIN, _) => {}
        (USER_PASSWORD, Some(login)) => {
            let mut message = zeroize::Zeroizing::new(vec![1]);
            with_length(&mut message, login.user.as_bytes(), "user name")?;
            with_length(&mut message, login.password.expose().as_bytes(), "password")?;
            io.write_all(&message).await?;
            let mut status = [0; 2];
            io.read_exact(&mut status).await?;
            if status[1] != 0 {
                return Err(Refusal::Denied("it refuses the user name or the password".into()));
            }
        }
        (_, Some(_)) => return Err(Refusal::Denied("it takes no user name with a password".into())),
        (_, None) => return Err(Refusal::Denied("it wants a user name and a password".into())),
    }
    io.write_all(&request(target)?).await?;
    let reply = answer(io).await?;
    if reply != 0 {
        return Err(refusal(reply, target));
    }
    // The address that the proxy connects from is skipped.
    io.read_u8().await?;
    let length = match io.read_u8().await? {
        1 => 4,
        3 => io.read_u8().await?.into(),
        4 => 16,
        _ => return Err(Refusal::Failed("its answer is not one of SOCKS 5".into())),
    };
    let mut rest = [0; u8::MAX as usize + 2];
    io.read_exact(&mut rest[..length + 2]).await?;
    Ok(())
}

fn request(target: &Endpoint) -> Result<Vec<u8>, Refusal> {
    let mut request = vec![VERSION, CONNECT, 0];
    match target.host.parse() {
        Ok(IpAddr::V4(address)) => {
            request.push(1);
            request.extend(address.octets());
        }
        Ok(IpAddr::V6(address)) => {
            request.push(4);
            request.extend(address.octets());
        }
        Err(_) => {
            request.push(3);
            with_length(&mut request, target.host.as_bytes(), "host name")?;
        }
    }
    request.extend(target.port.to_be_bytes());
    Ok(request)
}

fn with_length(message: &mut Vec<u8>, part: &[u8], name: &str) -> Result<(), Refusal> {
    let length = u8::try_from(part.len())
        .map_err(|_| Refusal::Failed(format!("the {name} is too long for SOCKS 5, which takes 255 bytes")))?;
    message.push(length);
    message.extend(part);
    Ok(())
}

/// The second of the two bytes that start every answer.
async fn answer<S: AsyncRead + Unpin>(io: &mut S) -> Result<u8, Refusal> {
    let mut head = [0; 2];
    io.read_exact(&mut head).await?;
    if head[0] != VERSION {
        return Err(Refusal::Failed("it does not speak SOCKS 5".into()));
    }
    Ok(head[1])
}

/// Translates the reply codes of RFC 1928, section 6.
fn refusal(code: u8, target: &Endpoint) -> Refusal {
    let why = match code {
        2 => return Refusal::Denied(format!("it does not let {target} through")),
        3 => "no network there",
        4 => "no such host there, or it does not answer",
        5 => "connection refused",
        6 => "too far away",
        7 | 8 => "it does not know the request",
        _ => "it does not say why",
    };
    Refusal::Failed(format!("it cannot reach {target}: {why}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Connects through a proxy that sends `answers`. Returns what the proxy received.
    async fn talk(
        login: Option<&Login>,
        target: &Endpoint,
        answers: &[u8],
    ) -> (Vec<u8>, Result<(), Refusal>) {
        let (mut ours, mut proxy) = tokio::io::duplex(4096);
        proxy.write_all(answers).await.unwrap();
        let connected = async {
            let result = connect(&mut ours, login, target).await;
            drop(ours);
            result
        };
        let mut sent = Vec::new();
        let (result, _) = tokio::join!(connected, proxy.read_to_end(&mut sent));
        (sent, result)
    }

    #[tokio::test]
    async fn follows_rfc_1928_and_1929() {
        let login = Login { user: "me".into(), password: Secret::new("pw") };
        let target = Endpoint::new("hub.x", 443);
        let (sent, result) =
            talk(Some(&login), &target, b"\x05\x02\x01\x00\x05\x00\x00\x01\x7f\x00\x00\x01\x00\x50").await;
        assert!(result.is_ok(), "{result:?}");
        assert_eq!(sent, b"\x05\x02\x00\x02\x01\x02me\x02pw\x05\x01\x00\x03\x05hub.x\x01\xbb");
        for (host, address) in
            [("1.2.3.4", &b"\x01\x01\x02\x03\x04"[..]), ("::1", b"\x04\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\x01")]
        {
            let (sent, result) =
                talk(None, &Endpoint::new(host, 1), b"\x05\x00\x05\x00\x00\x03\x01x\x00\x50").await;
            assert!(result.is_ok(), "{result:?}");
            assert_eq!(sent, [b"\x05\x01\x00\x05\x01\x00", address, b"\x00\x01"].concat());
        }
    }

    #[tokio::test]
    async fn refusals_say_why() {
        let login = Login { user: "me".into(), password: Secret::new("pw") };
        let target = Endpoint::new("hub.x", 443);
        for (login, answers, why) in [
            (None, &b"\x05\xff"[..], "wants a user name"),
            (Some(&login), b"\x05\xff", "takes no user name"),
            (Some(&login), b"\x05\x02\x01\x01", "refuses the user name or the password"),
            (None, b"\x05\x00\x05\x02\x00\x01\0\0\0\0\0\0", "does not let hub.x:443 through"),
            (None, b"\x05\x00\x05\x05\x00\x01\0\0\0\0\0\0", "connection refused"),
            (None, b"HTTP/1.1 400", "does not speak SOCKS 5"),
            (None, b"\x05\x00\x05\x00\x00\x07", "not one of SOCKS 5"),
        ] {
            match talk(login, &target, answers).await.1 {
                Err(Refusal::Denied(said) | Refusal::Failed(said)) => {
                    assert!(said.contains(why), "{said}");
                }
                other => panic!("{why}: {other:?}"),
            }
        }
        assert!(request(&Endpoint::new("x".repeat(256), 1)).is_err());
    }

    proptest! {
        #[test]
        fn connect_never_panics(answers in proptest::collection::vec(any::<u8>(), 0..64)) {
            let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
            runtime.block_on(async {
                let (mut ours, mut proxy) = tokio::io::duplex(4096);
                proxy.write_all(&answers).await.unwrap();
                proxy.shutdown().await.unwrap();
                let _ = connect(&mut ours, None, &Endpoint::new("h", 1)).await;
            });
        }
    }
}
