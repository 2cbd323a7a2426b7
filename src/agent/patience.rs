//! Opens what another process may hold, such as a socket.

use std::io;
use std::time::Duration;

use tokio::time::sleep;

/// How long to wait before the next attempt.
pub(super) const RETRY_EVERY: Duration = Duration::from_secs(10);

/// Calls `open` until it succeeds. Each problem is a warning once, since the agent goes on without `what`.
pub(super) async fn until_opened<T, F: Future<Output = io::Result<T>>>(
    what: &str,
    open: impl Fn() -> F,
) -> T {
    let mut said = None;
    loop {
        match open().await {
            Ok(opened) => return opened,
            Err(error) => {
                let problem = error.to_string();
                if said.as_ref() != Some(&problem) {
                    log::warn!("{what}: {problem}; the agent serves on without it");
                }
                said = Some(problem);
            }
        }
        sleep(RETRY_EVERY).await;
    }
}
