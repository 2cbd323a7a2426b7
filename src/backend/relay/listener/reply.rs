//! The reply to an offer.

use std::time::Duration;

use tokio::time::{Instant, sleep_until};

use super::dials::Dials;
use super::rendezvous::{LIFE, Rendezvous};
use super::starts::OpenStart;
use crate::backend::relay::proto::REJECTION;
use crate::backend::{Cause, Joined, Pending, Rejection, Reply};
use crate::error::{Result, escape};
use crate::net::Network;

/// How long an approved start waits for the next try after its newest was over: a caller makes one every ten seconds.
const NEXT_TRY: Duration = Duration::from_secs(15);

/// The reply to the tries of one start.
#[derive(Debug)]
pub(super) struct RelayReply {
    pub(super) start: OpenStart,
    /// Whether the start has been approved before, and this try may be one that the caller has given up.
    pub(super) is_approved: bool,
    pub(super) network: Network,
    pub(super) dials: Dials,
}

impl Reply for RelayReply {
    fn accept(self: Box<Self>) -> Pending<'static, Result<Joined>> {
        Box::pin(async move {
            let Self { mut start, is_approved, network, dials: _open } = *self;
            loop {
                let rendezvous = start.newest();
                match rendezvous.join(&network).await {
                    Ok(joined) => {
                        start.approve();
                        return Ok(joined);
                    }
                    // An approval may take longer than a try lives.
                    Err(error) => {
                        if is_approved || !start.newer(NEXT_TRY).await {
                            return Err(error);
                        }
                    }
                }
            }
        })
    }

    fn reject(self: Box<Self>, rejection: &Rejection) {
        let Self { start, network, dials, .. } = *self;
        let rendezvous = start.reject(rejection);
        reject(&dials, network, rendezvous, status(rejection.cause), &rejection.reason);
    }

    fn withdrawn(&self) -> Pending<'_, ()> {
        let life = async {
            loop {
                let end = self.start.arrived() + LIFE;
                if end <= Instant::now() {
                    return;
                }
                sleep_until(end).await;
            }
        };
        Box::pin(async {
            tokio::select! {
                () = life => {}
                () = self.dials.over() => {}
            }
        })
    }
}

/// The status that the sender gets. The service's own are 400, 401, 404, 408 and 5xx.
pub(super) fn status(cause: Cause) -> u16 {
    match cause {
        Cause::Target | Cause::Approval => 403,
        Cause::Limit => 429,
    }
}

/// Rejects a try in the background. Our senders recognise the text by its beginning.
pub(super) fn reject(dials: &Dials, network: Network, rendezvous: Rendezvous, status: u16, reason: &str) {
    let text = format!("{REJECTION}{}", escape(reason));
    let rejecting = async move {
        // The gateway would refuse it.
        if rendezvous.arrived.elapsed() < LIFE
            && let Err(error) = rendezvous.reject(&network, status, &text).await
        {
            log::debug!("the rejection did not reach the caller: {error}");
        }
    };
    if !dials.spawn(rejecting) {
        log::debug!("too many rejections wait: one is dropped");
    }
}
