//! The reply to an offer.

use std::fmt;

use tokio::sync::mpsc::UnboundedSender;

use crate::backend::iothub::gateway::join;
use crate::backend::iothub::proto::{BadOffer, Decision, Offer};
use crate::backend::{Joined, Pending};
use crate::backend::{Rejection, Reply};
use crate::error::Result;
use crate::net::{Network, WssUrl};
use crate::time::phase::Phases;

/// The reply to one offer, over the hub connection that the offer came from. Another connection may use the same request
/// id for another offer.
pub(super) struct HubReply {
    offer: Offer,
    url: WssUrl,
    network: Network,
    /// The queue of the hub connection, which counts the senders as open offers.
    answers: UnboundedSender<String>,
}

impl HubReply {
    /// The reply to `offer`.
    ///
    /// # Errors
    /// Returns [`BadOffer`] if the stream's URL is not a valid `wss:` URL.
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
            // Fails if the hub connection has ended. The gateway then refuses the stream.
            let _ = answers.send(offer.answer(Decision::Accept));
            drop(answers);
            let websocket = join(&network, &url, &offer.token, &mut Phases::default()).await?;
            Ok(websocket.into())
        })
    }

    fn reject(self: Box<Self>, _: &Rejection) {
        // Fails if the hub connection has ended. The hub then expects no answer.
        let _ = self.answers.send(self.offer.answer(Decision::Reject));
    }

    fn withdrawn(&self) -> Pending<'_, ()> {
        Box::pin(self.answers.closed())
    }
}

impl fmt::Debug for HubReply {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The rest of the URL may contain a secret.
        f.debug_struct("HubReply").field("gateway", &self.url.endpoint).finish_non_exhaustive()
    }
}
