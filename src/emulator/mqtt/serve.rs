//! Moves the bytes between one client of MQTT and its connection.

use std::fmt;
use std::future::pending;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{sleep_until, timeout};

use super::client::Client;
use super::service::{LoggedIn, Message, Peer, Service};
use crate::emulator::client_certificate::ClientCertificate;
use crate::net::ServerStream;

/// Bytes read at a time.
const BLOCK: usize = 8 << 10;
/// How long a client may leave unread what it is sent.
const WRITE: Duration = Duration::from_secs(30);

/// What clients of MQTT log in to: the first service that serves their user name.
#[derive(Clone)]
pub(in crate::emulator) struct Mqtt(Arc<[Arc<dyn Service>]>);

impl Mqtt {
    /// MQTT with these services.
    pub(in crate::emulator) fn new(services: Vec<Arc<dyn Service>>) -> Self {
        Self(services.into())
    }

    /// Serves one client of the MQTT port.
    pub(in crate::emulator) async fn serve_tls(self, io: ServerStream<TcpStream>) {
        let certificate = ClientCertificate::of_peer(&io);
        self.serve(io, Peer { authority: None, certificate }).await;
    }

    /// Serves one client until either side ends the connection.
    pub(super) async fn serve<S>(self, mut io: S, peer: Peer)
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let mut client = Client::new(self.0, peer);
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
                message = next_message(&mut client.logged_in) => match message {
                    Ok(message) => client.publish(message),
                    Err(why) => {
                        log::info!("mqtt: {} is disconnected: {why}", client.name());
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
        // The client is offline before its connection ends.
        drop(client);
        let _ = timeout(WRITE, io.shutdown()).await;
    }
}

async fn next_message(client: &mut Option<Box<dyn LoggedIn>>) -> Result<Message, &'static str> {
    match client {
        Some(client) => client.next_message().await,
        None => pending().await,
    }
}

impl fmt::Debug for Mqtt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Mqtt").finish_non_exhaustive()
    }
}
