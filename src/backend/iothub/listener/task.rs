//! The listener's task: keeps the device connected to its hub.

use std::future::pending;
use std::pin::pin;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until};

use super::contention::Contention;
use super::credential::LoginToken;
use super::credential_source::Doubt;
use super::dial::{MqttIo, dial};
use super::hub_connection::HubConnection;
use super::hub_listener::{Device, HubListener};
use super::in_service::{InService, Next};
use super::login::{is_doubtful, is_ended, log_in};
use super::renewal::Renewal;
use super::retry::Retry;
use super::twin::Twin;
use crate::backend::Pending;
use crate::backend::credential_watch::CredentialWatch;
use crate::backend::expiry::ExpiryLog;
use crate::backend::iothub::error::Error as HubError;
use crate::backend::{Event, Login, Order, Orders, Reread, Source};
use crate::error::{Error, Exit, Result};
use crate::net::{ClientCertificate, Network};

/// A hub connection that lasts this long, or receives an offer, is a good one: the next failure counts as the first. Two
/// agents with one identity end each other's connections at once, and must slow down.
const GOOD: Duration = Duration::from_secs(60);

/// How long the last answers may take when the listener stops.
const STOP_LIMIT: Duration = Duration::from_secs(2);

/// Dials the hub of a device. Tests have one in memory.
pub(super) type Dial = Arc<dyn Fn(Arc<Device>, Network) -> Pending<'static, Result<MqttIo>> + Send + Sync>;

/// The next step after a hub connection that did not fail.
pub(super) enum Continuation {
    /// End the task.
    Stop,
    /// Log in again, over this connection if it is already dialled.
    Renew(Option<Dialled>),
}

/// A connection for the next login of a device.
pub(super) struct Dialled {
    device: Arc<Device>,
    token: Option<LoginToken>,
    renewal: Option<Renewal>,
    io: MqttIo,
}

/// The first step of a renewal.
enum Prepared {
    /// The files of the credential had changed, and it was read again.
    Reread(Arc<HubListener>),
    Dialled(Dialled),
}

/// A login.
pub(super) struct LoggedIn {
    pub(super) device: Arc<Device>,
    pub(super) connection: HubConnection<MqttIo>,
    /// When to renew it; `None` if the device cannot.
    pub(super) renewal: Option<Renewal>,
}

/// The task, and its configuration until the next order.
pub(super) struct Task {
    listener: Arc<HubListener>,
    network: Network,
    pub(super) dial: Dial,
    watch: CredentialWatch<HubListener>,
    expiry: ExpiryLog,
    events: mpsc::Sender<Event>,
    orders: Orders,
    retry: Retry,
    contention: Contention,
    twin: Twin,
    /// Whether the hub has refused the last login.
    is_refused: bool,
    /// Whether the next login replaces one that is in service.
    is_renewal: bool,
    /// Since when the hub is out of reach.
    unreachable_since: Option<Instant>,
}

impl Task {
    pub(super) fn new(
        listener: Arc<HubListener>,
        network: Network,
        reread: Option<Reread>,
        source: Source,
    ) -> Self {
        let Source { events, orders, reports } = source;
        Self {
            listener,
            network,
            dial: Arc::new(|device, network| Box::pin(async move { dial(&device, &network).await })),
            watch: CredentialWatch::new(reread),
            expiry: ExpiryLog::default(),
            events,
            orders,
            retry: Retry::new(),
            contention: Contention::default(),
            twin: Twin::new(reports),
            is_refused: false,
            is_renewal: false,
            unreachable_since: None,
        }
    }

    /// Runs until [`Order::Stop`].
    pub(super) async fn run(mut self) {
        let mut dialled = None;
        loop {
            let doubt = self.doubt();
            let connecting =
                connect(&self.listener, &self.network, &self.dial, doubt, dialled.take(), &mut self.expiry);
            let over = tokio::select! {
                connected = connecting => match connected {
                    Ok(logged_in) => self.serve_for_a_while(logged_in).await,
                    Err(error) => {
                        self.note_failure(&error);
                        Err(error)
                    }
                },
                order = self.orders.next() => if self.obey(order) { continue } else { return },
            };
            self.is_renewal = matches!(over, Ok(Continuation::Renew(_)));
            match over {
                Ok(Continuation::Stop) => return,
                Ok(Continuation::Renew(next)) => dialled = next,
                Err(error) => {
                    if !self.wait_after(error).await {
                        return;
                    }
                }
            }
        }
    }

