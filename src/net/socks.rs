//! The client's side of SOCKS 5 (RFC 1928), with a user name and a password (RFC 1929). The proxy resolves names.

use std::io;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio_socks::Error;
use tokio_socks::tcp::Socks5Stream;

use super::Endpoint;
use crate::secret::Secret;

/// A user name and a password.
#[derive(Clone, Debug)]
pub(super) struct Login {
    pub(super) user: String,
    pub(super) password: Secret,
}

/// Why a proxy does not connect to the target.
#[derive(Debug)]
pub(super) enum Refusal {
    /// The proxy requires a login, or another one.
    Login(String),
    /// The proxy does not accept a login with a password.
    NoPasswords,
    /// The proxy's rules forbid the connection.
    Forbidden,
    Failed(String),
    Io(io::Error),
}

/// Asks the proxy at the other end of `io` for a connection to `target`, and returns `io`, which is now that
/// connection.
///
/// Not cancel-safe.
pub(super) async fn connect<S>(io: S, login: Option<&Login>, target: &Endpoint) -> Result<S, Refusal>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let address = (target.host.as_str(), target.port);
    let connected = match login {
        Some(Login { user, password }) => {
            Socks5Stream::connect_with_password_and_socket(io, address, user, password.expose()).await
        }
        None => Socks5Stream::connect_with_socket(io, address).await,
    };
    connected.map(Socks5Stream::into_inner).map_err(|error| refusal(error, login.is_some(), target))
}

fn refusal(error: Error, has_login: bool, target: &Endpoint) -> Refusal {
    let cannot_reach = |why| Refusal::Failed(format!("it cannot reach {target}: {why}"));
    match error {
        Error::Io(error) => Refusal::Io(error),
        Error::NoAcceptableAuthMethods if has_login => Refusal::NoPasswords,
        Error::NoAcceptableAuthMethods | Error::AuthorizationRequired => {
            Refusal::Login("it requires a user name and password".into())
        }
        Error::PasswordAuthFailure(_) => Refusal::Login("it refuses the user name or password".into()),
        Error::ConnectionNotAllowedByRuleset => Refusal::Forbidden,
        Error::InvalidAuthValues(_) => {
            Refusal::Failed("SOCKS 5 takes a user name and a password of 1 to 255 bytes".into())
        }
        Error::InvalidTargetAddress(_) => {
            Refusal::Failed("the host name is too long for SOCKS 5, which takes 255 bytes".into())
        }
        Error::GeneralSocksServerFailure => cannot_reach("it gives no reason"),
        Error::NetworkUnreachable => cannot_reach("network unreachable"),
        Error::HostUnreachable => cannot_reach("host unreachable"),
        Error::ConnectionRefused => cannot_reach("connection refused"),
        Error::TtlExpired => cannot_reach("TTL expired"),
        Error::CommandNotSupported | Error::AddressTypeNotSupported => cannot_reach("request not supported"),
        Error::InvalidResponseVersion => Refusal::Failed("it does not speak SOCKS 5".into()),
        _ => Refusal::Failed("its answer is not SOCKS 5".into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    /// Connects through a proxy that sends `answers`. Returns what the proxy received.
    async fn talk(
        login: Option<&Login>,
        target: &Endpoint,
        answers: &[u8],
    ) -> (Vec<u8>, Result<(), Refusal>) {
        let (ours, mut proxy) = tokio::io::duplex(4096);
        proxy.write_all(answers).await.unwrap();
        let connected = async { connect(ours, login, target).await.map(drop) };
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
            (None, &b"\x05\xff"[..], "requires a user name"),
            (Some(&login), b"\x05\xff", "no passwords"),
            (Some(&login), b"\x05\x02\x01\x01", "refuses the user name or password"),
            (None, b"\x05\x00\x05\x02\x00\x01\0\0\0\0\0\0", "forbidden"),
            (None, b"\x05\x00\x05\x05\x00\x01\0\0\0\0\0\0", "connection refused"),
            (None, b"\x05\x00\x05\x01\x00\x01\0\0\0\0\0\0", "gives no reason"),
            (None, b"\x05\x00\x05\x09\x00\x01\0\0\0\0\0\0", "is not SOCKS 5"),
            (None, b"HTTP/1.1 400", "does not speak SOCKS 5"),
            (None, b"\x05\x00\x05\x00\x00\x07", "is not SOCKS 5"),
        ] {
            match talk(login, &target, answers).await.1 {
                Err(Refusal::Login(said) | Refusal::Failed(said)) => {
                    assert!(said.contains(why), "{said}");
                }
                Err(Refusal::NoPasswords) => assert_eq!(why, "no passwords"),
                Err(Refusal::Forbidden) => assert_eq!(why, "forbidden"),
                other => panic!("{why}: {other:?}"),
            }
        }
    }

    #[tokio::test]
    async fn names_that_do_not_fit_socks_are_not_sent() {
        let long = "x".repeat(256);
        let login = Login { user: "me".into(), password: Secret::new(long.as_str()) };
        for (login, host, why) in
            [(None, long.as_str(), "host name is too long"), (Some(&login), "hub.x", "1 to 255 bytes")]
        {
            let (sent, result) = talk(login, &Endpoint::new(host, 1), b"").await;
            let Err(Refusal::Failed(said)) = result else { panic!("{result:?}") };
            assert!(said.contains(why) && sent.is_empty(), "{said} {sent:?}");
        }
    }

    #[tokio::test]
    async fn bytes_behind_the_answer_belong_to_the_connection() {
        let (ours, mut proxy) = tokio::io::duplex(4096);
        proxy.write_all(b"\x05\x00\x05\x00\x00\x03\x01x\x00\x50early").await.unwrap();
        let mut connection = connect(ours, None, &Endpoint::new("hub.x", 443)).await.unwrap();
        let mut early = [0; 5];
        connection.read_exact(&mut early).await.unwrap();
        assert_eq!(&early, b"early");
    }

    proptest! {
        #[test]
        fn connect_never_panics(answers in proptest::collection::vec(any::<u8>(), 0..64)) {
            let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
            runtime.block_on(async {
                let (ours, mut proxy) = tokio::io::duplex(4096);
                proxy.write_all(&answers).await.unwrap();
                proxy.shutdown().await.unwrap();
                let _ = connect(ours, None, &Endpoint::new("h", 1)).await;
            });
        }
    }
}
