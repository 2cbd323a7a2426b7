//! The listener's task: keeps the control channel, and passes offers on.

use std::future::pending;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until, timeout};

use super::channel::Channel;
use super::credential::ListenToken;
use super::dial::{Connected, connect};
use super::dials::{AllDone, Dials};
use super::error::{Error as RelayError, lost};
use super::offers::OfferMaker;
use super::relay_listener::RelayListener;
use super::retry::{Retry, is_final};
use super::starts::Starts;
use crate::backend::Pending;
use crate::backend::credential_watch::CredentialWatch;
use crate::backend::relay::proto;
use crate::backend::{Event, Login, Order, Orders, Reread, Source};
use crate::error::{Error, Result};
use crate::net::Network;

/// How long the last answers may take when the listener stops.
const STOP_LIMIT: Duration = Duration::from_secs(2);

/// The wait before another try to get a new token, while the previous one is still valid.
const RENEW_AGAIN: Duration = Duration::from_secs(30);

/// Opens a control channel of a listener. Tests have a service in memory.
pub(super) type Dial =
    Arc<dyn Fn(Arc<RelayListener>, Network) -> Pending<'static, Result<Connected>> + Send + Sync>;

/// The task, and its configuration until the next order.
pub(super) struct Task {
    device: Arc<RelayListener>,
    network: Network,
    pub(super) dial: Dial,
    watch: CredentialWatch<RelayListener>,
    events: mpsc::Sender<Event>,
    orders: Orders,
    retry: Retry,
    starts: Starts,
    dials: Dials,
    all_done: AllDone,
}

/// The result of a renewal.
enum Renewed {
    /// The files of the credential had changed, and it was read again.
    Reread(Arc<RelayListener>),
    Token(Result<ListenToken>),
}

impl Task {
    pub(super) fn new(
        device: Arc<RelayListener>,
        network: Network,
        reread: Option<Reread>,
        source: Source,
    ) -> Self {
        let Source { events, orders, .. } = source;
        let (dials, all_done) = Dials::new();
        let (retry, starts) = (Retry::default(), Starts::default());
        let watch = CredentialWatch::new(reread);
        let dial: Dial = Arc::new(|device, network| Box::pin(connect(device, network)));
        let task = Self { device, network, dial, watch, events, orders, retry, starts, dials, all_done };
        task.warn_of_expiry();
        task
    }

    /// Runs until [`Order::Stop`].
    pub(super) async fn run(mut self) {
        loop {
            let connected = tokio::select! {
                connected = self.dial() => connected,
                order = self.orders.next() => if self.obey(order) { continue } else { break },
            };
            let over = match connected {
                Ok(connected) => self.serve(connected).await,
                Err(error) => Err(error),
            };
            match over {
                Ok(()) => break,
                Err(error) => {
                    if !self.wait_after(error).await {
                        break;
                    }
                }
            }
        }
        let Self { dials, mut all_done, .. } = self;
        drop(dials);
        if timeout(STOP_LIMIT, all_done.wait()).await.is_err() {
            log::warn!("not every offer has been answered");
        }
    }

    /// Waits before the next attempt, and rereads a credential that the service refuses or that has been renewed. Returns
    /// false for [`Order::Stop`].
    async fn wait_after(&mut self, error: Error) -> bool {
        let retry_in = self.retry.wait_after(&error);
        let is_final = is_final(&error);
        if is_final {
            self.device.credential.forget();
        }
        if error.fault().is_some_and(RelayError::is_daily) {
            log::info!("{error}: the service does so once a day; the control channel is opened again");
        } else {
            // Fails if the agent has ended. The next order is then to stop.
            let _ = self.events.send(Event::Trouble { error, retry_in }).await;
        }
        tokio::select! {
            new = self.watch.wait_and_reread(retry_in, is_final, &self.device.files) => {
                if let Some(new) = new {
                    self.use_credential(&new);
                }
                true
            }
            order = self.orders.next() => self.obey(order),
        }
    }

    /// Uses the credential of a reread configuration. Its other settings wait for [`Order::Reload`].
    fn use_credential(&mut self, new: &RelayListener) {
        let (credential, files) = (new.credential.clone(), new.files.clone());
        self.device = Arc::new(RelayListener { credential, files, ..(*self.device).clone() });
        self.warn_of_expiry();
    }

