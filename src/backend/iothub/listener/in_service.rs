//! A hub connection in service: offers go to the agent, answers to the hub.

use std::future::pending;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::timeout;

use super::dial::MqttIo;
use super::hub_connection::{ConnectionError, HubConnection};
use super::hub_listener::HubListener;
use super::login::lost;
use super::reply::HubReply;
use crate::backend::iothub::proto::{BadOffer, Offer};
use crate::backend::listener::{self, Event};
use crate::error::Result;
use crate::net::Network;

/// How long disconnecting may take.
const DISCONNECT_LIMIT: Duration = Duration::from_secs(2);

/// A hub connection, and the answers that wait for it.
pub(super) struct InService {
    connection: HubConnection<MqttIo>,
    device: Arc<HubListener>,
    network: Network,
    events: mpsc::Sender<Event>,
    /// Every offer holds a clone until its answer is in the queue.
    answers: mpsc::UnboundedSender<String>,
    /// Bounded by the offers that the agent has open: no offer is read before the answers here are published.
    waiting: mpsc::UnboundedReceiver<String>,
}

/// What has happened.
pub(super) enum Next {
    /// An answer is to be published.
    Answer(String),
    /// The agent has been given an offer.
    Offered,
    /// A malformed offer, which cannot be answered either.
    Unanswerable,
}

impl InService {
    pub(super) fn new(
        connection: HubConnection<MqttIo>,
        device: Arc<HubListener>,
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

    /// Waits for the next answer or offer. Answers come first; an offer waits until the agent has taken the one before.
    /// Cancel-safe.
    ///
    /// # Errors
    /// Why the hub connection has ended.
    pub(super) async fn next(&mut self) -> Result<Next> {
        let Self { connection, device, network, events, answers, waiting } = self;
        let offer = async {
            match events.reserve().await {
                Ok(room) => (room, connection.offer().await),
                // The agent has ended: the next order is to stop.
                Err(_) => pending().await,
            }
        };
        tokio::select! {
            biased;
            Some(answer) = waiting.recv() => Ok(Next::Answer(answer)),
            (room, offer) = offer => {
                let offer = offer.map_err(|error| lost(device, error))?;
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
    /// Why the hub connection has ended.
    pub(super) async fn publish(&mut self, answer: &str) -> Result<()> {
        self.connection.publish(answer).await.map_err(|error| lost(&self.device, error))
    }

    /// Takes no more offers, publishes the answers that are still to come, within `limit`, and disconnects.
    pub(super) async fn leave(self, limit: Duration) {
        let Self { mut connection, device, network, events, answers, mut waiting } = self;
        let leaving = async {
            for offer in connection.unsubscribe().await? {
                let (event, rejection) = event(offer, &device, &network, &answers);
                // Where the agent has ended, nobody accepts it.
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
        // A hub that does not read must not hold up the end.
        let _ = timeout(DISCONNECT_LIMIT, connection.end()).await;
    }
}

/// What the agent is told of an offer, and the rejection of one that no stream can come of.
fn event(
    offer: std::result::Result<Offer, BadOffer>,
    device: &HubListener,
    network: &Network,
    answers: &mpsc::UnboundedSender<String>,
) -> (Event, Option<String>) {
    let reply = offer.and_then(|offer| {
        let stream = offer.stream.clone();
        Ok((stream, HubReply::new(offer, network.clone(), answers.clone())?))
    });
    match reply {
        // The hub's request ids are small counters that its support cannot look up, and it does not say who asks.
        Ok((stream, reply)) => {
            (Event::Offer(listener::Offer { stream, id: None, asker: None, reply: Box::new(reply) }), None)
        }
        Err(bad) => {
            let problem = format!("{}: {}", device.credential.hub, bad.problem);
            let rejection = bad.rejection();
            (Event::Unusable { stream: bad.stream, problem }, rejection)
        }
    }
}
