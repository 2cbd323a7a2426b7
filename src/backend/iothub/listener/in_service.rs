//! A hub connection in service: passes offers to the agent, and answers and requests to the hub.

use std::future::pending;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::timeout;

use super::dial::MqttIo;
use super::hub_connection::{ConnectionError, HubConnection, Received, TwinReply};
use super::hub_listener::Device;
use super::login::lost;
use super::reply::HubReply;
use super::twin::Step;
use crate::backend::iothub::proto::{BadOffer, Offer};
use crate::backend::{self, Event};
use crate::error::Result;
use crate::net::Network;

/// The time limit of disconnecting.
const DISCONNECT_LIMIT: Duration = Duration::from_secs(2);

/// A hub connection, and the queue of answers for it.
pub(super) struct InService {
    connection: HubConnection<MqttIo>,
    device: Arc<Device>,
    network: Network,
    events: mpsc::Sender<Event>,
    /// Each open offer holds a clone until its answer is queued.
    answers: mpsc::UnboundedSender<String>,
    /// Bounded by the agent's open offers: queued answers are published before the next offer is read.
    waiting: mpsc::UnboundedReceiver<String>,
}

/// The next event of a hub connection.
pub(super) enum Next {
    /// An answer to publish.
    Answer(String),
    /// An offer was passed to the agent.
    Offered,
    /// A malformed offer arrived that cannot be answered.
    Unanswerable,
    /// The hub replied to a request to the twin.
    Twin(TwinReply),
}

impl InService {
    pub(super) fn new(
        connection: HubConnection<MqttIo>,
        device: Arc<Device>,
        network: Network,
        events: mpsc::Sender<Event>,
    ) -> Self {
        let (answers, waiting) = mpsc::unbounded_channel();
        Self { connection, device, network, events, answers, waiting }
    }

    /// Whether an offer awaits its answer.
    pub(super) fn is_answer_pending(&self) -> bool {
        self.answers.strong_count() > 1
    }

    /// Waits for the next answer, offer or reply. Answers come first. An offer waits until the agent has received the
    /// previous one.
    ///
    /// Cancel-safe.
    ///
    /// # Errors
    /// Returns why the hub connection failed.
    pub(super) async fn next(&mut self) -> Result<Next> {
        let Self { connection, device, network, events, answers, waiting } = self;
        let received = async {
            match events.reserve().await {
                Ok(room) => (room, connection.receive().await),
                // The agent has ended, and the next order is to stop.
                Err(_) => pending().await,
            }
        };
        tokio::select! {
            biased;
            Some(answer) = waiting.recv() => Ok(Next::Answer(answer)),
            (room, received) = received => {
                let offer = match received.map_err(|error| lost(device, error))? {
                    Received::Offer(offer) => offer,
                    Received::Twin(reply) => return Ok(Next::Twin(reply)),
                };
                let (event, rejection) = event(offer, device, network, answers);
                let is_offer = matches!(event, Event::Offer(_));
                room.send(event);
                Ok(match rejection {
                    Some(rejection) => Next::Answer(rejection),
                    None if is_offer => Next::Offered,
                    None => Next::Unanswerable,
                })
            }
        }
    }

    /// Publishes an answer. Not cancel-safe.
    ///
    /// # Errors
    /// Returns why the hub connection failed.
    pub(super) async fn publish(&mut self, answer: &str) -> Result<()> {
        self.connection.publish(answer).await.map_err(|error| lost(&self.device, error))
    }

    /// Makes a request to the twin. [`Self::next`] sends it.
    ///
    /// # Errors
    /// Returns an error if the packet is invalid.
    pub(super) fn request(&mut self, step: Step) -> Result<()> {
        let requested = match step {
            Step::Subscribe => self.connection.subscribe_to_twin(),
            Step::Request(request, id) => self.connection.request(&request.topic(id), request.payload()),
        };
        requested.map_err(|error| lost(&self.device, error))
    }

    /// Unsubscribes, publishes the answers to open offers within `limit`, and disconnects.
    pub(super) async fn leave(self, limit: Duration) {
        let Self { mut connection, device, network, events, answers, mut waiting } = self;
        let leaving = async {
            for offer in connection.unsubscribe().await? {
                let (event, rejection) = event(offer, &device, &network, &answers);
                // Fails if the agent has ended.
                let _ = events.send(event).await;
                if let Some(rejection) = rejection {
                    connection.publish(&rejection).await?;
                }
            }
            drop(answers);
            while let Some(answer) = waiting.recv().await {
                connection.publish(&answer).await?;
            }
            Ok::<_, ConnectionError>(())
        };
        match timeout(limit, leaving).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => log::warn!("leaving: {}", lost(&device, error)),
            Err(_elapsed) => log::warn!("leaving: not every offer has been answered"),
        }
        // A hub that does not read must not delay the end.
        let _ = timeout(DISCONNECT_LIMIT, connection.end()).await;
    }
}

/// The event for an offer, and the rejection of an unusable one.
fn event(
    offer: std::result::Result<Offer, BadOffer>,
    device: &Device,
    network: &Network,
    answers: &mpsc::UnboundedSender<String>,
) -> (Event, Option<String>) {
    let reply = offer.and_then(|offer| {
        let stream = offer.stream.clone();
        Ok((stream, HubReply::new(offer, network.clone(), answers.clone())?))
    });
    match reply {
        // The hub's request ids are small counters that support cannot look up, and it does not name the requester.
        Ok((stream, reply)) => {
            let (reply, is_approved) = (Box::new(reply), false);
            (Event::Offer(backend::Offer { stream, id: None, requester: None, is_approved, reply }), None)
        }
        Err(bad) => {
            let problem = format!("{}: {}", device.credential.hub, bad.problem);
            let rejection = bad.rejection();
            (Event::Unusable { stream: bad.stream, problem }, rejection)
        }
    }
}
