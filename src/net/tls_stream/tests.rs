use std::io;
use std::sync::Arc;

use rustls::pki_types::{PrivatePkcs8KeyDer, ServerName};
use rustls::version::{TLS12, TLS13};
use rustls::{AlertDescription, ClientConfig, RootCertStore, ServerConfig, SupportedProtocolVersion};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, DuplexStream, duplex};
use tokio_rustls::TlsAcceptor;

macro_rules! tests {
    ($implementation:ident: $($test:ident),+ $(,)?) => {
        mod $implementation {
            use super::super::$implementation::{TlsStream, carrier, connect};

            const _: fn(&TlsStream<super::DuplexStream>) -> &super::DuplexStream = carrier;

            $(#[tokio::test]
            async fn $test() {
                super::$test(connect).await;
            })+
        }
    };
}

tests! {
    unbuffered:
    bytes_arrive_both_ways_however_they_are_cut,
    a_connection_may_hold_less_than_a_record,
    keys_may_change_on_the_way,
    the_end_of_one_direction_is_not_that_of_the_other,
    a_cut_is_no_end,
    a_certificate_of_somebody_elses_is_refused_and_the_server_told,
    what_was_tampered_with_is_refused_and_the_server_told,
    what_was_tampered_with_is_refused_for_good,
}

tests! {
    buffered:
    bytes_arrive_both_ways_however_they_are_cut,
    keys_may_change_on_the_way,
    the_end_of_one_direction_is_not_that_of_the_other,
    a_cut_is_no_end,
    a_certificate_of_somebody_elses_is_refused_and_the_server_told,
    what_was_tampered_with_is_refused_and_the_server_told,
}

/// A server's configuration, and that of a client which trusts it.
fn configs(version: &'static SupportedProtocolVersion) -> (Arc<ServerConfig>, Arc<ClientConfig>) {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let key = rcgen::KeyPair::generate().unwrap();
    let certificate = rcgen::CertificateParams::new(["localhost".into()]).unwrap().self_signed(&key).unwrap();
    let server = ServerConfig::builder_with_provider(provider.clone())
        .with_protocol_versions(&[version])
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(
            vec![certificate.der().clone()],
            PrivatePkcs8KeyDer::from(key.serialize_der()).into(),
        )
        .unwrap();
    let mut roots = RootCertStore::empty();
    roots.add(certificate.der().clone()).unwrap();
    let client = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[version])
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    (Arc::new(server), Arc::new(client))
}

trait Stream: AsyncRead + AsyncWrite + Unpin {}
impl<T: AsyncRead + AsyncWrite + Unpin> Stream for T {}