    /// Serves a hub connection, and draws conclusions from the time that it lasted.
    async fn serve_for_a_while(&mut self, logged_in: LoggedIn) -> Result<Continuation> {
        self.listener.source.accepted();
        if self.is_refused {
            // The device may have been registered anew.
            self.twin.forget();
        }
        (self.is_refused, self.unreachable_since) = (false, None);
        let device = logged_in.device.clone();
        let since = Instant::now();
        let over = self.serve(logged_in).await;
        let lasted = since.elapsed();
        // A hub without twins may end the connection over a request to one.
        if over.is_err() && self.twin.disconnected() {
            self.reset_after(lasted);
            return over;
        }
        match over {
            Err(error) if is_ended(&error) => {
                self.contention.ended_by_hub(lasted);
                if !self.contention.is_noticed() {
                    self.reset_after(lasted);
                    return Err(error);
                }
                Err(thrown_out(&device, &self.contention))
            }
            over => {
                // A renewal does not show that another client has gone.
                if over.is_err() {
                    self.contention.reset();
                }
                self.reset_after(lasted);
                over
            }
        }
    }

    fn reset_after(&mut self, lasted: Duration) {
        if lasted > GOOD {
            self.retry.reset();
        }
    }

    /// Draws conclusions from a failed login.
    fn note_failure(&mut self, error: &Error) {
        self.contention.reset();
        self.is_refused |= is_doubtful(error);
        let is_away = matches!(error, Error::Network { .. } | Error::Timeout { .. });
        self.unreachable_since = is_away.then(|| self.unreachable_since.unwrap_or_else(Instant::now));
    }

    /// Whether the credential of the last login is in doubt.
    fn doubt(&self) -> Doubt {
        match self.unreachable_since {
            _ if self.is_refused => Doubt::Refused,
            Some(since) => Doubt::Unreachable(since.elapsed()),
            None => Doubt::None,
        }
    }

    /// Waits before the next attempt, and rereads a credential that the hub refuses or that has been renewed. Returns false
    /// for [`Order::Stop`].
    async fn wait_after(&mut self, error: Error) -> bool {
        let retry_in = self.retry.wait_after(&error);
        let is_refused = is_refusal(&error);
        // Fails if the agent has ended. The next order is then to stop.
        let _ = self.events.send(Event::Trouble { error, retry_in }).await;
        tokio::select! {
            new = self.watch.wait_and_reread(retry_in, is_refused, &self.listener.files) => {
                if let Some(new) = new {
                    self.use_source(&new);
                }
                true
            }
            order = self.orders.next() => self.obey(order),
        }
    }

    /// Uses the credential of a reread configuration. Its other settings wait for [`Order::Reload`].
    fn use_source(&mut self, new: &HubListener) {
        // A source that is the same service may prove the identity with a renewed key or certificate.
        if !new.source.is_same(&*self.listener.source) || new.files != self.listener.files {
            let settings = self.listener.settings;
            self.listener = Arc::new(HubListener { settings, ..new.clone() });
        }
    }

