//! Offers from senders that name their stream in azbridge's preamble, which is read after the stream is joined.

use std::fmt;
use std::time::Duration;

use super::dials::Dials;
use crate::backend::relay::phase::GATEWAY;
use crate::backend::relay::preamble::{Proposal, hear};
use crate::backend::{Joined, Pending, Rejection, Reply};
use crate::error::{Error, Problem, Result, escape};

/// The time limit of a sender's preamble, which it sends at once \[B].
const LIMIT: Duration = Duration::from_secs(10);

/// The port of the stream `ssh`.
const SSH: u16 = 22;

/// The reply to a sender that waits for the answer to its preamble.
pub(super) struct PreambleReply {
    proposal: Proposal,
    dials: Dials,
}

impl PreambleReply {
    /// Reads the preamble of a joined stream. Returns the name of the stream too.
    ///
    /// Not cancel-safe: dropping the future drops the stream.
    ///
    /// # Errors
    /// Returns why there is no valid preamble. The sender has been told, if its program would understand it.
    pub(super) async fn read(joined: Joined, dials: Dials) -> Result<(String, Self)> {
        let proposal = hear(joined, LIMIT).await.map_err(|refused| {
            let problem = Problem::because(escape(&refused.to_string()), refused);
            Error::protocol("a sender", problem)
        })?;
        Ok((stream(&proposal.name), Self { proposal, dials }))
    }
}

/// The stream that a port's name asks for.
fn stream(name: &str) -> String {
    let is_number = !name.is_empty() && name.bytes().all(|b| b.is_ascii_digit());
    match name.parse() {
        Ok(SSH) if is_number => "ssh".into(),
        Ok(port @ 1u16..) if is_number => format!("tcp-{port}"),
        _ => name.to_owned(),
    }
}

impl Reply for PreambleReply {
    fn accept(self: Box<Self>) -> Pending<'static, Result<Joined>> {
        Box::pin(async {
            self.proposal.go().await.map_err(|error| Error::network(GATEWAY, "the sender", error))
        })
    }

    fn reject(self: Box<Self>, _: &Rejection) {
        self.dials.spawn(self.proposal.refuse());
    }

    fn withdrawn(&self) -> Pending<'_, ()> {
        // Nothing is read from the sender until its stream begins.
        Box::pin(self.dials.over())
    }
}

impl fmt::Debug for PreambleReply {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PreambleReply").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_s_number_is_the_stream_of_that_port() {
        for (name, expected) in [
            ("22", "ssh"),
            ("0022", "ssh"),
            ("80", "tcp-80"),
            ("ssh", "ssh"),
            ("+22", "+22"),
            ("0", "0"),
            ("70000", "70000"),
            ("", ""),
        ] {
            assert_eq!(stream(name), expected);
        }
    }
}
