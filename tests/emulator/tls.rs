//! TLS of unusual clients.

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::Emulator;
use crate::support::hub_client::soon;

fn sized<const N: usize>(body: &[u8]) -> Vec<u8> {
    let length = (body.len() as u64).to_be_bytes();
    [&length[8 - N..], body].concat()
}

fn extension(kind: u16, body: &[u8]) -> Vec<u8> {
    [&kind.to_be_bytes()[..], &sized::<2>(body)].concat()
}

/// A ClientHello of TLS 1.2 with `name` in its server name extension.
fn client_hello(name: &str) -> Vec<u8> {
    let extensions = [
        extension(0, &sized::<2>(&[&[0][..], &sized::<2>(name.as_bytes())].concat())),
        // Groups, point formats, signatures, extended master secret.
        extension(10, &sized::<2>(&[0, 0x1d, 0, 0x17])),
        extension(11, &sized::<1>(&[0])),
        extension(13, &sized::<2>(&[4, 3])),
        extension(23, &[]),
    ];
    let body = [
        &[3, 3][..],
        &[7; 32],
        &[0],
        // ECDHE-ECDSA with AES-128-GCM.
        &sized::<2>(&[0xc0, 0x2b]),
        &sized::<1>(&[0]),
        &sized::<2>(&extensions.concat()),
    ];
    let hello = [&[1][..], &sized::<3>(&body.concat())].concat();
    [&[0x16, 3, 1][..], &sized::<2>(&hello)].concat()
}

/// Microsoft's C client puts a hub's IP address into the server name extension, which RFC 6066 forbids.
#[tokio::test]
async fn an_ip_address_is_accepted_as_server_name() {
    let hub = Emulator::start("");
    for name in ["localhost", "127.0.0.1", "::1", "whatever.example"] {
        for port in [hub.https, hub.mqtts] {
            let mut tcp = TcpStream::connect(port).await.unwrap();
            tcp.write_all(&client_hello(name)).await.unwrap();
            let mut answer = [0; 6];
            soon(tcp.read_exact(&mut answer)).await.unwrap();
            // A handshake record with a ServerHello, and not an alert.
            assert_eq!((answer[0], answer[5]), (0x16, 2), "{name}");
        }
    }
}
