//! The answer to an offer, and the stream that it opens.

use std::fmt;

use tokio::sync::mpsc::UnboundedSender;

use crate::backend::iothub::gateway::join;
use crate::backend::iothub::proto::{BadOffer, Decision, Offer};
use crate::backend::joined::{Joined, Pending};
use crate::backend::listener::{Rejection, Reply};
use crate::error::Result;
use crate::net::{Network, WssUrl};
use crate::time::phase::Phases;

/// The answer to one offer, over the hub connection that the offer came from: in another one, the same request id may be
/// another user's.
pub(super) struct HubReply {
    offer: Offer,
    url: WssUrl,
    network: Network,
    /// Leads to the hub connection, which counts the senders to know whether an answer is pending.
    answers: UnboundedSender<String>,
}

impl HubReply {
    /// # Errors
    /// When the stream cannot be joined: it is joined over TLS, or not at all.
    pub(super) fn new(
        offer: Offer,
        network: Network,
        answers: UnboundedSender<String>,
    ) -> std::result::Result<Self, BadOffer> {
        match WssUrl::parse(&offer.url) {
            Ok(url) => Ok(Self { offer, url, network, answers }),
            Err(problem) => Err(offer.bad(problem)),
        }
    }
}

impl Reply for HubReply {
    fn accept(self: Box<Self>) -> Pending<'static, Result<Joined>> {
        Box::pin(async move {
            let Self { offer, url, network, answers } = *self;
            // Where the hub connection has ended, the gateway knows of no acceptance and refuses.
            let _ = answers.send(offer.answer(Decision::Accept));
            drop(answers);
            let websocket = join(&network, &url, &offer.token, &mut Phases::default()).await?;
            Ok(Joined { io: Box::new(websocket.io), early: websocket.early })
        })
    }

    fn reject(self: Box<Self>, _: &Rejection) {
        // Where the hub connection has ended, the hub does not wait for an answer.
        let _ = self.answers.send(self.offer.answer(Decision::Reject));
    }

    fn withdrawn(&self) -> Pending<'_, ()> {
        Box::pin(self.answers.closed())
    }
}

impl fmt::Debug for HubReply {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The rest of the URL may be a secret.
        f.debug_struct("HubReply").field("gateway", &self.url.endpoint).finish_non_exhaustive()
    }
}