    /// Serves a hub connection until it ends or is renewed. A hub that does not read delays no order. Offers have the lowest
    /// priority, so that a flood of them delays nothing else.
    ///
    /// # Errors
    /// Returns why the hub connection failed.
    pub(super) async fn serve(&mut self, logged_in: LoggedIn) -> Result<Continuation> {
        let LoggedIn { device, connection, mut renewal } = logged_in;
        let mut listener = self.listener.clone();
        let remark = self.contention.is_noticed().then(|| thrown_out(&device, &self.contention).to_string());
        // Fails if the agent has ended. The next order is then to stop.
        let login = Login {
            is_renewal: std::mem::take(&mut self.is_renewal),
            credential_ends: device.credential.end(),
        };
        let _ = self.events.send(Event::InService { listener: listener.clone(), remark, login }).await;
        let certificate = device.credential.certificate().map(ClientCertificate::validity);
        self.twin.connected(&device.credential);
        // After a change of the configuration, the next hub connection reports, maybe to another twin.
        let mut is_replaced = false;
        let mut in_service = InService::new(connection, device, self.network.clone(), self.events.clone());
        let mut preparing: Option<Pending<'static, Result<Prepared>>> = None;
        loop {
            if !Arc::ptr_eq(&listener, &self.listener) {
                // The new configuration may need another login.
                (listener, renewal, preparing) = (self.listener.clone(), Some(Renewal::now()), None);
                is_replaced = true;
            }
            let due = renewal.filter(|_| preparing.is_none());
            let due = due.map(|renewal| renewal.due(in_service.is_answer_pending()));
            tokio::select! {
                biased;
                order = self.orders.next() => if !self.obey(order) {
                    in_service.leave(STOP_LIMIT).await;
                    return Ok(Continuation::Stop);
                },
                prepared = async {
                    match &mut preparing {
                        Some(preparing) => preparing.await,
                        None => pending().await,
                    }
                } => {
                    preparing = None;
                    match (prepared, &mut renewal) {
                        (Ok(Prepared::Reread(new)), _) => self.use_source(&new),
                        (Ok(Prepared::Dialled(next)), Some(renewal)) => {
                            let limit = renewal.end.saturating_duration_since(Instant::now());
                            return Ok(self.hand_over(in_service, limit, next).await);
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
                    let (listener, network, dial) = (listener.clone(), self.network.clone(), self.dial.clone());
                    let look = self.watch.look(&listener.files);
                    preparing = Some(Box::pin(async move {
                        match look.await {
                            Some(new) => Ok(Prepared::Reread(new)),
                            None => dial_next(&listener, &network, &dial, Doubt::None).await.map(Prepared::Dialled),
                        }
                    }));
                }
                new = self.watch.next(&listener.files) => {
                    if let Some(validity) = &certificate {
                        self.expiry.look(validity, SystemTime::now());
                    }
                    if let Some(new) = new {
                        self.use_source(&new);
                    }
                }
                step = self.twin.next(), if !is_replaced => in_service.request(step)?,
                next = in_service.next() => match next? {
                    Next::Answer(answer) => if !self.publish(&mut in_service, &answer).await? {
                        return Ok(Continuation::Stop);
                    },
                    Next::Offered => self.retry.reset(),
                    Next::Unanswerable => {}
                    Next::Twin(reply) => self.twin.receive(reply),
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

    /// Replaces a hub connection by the `next` one. An order ends the wait for answers, because a stop must not wait for a hub
    /// that does not read.
    async fn hand_over(&mut self, in_service: InService, limit: Duration, next: Dialled) -> Continuation {
        let order = tokio::select! {
            () = in_service.leave(limit) => return Continuation::Renew(Some(next)),
            order = self.orders.next() => order,
        };
        // `next` was dialled for the previous configuration.
        if self.obey(order) { Continuation::Renew(None) } else { Continuation::Stop }
    }

    /// Carries out an order. Returns false for [`Order::Stop`].
    fn obey(&mut self, order: Order) -> bool {
        let Order::Reload(listener, network) = order else { return false };
        let Some(listener) = listener.downcast::<HubListener>() else { return false };
        let mut new = (*listener).clone();
        if new.source.is_same(&*self.listener.source) {
            new.source = self.listener.source.clone();
        }
        (self.listener, self.network) = (Arc::new(new), network);
        // The user may reload because the twin is not as it should be.
        self.twin.forget();
        true
    }
}

/// Whether a changed credential may help.
fn is_refusal(error: &Error) -> bool {
    matches!(error.fault(), Some(HubError::Login { .. }))
        || matches!(error.exit(), Exit::Denied | Exit::Config)
}

/// The error of a device that another client throws out.
fn thrown_out(device: &Device, contention: &Contention) -> Error {
    let (hub, identity) = (device.credential.hub.to_string(), device.credential.identity.clone());
    HubError::ThrownOut { hub, identity, times: contention.times() }.into()
}

/// Gets the credential, signs the token of the login and dials the hub. The token comes first: where nothing signs it, the
/// hub connection in service stays until its end.
async fn dial_next(listener: &HubListener, network: &Network, dial: &Dial, doubt: Doubt) -> Result<Dialled> {
    let device = Arc::new(listener.device(listener.source.obtain(network, doubt).await?));
    let token = device.credential.login_token(SystemTime::now(), device.settings.token_life).await?;
    let renewal = token.as_ref().and_then(|token| token.renewable).map(Renewal::within);
    let io = dial(device.clone(), network.clone()).await?;
    Ok(Dialled { device, token, renewal, io })
}

/// Logs in, over a connection that is already dialled if there is one.
async fn connect(
    listener: &HubListener,
    network: &Network,
    dial: &Dial,
    doubt: Doubt,
    dialled: Option<Dialled>,
    expiry: &mut ExpiryLog,
) -> Result<LoggedIn> {
    let Dialled { device, token, renewal, io } = match dialled {
        Some(dialled) => dialled,
        None => dial_next(listener, network, dial, doubt).await?,
    };
    if let Some(certificate) = device.credential.certificate() {
        expiry.look(&certificate.validity(), SystemTime::now());
    }
    let connection = log_in(io, token.as_ref(), &device, network).await?;
    Ok(LoggedIn { device, connection, renewal })
}
