//! Moves the bytes between one client of MQTT and its connection.

use std::future::pending;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{sleep_until, timeout};
use tokio_rustls::server::TlsStream;

use super::client::Client;
use crate::emulator::client_certificate::Thumbprint;
use crate::emulator::iothub::hub::Hub;
use crate::emulator::iothub::hub_connections::{HubConnection, Message};

/// Bytes read at a time.
const BLOCK: usize = 8 << 10;
/// How long a client may leave unread what it is sent.
const WRITE: Duration = Duration::from_secs(30);

/// Serves one client of the MQTT port.
pub(in crate::emulator) async fn serve_tls(io: TlsStream<TcpStream>, hub: Arc<Hub>) {
    let certificate = Thumbprint::of_peer(io.get_ref().1);
    serve(io, hub, None, certificate).await;
}

/// Serves one client until either side ends the connection. `authority` is where the client reached the HTTPS port, if
/// it came that way; `certificate` is what it showed.
pub(super) async fn serve<S>(
    mut io: S,
    hub: Arc<Hub>,
    authority: Option<String>,
    certificate: Option<Thumbprint>,
) where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let mut client = Client::new(hub, authority, certificate);
    let mut block = vec![0; BLOCK];
    loop {
        if !client.out.is_empty() {
            let written = timeout(WRITE, async {
                io.write_all(&client.out).await?;
                io.flush().await
            });
            match written.await {
                Ok(Ok(())) => {}
                Ok(Err(error)) => {
                    log::info!("mqtt: {}: {error}", client.name());
                    break;
                }
                Err(_) => {
                    log::info!("mqtt: {} is disconnected: it does not read", client.name());
                    break;
                }
            }
            client.out.clear();
        }
        if client.over {
            break;
        }
        let deadline = client.deadline();
        tokio::select! {
            count = io.read(&mut block) => match count {
                Ok(count @ 1..) => client.receive(&block[..count]),
                _ => break,
            },
            message = next_message(client.connection.as_mut()) => match message {
                Some(message) => client.publish(message),
                // The hub has one hub connection for each identity [D].
                None => {
                    let name = client.name();
                    log::info!("mqtt: {name} is disconnected: it has logged in again, or is removed or disabled");
                    break;
                }
            },
            () = sleep_until(deadline) => {
                let why = if client.has_expired() { "its token has expired" } else { "it was silent too long" };
                log::info!("mqtt: {} is disconnected: {why}", client.name());
                break;
            }
        }
    }
    log::info!("mqtt: {} is gone", client.name());
    // The device is offline before its connection ends.
    drop(client);
    let _ = timeout(WRITE, io.shutdown()).await;
}

async fn next_message(connection: Option<&mut HubConnection>) -> Option<Message> {
    match connection {
        Some(connection) => connection.message().await,
        None => pending().await,
    }
}