trait Connect<T>: AsyncFn(Arc<ClientConfig>, ServerName<'static>, DuplexStream) -> io::Result<T> {}
impl<T, F: AsyncFn(Arc<ClientConfig>, ServerName<'static>, DuplexStream) -> io::Result<T>> Connect<T> for F {}

type Server = tokio_rustls::server::TlsStream<DuplexStream>;

/// The two ends of a connection on which `room` bytes may be under way.
async fn pair<T: Stream>(
    connect: &impl Connect<T>,
    version: &'static SupportedProtocolVersion,
    room: usize,
) -> (T, Server) {
    let (mut server, client) = configs(version);
    if room < 4096 {
        // They would wait for a client that reads.
        Arc::get_mut(&mut server).unwrap().send_tls13_tickets = 0;
    }
    let (near, far) = duplex(room);
    let (client, server) = tokio::join!(connect(client, name(), near), TlsAcceptor::from(server).accept(far));
    (client.unwrap(), server.unwrap())
}

fn name() -> ServerName<'static> {
    ServerName::try_from("localhost").unwrap()
}

/// Bytes that repeat nowhere near.
fn bytes(seed: u32, count: usize) -> Vec<u8> {
    (0..).map(|i: u32| (i.wrapping_mul(2_654_435_761) ^ seed).to_be_bytes()[1]).take(count).collect()
}

async fn bytes_arrive_both_ways_however_they_are_cut<T: Stream>(connect: impl Connect<T>) {
    for version in [&TLS12, &TLS13] {
        for (room, piece) in [(4096, 1), (4096, 10_000), (1 << 20, 65_792), (1 << 20, 16_383)] {
            transfer(&connect, version, room, piece).await;
        }
    }
}

async fn a_connection_may_hold_less_than_a_record<T: Stream>(connect: impl Connect<T>) {
    for version in [&TLS12, &TLS13] {
        for (room, piece) in [(1, 1), (5, 7)] {
            transfer(&connect, version, room, piece).await;
        }
    }
}

/// Sends bytes both ways, `piece` of them at a time.
async fn transfer<T: Stream>(
    connect: &impl Connect<T>,
    version: &'static SupportedProtocolVersion,
    room: usize,
    piece: usize,
) {
    let (client, server) = pair(connect, version, room).await;
    exchange(client, server, room, piece).await;
}

/// The same over an open connection, on which `room` bytes may be under way.
async fn exchange(client: impl Stream, server: impl Stream, room: usize, piece: usize) {
    let count = room.clamp(3000, 300_000);
    let (mut client_in, mut client_out) = tokio::io::split(client);
    let (mut server_in, mut server_out) = tokio::io::split(server);
    let (up, down) = (bytes(1, count), bytes(2, count));
    let send = async {
        for chunk in up.chunks(piece) {
            client_out.write_all(chunk).await.unwrap();
        }
        client_out.shutdown().await.unwrap();
    };
    let answer = async {
        for chunk in down.chunks(piece.min(5000)) {
            server_out.write_all(chunk).await.unwrap();
        }
        server_out.flush().await.unwrap();
        server_out.shutdown().await.unwrap();
    };
    let receive = async {
        let (mut received, mut chunk) = (Vec::new(), vec![0; piece]);
        loop {
            match client_in.read(&mut chunk).await.unwrap() {
                0 => return received,
                count => received.extend_from_slice(&chunk[..count]),
            }
        }
    };
    let mut arrived = Vec::new();
    let (_, _, received, _) =
        tokio::join!(send, answer, receive, async { server_in.read_to_end(&mut arrived).await });
    assert!(received == down, "down: {room} {piece}");
    assert!(arrived == up, "up: {room} {piece}");
}

async fn keys_may_change_on_the_way<T: Stream>(connect: impl Connect<T>) {
    let (mut client, mut server) = pair(&connect, &TLS13, 1 << 20).await;
    let sent = bytes(3, 50_000);
    for _ in 0..3 {
        server.get_mut().1.refresh_traffic_keys().unwrap();
        server.write_all(&sent).await.unwrap();
        server.flush().await.unwrap();
        let mut received = vec![0; sent.len()];
        client.read_exact(&mut received).await.unwrap();
        assert!(received == sent);
        // The answer carries the client's own change of keys.
        client.write_all(&sent).await.unwrap();
        client.flush().await.unwrap();
        server.read_exact(&mut received).await.unwrap();
        assert!(received == sent);
    }
}

async fn the_end_of_one_direction_is_not_that_of_the_other<T: Stream>(connect: impl Connect<T>) {
    let (mut client, mut server) = pair(&connect, &TLS13, 1 << 20).await;
    server.write_all(b"last words").await.unwrap();
    server.shutdown().await.unwrap();
    let mut received = Vec::new();
    client.read_to_end(&mut received).await.unwrap();
    assert_eq!(received, b"last words");
    client.write_all(b"answer").await.unwrap();
    client.shutdown().await.unwrap();
    assert_eq!(client.write(b"more").await.unwrap_err().kind(), io::ErrorKind::BrokenPipe);
    let mut received = Vec::new();
    server.read_to_end(&mut received).await.unwrap();
    assert_eq!(received, b"answer");
}

async fn a_cut_is_no_end<T: Stream>(connect: impl Connect<T>) {
    let (mut client, mut server) = pair(&connect, &TLS13, 1 << 20).await;
    server.write_all(b"half a sen").await.unwrap();
    server.flush().await.unwrap();
    drop(server);
    let mut received = Vec::new();
    let error = client.read_to_end(&mut received).await.unwrap_err();
    assert_eq!((error.kind(), &*received), (io::ErrorKind::UnexpectedEof, &b"half a sen"[..]));
}

async fn a_certificate_of_somebody_elses_is_refused_and_the_server_told<T: Stream>(connect: impl Connect<T>) {
    for version in [&TLS12, &TLS13] {
        let ((server, _), (_, client)) = (configs(version), configs(version));
        let (near, far) = duplex(1 << 20);
        let (client, server) = tokio::join!(connect(client, name(), near), async {
            let mut server = TlsAcceptor::from(server).accept(far).await?;
            server.read_u8().await
        });
        let inner = |error: io::Error| error.into_inner().unwrap().downcast::<rustls::Error>().unwrap();
        let refused = inner(client.map(drop).unwrap_err());
        assert!(matches!(*refused, rustls::Error::InvalidCertificate(_)), "{refused}");
        let told = inner(server.unwrap_err());
        assert!(
            matches!(
                *told,
                rustls::Error::AlertReceived(AlertDescription::UnknownCA | AlertDescription::DecryptError)
            ),
            "{told}"
        );
    }
}

async fn what_was_tampered_with_is_refused_and_the_server_told<T: Stream>(connect: impl Connect<T>) {
    let (mut client, mut server) = forged(connect).await;
    let error = client.read_u8().await.unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::InvalidData, "{error}");
    let mut alert = [0; 5];
    server.read_exact(&mut alert).await.unwrap();
    assert_eq!(alert[0], 0x17, "an encrypted alert");
}