    /// Serves a control channel until [`Order::Stop`].
    ///
    /// # Errors
    /// Returns why the control channel ended.
    pub(super) async fn serve(&mut self, connected: Connected) -> Result<()> {
        let Connected { mut channel, mut token, device } = connected;
        let mut offers = self.begin(&device).await;
        let (mut since, mut has_offered) = (Instant::now(), false);
        let mut renewing: Option<Pending<'static, Renewed>> = None;
        let mut replacing: Option<Pending<'static, Result<Connected>>> = None;
        let mut replace_at = None;
        loop {
            if replace_at.is_none() && replacing.is_none() && !Arc::ptr_eq(&self.device, offers.device()) {
                replace_at = Some(Instant::now());
            }
            let renew_at = token.renew_at.filter(|_| renewing.is_none());
            tokio::select! {
                biased;
                order = self.orders.next() => {
                    if !self.obey(order) {
                        leave(channel, offers, self.events.clone()).await;
                        return Ok(());
                    }
                    (replacing, replace_at) = (None, None);
                }
                replaced = optional(&mut replacing) => {
                    replacing = None;
                    match replaced {
                        Ok(Connected { channel: new, token: fresh, device }) => {
                            // Offers that are on their way over the previous channel are served too.
                            tokio::spawn(leave(channel, offers, self.events.clone()));
                            offers = self.begin(&device).await;
                            (channel, token, renewing) = (new, fresh, None);
                            (since, has_offered) = (Instant::now(), false);
                        }
                        Err(error) => {
                            let wait = self.retry.wait_after(&error);
                            log::warn!("reload: {error}; trying again in {:.1} s", wait.as_secs_f64());
                            replace_at = Some(Instant::now() + wait);
                        }
                    }
                }
                () = sleep_until(replace_at.unwrap_or_else(Instant::now)), if replace_at.is_some() => {
                    replace_at = None;
                    replacing = Some(self.dial());
                }
                renewed = optional(&mut renewing) => {
                    renewing = None;
                    match renewed {
                        Renewed::Reread(new) => self.use_credential(&new),
                        Renewed::Token(Ok(fresh)) => {
                            log::debug!("the token is renewed");
                            channel.send(proto::renew_token(&fresh.text).expose());
                            token = fresh;
                            // Fails if the agent has ended.
                            let _ = self.events.send(Event::Renewed).await;
                        }
                        Renewed::Token(Err(error)) => {
                            log::warn!("the token cannot be renewed: {error}");
                            token.renew_at = Some(Instant::now() + RENEW_AGAIN);
                        }
                    }
                }
                () = sleep_until(renew_at.unwrap_or_else(Instant::now)), if renew_at.is_some() => {
                    let device = offers.device().clone();
                    // A new control channel for another credential may be on its way, and fail.
                    let is_latest = Arc::ptr_eq(&self.device, &device);
                    let look = is_latest.then(|| self.watch.look(&device.files));
                    renewing = Some(Box::pin(async move {
                        let reread = match look {
                            Some(look) => look.await,
                            None => None,
                        };
                        match reread {
                            Some(new) => Renewed::Reread(new),
                            None => Renewed::Token(device.credential.new_token(device.token_life).await),
                        }
                    }));
                }
                new = self.watch.next(&self.device.files) => if let Some(new) = new {
                    self.use_credential(&new);
                },
                message = channel.next() => match message {
                    Ok(message) => {
                        let handled = offers.handle(&message);
                        if let Some(answer) = handled.answer {
                            channel.send(&answer);
                        }
                        if let Some(event) = handled.event {
                            has_offered |= matches!(event, Event::Offer(_));
                            // Fails if the agent has ended. The next order is then to stop.
                            let _ = self.events.send(event).await;
                        }
                    }
                    Err(end) => {
                        self.retry.ended(since.elapsed(), has_offered);
                        return Err(lost(&offers.device().credential, end));
                    }
                },
            }
        }
    }

    /// Opens a control channel for the configuration.
    fn dial(&self) -> Pending<'static, Result<Connected>> {
        (self.dial)(self.device.clone(), self.network.clone())
    }

    /// Tells the agent that a control channel for `device` is open.
    async fn begin(&self, device: &Arc<RelayListener>) -> OfferMaker {
        // Fails if the agent has ended. The next order is then to stop.
        let login = Login { is_renewal: false, credential_ends: device.credential.given_until() };
        let _ = self.events.send(Event::InService { listener: device.clone(), remark: None, login }).await;
        let (network, dials, starts) = (self.network.clone(), self.dials.clone(), self.starts.clone());
        OfferMaker::new(device.clone(), network, dials, starts, self.events.downgrade())
    }

    /// Carries out an order. Returns false for [`Order::Stop`].
    fn obey(&mut self, order: Order) -> bool {
        let Order::Reload(listener, network) = order else { return false };
        let Some(device) = listener.downcast() else { return false };
        match network.preferring_p384() {
            Ok(network) => self.network = network,
            Err(error) => log::error!("the network stays as it was: {error}"),
        }
        self.device = device;
        self.warn_of_expiry();
        true
    }

    fn warn_of_expiry(&self) {
        if let Some(expiry) = self.device.credential.given_expiry() {
            log::warn!("the given token expires at {expiry}, and the agent cannot renew it");
        }
    }
}

/// Closes a control channel, and passes on the offers that cross the Close.
async fn leave(mut channel: Channel, offers: OfferMaker, events: mpsc::Sender<Event>) {
    channel.close();
    let leaving = async {
        while let Ok(message) = channel.next().await {
            if let Some(event) = offers.handle(&message).event {
                // Fails if the agent has ended.
                let _ = events.send(event).await;
            }
        }
    };
    if timeout(STOP_LIMIT, leaving).await.is_err() {
        log::debug!("the service does not answer the Close of the control channel");
    }
}

async fn optional<T>(work: &mut Option<Pending<'static, T>>) -> T {
    match work {
        Some(work) => work.await,
        None => pending().await,
    }
}
