//! The clients of a socket of the agent's.

use std::convert::Infallible;
use std::io;

use tokio::task::JoinSet;
use tokio::time::sleep;

use super::patience::RETRY_EVERY;

/// Serves the connections that `accept` yields, `most` at a time. Dropping the future ends them.
pub(super) async fn serve_each<S, A, C>(
    what: &str,
    most: usize,
    accept: impl Fn() -> A,
    serve: impl Fn(S) -> C,
) -> Infallible
where
    A: Future<Output = io::Result<S>>,
    C: Future<Output = ()> + Send + 'static,
{
    let mut served = JoinSet::new();
    loop {
        while served.try_join_next().is_some() {}
        if served.len() >= most {
            served.join_next().await;
        }
        match accept().await {
            Ok(stream) => drop(served.spawn(serve(stream))),
            Err(error) => {
                log::warn!("{what}: {error}");
                sleep(RETRY_EVERY).await;
            }
        }
    }
}
