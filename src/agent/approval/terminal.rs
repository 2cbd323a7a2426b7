//! The question at the device's terminal.

use std::io;

use tokio::sync::Mutex;

use crate::agent::target::Facts;
use crate::error::escape;
use crate::platform::terminal;

/// The device's terminal, which asks one question at a time.
#[derive(Debug, Default)]
pub(super) struct Terminal(Mutex<()>);

impl Terminal {
    /// Asks whether to accept a stream; anything but a yes is a no.
    ///
    /// # Errors
    /// When there is no terminal to ask on.
    pub(super) async fn ask(&self, facts: &Facts<'_>) -> io::Result<bool> {
        let _turn = self.0.lock().await;
        let question = format!(
            "\r\niotstream: accept the stream '{}' to {}? [y/N] ",
            escape(facts.stream),
            escape(&facts.target)
        );
        let answer = terminal::ask(&question).await?;
        Ok(matches!(answer.trim().to_ascii_lowercase().as_str(), "y" | "yes"))
    }
}
