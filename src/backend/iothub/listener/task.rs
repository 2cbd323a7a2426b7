//! The listener's task: keeps the device connected to its hub.

use std::future::pending;
use std::pin::pin;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until};

use super::dial::{MqttIo, dial};
use super::hub_connection::HubConnection;
use super::hub_listener::HubListener;
use super::in_service::{InService, Next};
use super::login::log_in;
use super::renewal::Renewal;
use super::retry::Retry;
use crate::backend::Pending;
use crate::backend::iothub::error::Error as HubError;
use crate::backend::listener;
use crate::backend::{Event, Order, Orders, Reread, Source};
use crate::error::{Error, Exit, Result};
use crate::net::Network;

/// A hub connection that lasts this long, or receives an offer, is a good one: the next failure counts as the first. Two
/// agents with one identity end each other's connections at once, and must slow down.
const GOOD: Duration = Duration::from_secs(60);

/// How long the last answers may take when the listener stops.
const STOP_LIMIT: Duration = Duration::from_secs(2);

/// The next step after a hub connection that did not fail.
pub(super) enum Continuation {
    /// End the task.
    Stop,
    /// Log in again, over this connection if it is already dialled.
    Renew(Option<MqttIo>),
}

/// The task, and its configuration until the next order.
pub(super) struct Task {
    device: Arc<HubListener>,
    network: Network,
    reread: Option<Reread>,
    events: mpsc::Sender<Event>,
    orders: Orders,
    retry: Retry,
}

impl Task {
    pub(super) fn new(
        device: Arc<HubListener>,
        network: Network,
        reread: Option<Reread>,
        source: Source,
    ) -> Self {
        let Source { events, orders } = source;
        Self { device, network, reread, events, orders, retry: Retry::new() }
    }

    /// Runs until [`Order::Stop`].
    pub(super) async fn run(mut self) {
        let mut dialled = None;
        loop {
            let connecting = connect(&self.device, &self.network, dialled.take());
            let over = tokio::select! {
                connected = connecting => match connected {
                    Ok((connection, renewal)) => {
                        let since = Instant::now();
                        let over = self.serve(connection, renewal).await;
                        if since.elapsed() > GOOD {
                            self.retry.reset();
                        }
                        over
                    }
                    Err(error) => Err(error),
                },
                order = self.orders.next() => if self.obey(order) { continue } else { return },
            };
            match over {
                Ok(Continuation::Stop) => return,
                Ok(Continuation::Renew(io)) => dialled = io,
                Err(error) => {
                    if !self.wait_after(error).await {
                        return;
                    }
                }
            }
        }
    }

    /// Waits before the next attempt, and rereads a credential that the hub refuses. Returns false for [`Order::Stop`].
    async fn wait_after(&mut self, error: Error) -> bool {
        let retry_in = self.retry.wait_after(&error);
        let reread = self.reread.clone().filter(|_| is_refusal(&error));
        // Fails if the agent has ended. The next order is then to stop.
        let _ = self.events.send(Event::Trouble { error, retry_in }).await;
        tokio::select! {
            new = listener::wait_and_reread(retry_in, reread) => {
                if let Some(new) = new {
                    self.use_credential(&new);
                }
                true
            }
            order = self.orders.next() => self.obey(order),
        }
    }

    /// Uses the credential of a reread configuration. Its other settings wait for [`Order::Reload`].
    fn use_credential(&mut self, new: &HubListener) {
        let credential = new.credential.clone();
        self.device = Arc::new(HubListener { credential, ..(*self.device).clone() });
    }

