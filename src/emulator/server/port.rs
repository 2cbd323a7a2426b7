//! A TLS port: accepts connections and serves each in a separate task.

use std::sync::Arc;
use std::time::Duration;

use rustls::ServerConfig;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use crate::net::{ServerStream, accept};

/// Limit of a TLS handshake.
const HANDSHAKE: Duration = Duration::from_secs(30);
/// Connections on each port at a time.
const MAX_CONNECTIONS: usize = 2048;
/// How long a port rests when no connection can be accepted, such as when no file descriptor is left.
const REST: Duration = Duration::from_millis(100);

/// Serves a port for ever; dropping the future ends every connection.
pub(in crate::emulator) async fn serve<F>(
    listener: &TcpListener,
    tls: &Arc<ServerConfig>,
    serve: impl Fn(ServerStream<TcpStream>) -> F + Clone + Send + 'static,
) where
    F: Future<Output = ()> + Send,
{
    let slots = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    let mut connections = JoinSet::new();
    loop {
        // The semaphore is never closed.
        let Ok(slot) = Arc::clone(&slots).acquire_owned().await else { return };
        let tcp = tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((tcp, _)) => tcp,
                Err(error) => {
                    log::warn!("cannot accept connections: {error}");
                    sleep(REST).await;
                    continue;
                }
            },
            Some(_) = connections.join_next() => continue,
        };
        let _ = tcp.set_nodelay(true);
        let (tls, serve) = (Arc::clone(tls), serve.clone());
        connections.spawn(async move {
            let _slot = slot;
            match timeout(HANDSHAKE, accept(tls, tcp)).await {
                Ok(Ok(io)) => serve(io).await,
                Ok(Err(error)) => log::info!("tls: {error}"),
                Err(_) => log::info!("tls: the handshake timed out"),
            }
        });
    }
}