async fn what_was_tampered_with_is_refused_for_good<T: Stream>(connect: impl Connect<T>) {
    let (mut client, _server) = forged(connect).await;
    for _ in 0..2 {
        let error = client.read_u8().await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::InvalidData, "{error}");
    }
    assert!(client.write(b"x").await.is_err());
}

/// A client whose server sends a record that is not valid, and the server's connection.
async fn forged<T: Stream>(connect: impl Connect<T>) -> (T, DuplexStream) {
    let (client, server) = pair(&connect, &TLS13, 1 << 20).await;
    let (mut connection, _) = server.into_inner();
    connection.write_all(b"\x17\x03\x03\x00\x20forged forged forged forged forg").await.unwrap();
    (client, connection)
}

/// A server of ours, whose client is tokio-rustls'.
#[cfg(feature = "emulator")]
mod server {
    use tokio_rustls::TlsConnector;

    use super::super::{ServerStream, accept};
    use super::*;

    type Client = tokio_rustls::client::TlsStream<DuplexStream>;

    async fn pair(
        version: &'static SupportedProtocolVersion,
        room: usize,
    ) -> (Client, ServerStream<DuplexStream>) {
        let (server, client) = configs(version);
        let (near, far) = duplex(room);
        let (client, server) =
            tokio::join!(TlsConnector::from(client).connect(name(), near), accept(server, far));
        (client.unwrap(), server.unwrap())
    }

    #[tokio::test]
    async fn bytes_arrive_both_ways_however_they_are_cut() {
        for version in [&TLS12, &TLS13] {
            for (room, piece) in [(4096, 1), (4096, 10_000), (1 << 20, 65_792), (1 << 20, 16_383)] {
                let (client, server) = pair(version, room).await;
                exchange(client, server, room, piece).await;
            }
        }
    }

    #[tokio::test]
    async fn a_cut_is_no_end() {
        for ends in [true, false] {
            let (mut client, mut server) = pair(&TLS13, 1 << 20).await;
            client.write_all(b"half a sen").await.unwrap();
            client.flush().await.unwrap();
            if ends {
                client.shutdown().await.unwrap();
            }
            drop(client);
            let mut received = Vec::new();
            let read = server.read_to_end(&mut received).await;
            assert_eq!(
                read.map_err(|error| error.kind()),
                if ends { Ok(10) } else { Err(io::ErrorKind::UnexpectedEof) }
            );
            assert_eq!(received, b"half a sen");
        }
    }

    #[tokio::test]
    async fn a_client_that_speaks_no_tls_is_told() {
        let (server, _) = configs(&TLS13);
        let (mut near, far) = duplex(4096);
        near.write_all(b"GET / HTTP/1.1\r\n\r\n").await.unwrap();
        assert!(accept(server, far).await.is_err());
        let mut alert = Vec::new();
        near.read_to_end(&mut alert).await.unwrap();
        assert_eq!(alert.first(), Some(&0x15), "an alert");
    }
}