    /// Serves a hub connection until it ends or is renewed. A hub that does not read delays no order. Offers have the lowest
    /// priority, so that a flood of them delays nothing else.
    ///
    /// # Errors
    /// Returns why the hub connection failed.
    pub(super) async fn serve(
        &mut self,
        connection: HubConnection<MqttIo>,
        mut renewal: Option<Renewal>,
    ) -> Result<Continuation> {
        let mut device = self.device.clone();
        // Fails if the agent has ended. The next order is then to stop.
        let _ = self.events.send(Event::InService(device.clone())).await;
        let mut in_service =
            InService::new(connection, device.clone(), self.network.clone(), self.events.clone());
        let mut dialling: Option<Pending<'static, Result<MqttIo>>> = None;
        loop {
            if !Arc::ptr_eq(&device, &self.device) {
                // The new configuration may need another login.
                (device, renewal, dialling) = (self.device.clone(), Some(Renewal::now()), None);
            }
            let due = renewal.filter(|_| dialling.is_none());
            let due = due.map(|renewal| renewal.due(in_service.is_answer_pending()));
            tokio::select! {
                biased;
                order = self.orders.next() => if !self.obey(order) {
                    in_service.leave(STOP_LIMIT).await;
                    return Ok(Continuation::Stop);
                },
                dialled = async {
                    match &mut dialling {
                        Some(dialling) => dialling.await,
                        None => pending().await,
                    }
                } => {
                    dialling = None;
                    match (dialled, &mut renewal) {
                        (Ok(io), Some(renewal)) => {
                            let limit = renewal.end.saturating_duration_since(Instant::now());
                            return Ok(self.hand_over(in_service, limit, io).await);
                        }
                        (Err(error), Some(renewal)) => {
                            let wait = self.retry.wait_after(&error);
                            log::warn!("renewal: {error}; trying again in {:.1} s", wait.as_secs_f64());
                            renewal.put_off(wait);
                        }
                        (_, None) => {}
                    }
                }
                () = sleep_until(due.unwrap_or_else(Instant::now)), if due.is_some() => {
                    log::info!("renewing the hub connection");
                    let (device, network) = (device.clone(), self.network.clone());
                    dialling = Some(Box::pin(async move { dial(&device, &network).await }));
                }
                next = in_service.next() => match next? {
                    Next::Answer(answer) => if !self.publish(&mut in_service, &answer).await? {
                        return Ok(Continuation::Stop);
                    },
                    Next::Offered => self.retry.reset(),
                    Next::Unanswerable => {}
                },
            }
        }
    }

    /// Publishes an answer, and accepts orders meanwhile. Returns false for [`Order::Stop`].
    async fn publish(&mut self, in_service: &mut InService, answer: &str) -> Result<bool> {
        let mut publishing = pin!(in_service.publish(answer));
        loop {
            tokio::select! {
                biased;
                published = &mut publishing => return published.map(|()| true),
                order = self.orders.next() => if !self.obey(order) { return Ok(false) },
            }
        }
    }

    /// Replaces a hub connection by the next one, over `io`. An order ends the wait for answers, because a stop must not wait
    /// for a hub that does not read.
    async fn hand_over(&mut self, in_service: InService, limit: Duration, io: MqttIo) -> Continuation {
        let order = tokio::select! {
            () = in_service.leave(limit) => return Continuation::Renew(Some(io)),
            order = self.orders.next() => order,
        };
        // `io` was dialled for the previous configuration.
        if self.obey(order) { Continuation::Renew(None) } else { Continuation::Stop }
    }

    /// Carries out an order. Returns false for [`Order::Stop`].
    fn obey(&mut self, order: Order) -> bool {
        let Order::Reload(listener, network) = order else { return false };
        let Some(device) = listener.downcast() else { return false };
        (self.device, self.network) = (device, network);
        true
    }
}

/// Whether a changed credential may help.
fn is_refusal(error: &Error) -> bool {
    matches!(error.fault(), Some(HubError::Login { .. }))
        || matches!(error.exit(), Exit::Denied | Exit::Config)
}

/// Logs in, over `io` if it is already dialled. Returns the hub connection and its renewal.
async fn connect(
    device: &HubListener,
    network: &Network,
    io: Option<MqttIo>,
) -> Result<(HubConnection<MqttIo>, Option<Renewal>)> {
    let io = match io {
        Some(io) => io,
        None => dial(device, network).await?,
    };
    let token = device.credential.login_token(SystemTime::now(), device.token_life)?;
    let renewal = token.as_ref().and_then(|token| token.renewable).map(Renewal::within);
    let connection = log_in(io, token.as_ref(), device, network).await?;
    Ok((connection, renewal))
}
