//! The agent's life: a session with the hub, renewed and regained for ever, and the streams that outlive it.

use std::future::{Future, pending};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use rustix::process::Signal;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, sleep_until, timeout};

use super::approval::Terminal;
use super::audit::Audit;
use super::config::Config;
use super::flood::Flood;
use super::sessions::Sessions;
use super::stream::{self, Shared, Surroundings};
use super::traffic::Traffic;
use crate::backend::iothub::listener::hub_connection::{ConnectionError, HubConnection};
use crate::backend::iothub::listener::link::{self, Link};
use crate::backend::iothub::proto::{BadOffer, Decision, Offer};
use crate::error::{Error, Exit, Result};
use crate::net::{Network, WssUrl};
use crate::platform::service_manager;
use crate::time::backoff::{Backoff, chance};
use crate::time::phase::Phase;

/// Part of a token's life after which it is renewed, as .NET and Java do [S]; and after which even pending offers are
/// put at risk.
const RENEW_AT: f64 = 0.85;
const RENEW_BY: f64 = 0.95;

/// The longest wait for a hub that cannot be reached: one that was restarted is found within five seconds. The same
/// where a session ended or was refused, while that is new.
const QUICK_WAIT: Duration = Duration::from_secs(3);
const NEW: Duration = Duration::from_secs(5 * 60);

/// The longest wait where a hub is there, and will not have the device.
const LONGEST_WAIT: Duration = Duration::from_secs(60);

/// The longest wait that a hub can ask for: a device is not to be out of reach for ever.
const LONGEST_ASKED: Duration = Duration::from_secs(5 * 60);

/// Answers that may wait to be published.
const WAITING_ANSWERS: usize = 64;

/// How many streams there may be beyond max-sessions, which are about to be rejected. More offers are rejected at once:
/// a hub can send them faster than anything can be decided about them.
const BEING_REJECTED: usize = 64;

/// A session that lasted so long, or brought an offer, was a good one: the next failure is a first one. Two agents with
/// one identity end each other's at once, and are to get ever slower.
const GOOD_SESSION: Duration = Duration::from_secs(60);

/// How long answers may take to go out when the agent is stopped.
const STOP_LEAVE: Duration = Duration::from_secs(2);

/// How long streams that were told to end may take.
const END_LIMIT: Duration = Duration::from_secs(5);

/// Offers that no stream can come of and that are told of singly, within the time of one notice.
const BAD_OFFERS: u32 = 20;

/// What is asked of a running agent.
#[derive(Debug)]
pub enum Order {
    /// Go by another configuration from now on, or say what is wrong with it. Live streams keep theirs.
    Reload(Result<Box<(Config, Network)>>),
    /// End, with time for streams to end by themselves. Asked twice: end now.
    Stop,
}

/// Reads the configuration once more, for a credential that was corrected.
pub type Reread = Arc<dyn Fn() -> Result<Config> + Send + Sync>;

/// Why a session is over that did not fail.
enum Over {
    Stop,
    /// The next one has this link already.
    Renew(Link),
}

/// When to replace a session.
struct Renewal {
    /// If no offer awaits its answer.
    at: Instant,
    /// In any case.
    by: Instant,
    /// The hub ends it.
    end: Instant,
}

type Dialling = Pin<Box<dyn Future<Output = Result<Link>> + Send>>;

struct Agent {
    config: Arc<Config>,
    network: Network,
    shared: Arc<Shared>,
    streams: JoinSet<()>,
    stopping: watch::Sender<bool>,
    reread: Option<Reread>,
    backoff: Backoff,
    /// When all was well for the last time, or the agent started.
    well: Instant,
    flood: Flood,
    /// The same of offers that no stream can come of.
    bad_offers: Flood,
    /// The same of offers whose rejection is clear at once.
    hopeless_offers: Flood,
}

/// Serves the device until it is ordered to stop, or nobody can order any more. Losing the hub never ends it, nor
/// touches live streams. `reread` gets a credential anew that the hub has refused.
///
/// # Errors
/// What is wrong from the start: a ready token that has expired.
pub async fn serve(
    config: Config,
    network: Network,
    reread: Option<Reread>,
    mut orders: mpsc::Receiver<Order>,
) -> Result<()> {
    config.credential.pass(SystemTime::now(), config.token_life)?;
    // A file that may not grow any more is an error like any other, and no reason to die.
    let _size_limit = signal(SignalKind::from_raw(Signal::XFSZ.as_raw()));
    let agent = Agent::new(config, network, reread);
    let audit = agent.shared.audit.clone();
    tokio::select! {
        () = agent.live(&mut orders) => Ok(()),
        never = service_manager::watchdog() => match never {},
        never = audit.keep_trying() => match never {},
    }
}

impl Agent {
    fn new(config: Config, network: Network, reread: Option<Reread>) -> Self {
        let shared = Shared {
            audit: Audit::open(config.audit_log.as_deref()),
            sessions: Arc::new(Sessions::default()),
            traffic: Traffic::new(),
            terminal: Terminal::default(),
        };
        Self {
            config: Arc::new(config),
            network,
            shared: Arc::new(shared),
            streams: JoinSet::new(),
            stopping: watch::Sender::new(false),
            reread,
            backoff: Backoff::default(),
            well: Instant::now(),
            flood: Flood::new(1),
            bad_offers: Flood::new(BAD_OFFERS),
            hopeless_offers: Flood::new(BAD_OFFERS),
        }
    }

    async fn live(mut self, orders: &mut mpsc::Receiver<Order>) {
        let mut next_link = None;
        loop {
            let beginning = begin(self.config.clone(), self.network.clone(), next_link.take());
            let over = tokio::select! {
                begun = beginning => match begun {
                    Ok((session, renewal)) => {
                        let since = Instant::now();
                        let over = self.attend(session, renewal, orders).await;
                        if since.elapsed() > GOOD_SESSION {
                            self.is_well();
                        }
                        over
                    }
                    Err(error) => Err(error),
                },
                order = orders.recv() => if self.obey(order) { continue } else { break },
            };
            match over {
                Ok(Over::Stop) => break,
                Ok(Over::Renew(link)) => next_link = Some(link),
                Err(error) => {
                    let wait = self.wait_after(&error);
                    let trouble = format!("{error}; trying again in {:.1} s", wait.as_secs_f64());
                    log::warn!("{trouble}");
                    if let Some(hint) = error.hint() {
                        log::info!("hint: {hint}");
                    }
                    service_manager::status(&trouble);
                    // A machine must come up without its hub: the service is there, and tries.
                    service_manager::ready();
                    let reread = self.reread.clone().filter(|_| is_refusal(&error));
                    let pause = async {
                        sleep(wait).await;
                        // A command may take its time.
                        let reading = reread.map(|reread| tokio::task::spawn_blocking(move || reread()));
                        match reading {
                            Some(reading) => reading.await.ok(),
                            None => None,
                        }
                    };
                    tokio::select! {
                        read = pause => self.go_by(read),
                        order = orders.recv() => if !self.obey(order) { break },
                    }
                }
            }
        }
        self.stop(orders).await;
    }

    fn is_well(&mut self) {
        self.backoff.reset();
        self.well = Instant::now();
    }

    fn wait_after(&mut self, error: &Error) -> Duration {
        let is_away = match error {
            // It was there, and has ended it.
            Error::Network { phase, .. } => *phase != Phase::Hub,
            error => matches!(error, Error::Timeout { .. }),
        };
        let is_quick = is_away || self.well.elapsed() < NEW;
        let wait = self.backoff.wait(if is_quick { QUICK_WAIT } else { LONGEST_WAIT }, chance());
        wait.max(error.retry_after().unwrap_or_default().min(LONGEST_ASKED))
    }

    /// Takes the credential of a configuration that was read again; all else waits for an order.
    fn go_by(&mut self, read: Option<Result<Config>>) {
        match read {
            None => {}
            Some(Ok(Config { credential, .. })) => {
                log::info!("the credential has been read again");
                self.config = Arc::new(Config { credential, ..(*self.config).clone() });
            }
            Some(Err(error)) => log::error!("the credential stays as it was: {error}"),
        }
    }

    /// Attends to a session until it is over.
    async fn attend(
        &mut self,
        mut session: HubConnection<Link>,
        mut renewal: Option<Renewal>,
        orders: &mut mpsc::Receiver<Order>,
    ) -> Result<Over> {
        let in_service = format!("in service as {} at {}", self.config.identity(), self.config.hub());
        log::info!("{in_service}");
        service_manager::status(&in_service);
        service_manager::ready();
        let (answers, mut waiting) = mpsc::channel::<String>(WAITING_ANSWERS);
        let mut dialling: Option<Dialling> = None;
        let mut config = self.config.clone();
        loop {
            if !Arc::ptr_eq(&config, &self.config) {
                // The login may be another by now.
                (config, renewal) = (self.config.clone(), Some(Renewal::now(&self.config)));
                dialling = None;
            }
            // Every offer holds a sender until its answer is out.
            let pending = answers.strong_count() > 1;
            let due = renewal.as_ref().map(|renewal| if pending { renewal.by } else { renewal.at });
            // A hub that never stops sending offers must not keep the agent from anything else: they come last.
            tokio::select! {
                biased;
                order = orders.recv() => {
                    if !self.obey(order) {
                        self.leave(session, answers, waiting, STOP_LEAVE).await;
                        return Ok(Over::Stop);
                    }
                }
                Some(answer) = waiting.recv() => {
                    if !self.publish(&mut session, &answer, orders).await? {
                        return Ok(Over::Stop);
                    }
                }
                Some(ended) = self.streams.join_next() => if let Err(error) = ended {
                    log::error!("a stream ended with a bug: {error}");
                },
                link = dialled(&mut dialling) => match (link, &mut renewal) {
                    (Ok(link), Some(renewal)) => {
                        let patience = renewal.end.saturating_duration_since(Instant::now());
                        return Ok(self.hand_over(session, answers, waiting, patience, link, orders).await);
                    }
                    (Err(error), Some(renewal)) => {
                        dialling = None;
                        let wait = self.wait_after(&error);
                        log::warn!("renewal: {error}; trying again in {:.1} s", wait.as_secs_f64());
                        renewal.at = Instant::now() + wait;
                        renewal.by = renewal.by.max(renewal.at);
                    }
                    (_, None) => dialling = None,
                },
                () = sleep_until(due.unwrap_or_else(Instant::now)), if due.is_some() && dialling.is_none() => {
                    log::info!("renewing the session");
                    dialling = Some(Box::pin(link::dial(self.config.clone(), self.network.clone())));
                }
                offer = session.offer() => {
                    let offer = offer.map_err(|error| self.failed(error))?;
                    if let Some(rejection) = self.take(offer, &answers)
                        && !self.publish(&mut session, &rejection, orders).await?
                    {
                        return Ok(Over::Stop);
                    }
                }
            }
        }
    }

    /// Publishes an answer. A hub that does not read it is no reason to let orders wait; false is the order to stop.
    async fn publish(
        &mut self,
        session: &mut HubConnection<Link>,
        answer: &str,
        orders: &mut mpsc::Receiver<Order>,
    ) -> Result<bool> {
        let mut publishing = pin!(session.publish(answer));
        loop {
            tokio::select! {
                biased;
                published = &mut publishing => return published.map(|()| true).map_err(|error| self.failed(error)),
                order = orders.recv() => if !self.obey(order) { return Ok(false) },
            }
        }
    }

    fn failed(&self, error: ConnectionError) -> Error {
        link::session_error(&self.config, error)
    }

    /// Opens the stream of an offer, or gives the answer to one that no stream can come of, or that is one too many.
    fn take(
        &mut self,
        offer: std::result::Result<Offer, BadOffer>,
        answers: &mpsc::Sender<String>,
    ) -> Option<String> {
        let offer = match offer.and_then(joinable) {
            Ok(offer) => offer,
            Err(bad) => {
                if let Some(count) = self.bad_offers.rejected() {
                    self.tell_rejected(
                        &bad.stream,
                        &format!("{}: {}", self.config.hub(), bad.problem),
                        count,
                    );
                }
                return bad.rejection();
            }
        };
        if self.streams.len() >= self.config.max_sessions.saturating_add(BEING_REJECTED) {
            if let Some(count) = self.flood.rejected() {
                let why = format!("there are too many offers at once: {count} are rejected unseen");
                self.shared.audit.stream(&offer.stream).rejected(&why);
            }
            return Some(offer.answer(Decision::Reject));
        }
        // What is clear at once needs neither a task nor, when there are many, a line each.
        if let Some(why) = self.hopeless(&offer.stream) {
            if let Some(count) = self.hopeless_offers.rejected() {
                self.tell_rejected(&offer.stream, &why, count);
            }
            return Some(offer.answer(Decision::Reject));
        }
        self.is_well();
        let surroundings = Surroundings {
            config: self.config.clone(),
            network: self.network.clone(),
            shared: self.shared.clone(),
            stopping: self.stopping.subscribe(),
        };
        self.streams.spawn(stream::run(offer, answers.clone(), surroundings));
        None
    }

    /// Tells of an offer of `stream` that was rejected at once, which is the last of `count` like it.
    fn tell_rejected(&self, stream: &str, why: &str, count: u64) {
        let trail = self.shared.audit.stream(stream);
        trail.offered(&self.config.identity().client_id(), &self.config.hub().to_string());
        let more = if count > 1 { format!(" ({count} of that kind)") } else { String::new() };
        trail.rejected(&format!("{why}{more}"));
    }

    /// Why an offer of `stream` is rejected whatever else there is to it.
    fn hopeless(&self, stream: &str) -> Option<String> {
        let Some(target) = self.config.target(stream) else { return Some("no target has that name".into()) };
        self.shared.sessions.enter(&target.stream, self.config.max_sessions, target.max_sessions).err()
    }

    /// Takes no more offers, publishes the answers that are still to come, and ends the session.
    async fn leave(
        &mut self,
        mut session: HubConnection<Link>,
        answers: mpsc::Sender<String>,
        mut waiting: mpsc::Receiver<String>,
        patience: Duration,
    ) {
        let leaving = async {
            for offer in session.unsubscribe().await? {
                if let Some(rejection) = self.take(offer, &answers) {
                    session.publish(&rejection).await?;
                }
            }
            drop(answers);
            while let Some(answer) = waiting.recv().await {
                session.publish(&answer).await?;
            }
            Ok(())
        };
        match timeout(patience, leaving).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => log::warn!("leaving: {}", self.failed(error)),
            Err(_elapsed) => log::warn!("leaving: offers are still without an answer"),
        }
        // A hub that does not read is left all the same.
        let _ = timeout(STOP_LEAVE, session.end()).await;
    }

    /// Leaves a session for the one over `link`. An order that comes meanwhile ends the leave: whoever stops the agent
    /// is not to wait for a hub that does not answer.
    async fn hand_over(
        &mut self,
        session: HubConnection<Link>,
        answers: mpsc::Sender<String>,
        waiting: mpsc::Receiver<String>,
        patience: Duration,
        link: Link,
        orders: &mut mpsc::Receiver<Order>,
    ) -> Over {
        let order = {
            let mut leaving = pin!(self.leave(session, answers, waiting, patience));
            tokio::select! {
                () = &mut leaving => return Over::Renew(link),
                order = orders.recv() => order,
            }
        };
        if self.obey(order) { Over::Renew(link) } else { Over::Stop }
    }

    /// Takes an order; false is the order to stop.
    fn obey(&mut self, order: Option<Order>) -> bool {
        let Some(Order::Reload(new)) = order else { return false };
        service_manager::reloading();
        match new {
            Ok(new) => {
                let (config, network) = *new;
                self.shared.audit.reopen(config.audit_log.as_deref());
                (self.config, self.network) = (Arc::new(config), network);
                log::info!("the configuration has been read again");
            }
            Err(error) => {
                log::error!("the configuration stays as it was: {error}");
                // Logs may have been rotated all the same.
                self.shared.audit.reopen(self.config.audit_log.as_deref());
            }
        }
        service_manager::ready();
        true
    }

    /// Gives streams the time to end by themselves, then tells them to.
    async fn stop(mut self, orders: &mut mpsc::Receiver<Order>) {
        service_manager::stopping();
        log::info!("stopping, with {} streams open", self.streams.len());
        let ended = async { while self.streams.join_next().await.is_some() {} };
        let impatience = async { while let Some(Order::Reload(_)) = orders.recv().await {} };
        tokio::select! {
            () = ended => {}
            () = sleep(self.config.stop_timeout) => {}
            () = impatience => {}
        }
        self.stopping.send_replace(true);
        let ended = async { while self.streams.join_next().await.is_some() {} };
        if timeout(END_LIMIT, ended).await.is_err() {
            log::warn!("{} streams did not end in time", self.streams.len());
        }
    }
}

/// Whether another credential may be what is missing.
fn is_refusal(error: &Error) -> bool {
    matches!(error, Error::MqttRefused { .. }) || matches!(error.exit(), Exit::Denied | Exit::Config)
}

/// A stream is joined over TLS, or not at all.
fn joinable(offer: Offer) -> std::result::Result<Offer, BadOffer> {
    match WssUrl::parse(&offer.url) {
        Ok(_) => Ok(offer),
        Err(problem) => Err(offer.bad(problem)),
    }
}

impl Renewal {
    fn of(life: Duration) -> Self {
        let now = Instant::now();
        Self { at: now + life.mul_f64(RENEW_AT), by: now + life.mul_f64(RENEW_BY), end: now + life }
    }

    /// As soon as no offer awaits its answer; none does for longer than approval takes.
    fn now(config: &Config) -> Self {
        let now = Instant::now();
        let end = now + config.approve_timeout + END_LIMIT;
        Self { at: now, by: end, end }
    }
}

/// Begins a session, over `link` if there is one, and tells when to replace it.
async fn begin(
    config: Arc<Config>,
    network: Network,
    link: Option<Link>,
) -> Result<(HubConnection<Link>, Option<Renewal>)> {
    let link = match link {
        Some(link) => link,
        None => link::dial(config.clone(), network.clone()).await?,
    };
    let pass = config.credential.pass(SystemTime::now(), config.token_life)?;
    let renewal = pass.renewable.map(Renewal::of);
    let session = link::log_in(link, pass.password.as_ref(), &config, &network).await?;
    Ok((session, renewal))
}

/// The link that is being dialled; none is for ever.
async fn dialled(dialling: &mut Option<Dialling>) -> Result<Link> {
    match dialling {
        Some(dialling) => dialling.await,
        None => pending().await,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::agent::{Address, Builtin, Target};
    use crate::backend::iothub::caller;
    use crate::backend::iothub::proto::{
        ConnectionString, DEFAULT_API_VERSION, Identity, Initiate, Key, Refusal, Resource, SasToken,
        UnixSeconds,
    };
    use crate::emulator::{Emulator, Options};
    use crate::net::{Proxies, Tls};
    use crate::secret::Secret;
    use crate::time::phase::Phases;
    use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};
    use tokio::net::TcpListener;

    #[tokio::test]
    async fn a_bug_in_one_stream_ends_that_stream_only() {
        let directory = tempfile::tempdir().unwrap();
        let listen = async || TcpListener::bind("127.0.0.1:0").await.unwrap();
        let identity = Identity::new("dev-1", None).unwrap();
        let devices = vec![identity.clone()];
        let options = Options { dir: directory.path().to_owned(), devices, ..Options::default() };
        let hub = Emulator::open(listen().await, listen().await, options).unwrap();
        tokio::spawn(hub.run(pending()));
        let tls = Tls::new(Some(&directory.path().join("ca.pem"))).unwrap();
        let network = Network::new(tls, Proxies::none());
        let read = |file: &str| Secret::new(std::fs::read_to_string(directory.path().join(file)).unwrap());
        let target = |stream, builtin| Target::new(stream, Address::Builtin(builtin));
        let targets = vec![target("echo", Builtin::Echo), target("bug", Builtin::Bug)];
        let config = Config::new("a test", &read("devices/dev-1.conn"), targets).unwrap();
        let (_orders, taken) = mpsc::channel(1);
        tokio::spawn(serve(config, network.clone(), None, taken));

        let service = ConnectionString::parse(read("service.conn").expose()).unwrap();
        let Key::Shared(key) = &service.key else { panic!("no key") };
        let expiry = UnixSeconds(crate::time::clock::unix_seconds(SystemTime::now()).0 + 600);
        let token = SasToken::sign(&Resource::hub(&service.hub), expiry, key, Some("service")).unwrap();
        let open = async |stream: &str, patience: u64| {
            let initiate = Initiate {
                identity: identity.clone(),
                stream: stream.into(),
                api_version: DEFAULT_API_VERSION.into(),
                connect_timeout: Duration::from_secs(20),
                response_timeout: Duration::from_secs(patience),
            };
            let (hub, authorization) = (service.hub.clone(), token.text().clone());
            let request = caller::Request { hub, gateway: None, authorization, initiate };
            caller::open(&network, &request, None, &mut Phases::default()).await
        };
        // One byte in a frame with a mask of zeros; it comes back without a mask.
        let echo = async |io: &mut crate::net::Stream| {
            io.write_all(b"\x82\x81\0\0\0\0x").await.unwrap();
            io.flush().await.unwrap();
            let mut back = [0; 3];
            io.read_exact(&mut back).await.unwrap();
            assert_eq!(&back, b"\x82\x01x");
        };
        let mut before = open("echo", 20).await.unwrap().io;
        echo(&mut before).await;
        // Nobody answers for it any more.
        assert!(matches!(open("bug", 1).await, Err(Error::Hub { failure, .. }) if failure.status == 504));
        echo(&mut before).await;
        echo(&mut open("echo", 20).await.unwrap().io).await;
    }

    /// What a hub that is written by hand reads of the device's.
    async fn answered(hub: &mut DuplexStream, topics: &[&str], answers: usize) -> String {
        let packet = |head: u8, body: &[u8]| {
            let length = u16::try_from(body.len()).unwrap();
            let [low, high] =
                [u8::try_from(length % 128).unwrap() | 128, u8::try_from(length / 128).unwrap()];
            [&[head, low, high], body].concat()
        };
        for topic in topics {
            let length = u16::try_from(topic.len()).unwrap().to_be_bytes();
            hub.write_all(&packet(0x30, &[&length, topic.as_bytes()].concat())).await.unwrap();
        }
        heard(hub, "/res/", answers).await
    }

    /// Reads until `text` has come `times` times.
    async fn heard(hub: &mut DuplexStream, text: &str, times: usize) -> String {
        let mut all = String::new();
        while all.matches(text).count() < times {
            let mut block = [0; 4096];
            let count = hub.read(&mut block).await.unwrap();
            assert_ne!(count, 0, "{all}");
            all += &String::from_utf8_lossy(&block[..count]);
        }
        all
    }

    #[tokio::test]
    async fn an_offer_that_no_stream_can_come_of_is_rejected_and_logged() {
        let directory = tempfile::tempdir().unwrap();
        let text = Secret::new("HostName=hub;DeviceId=dev-1;SharedAccessKey=MDEyMzQ1Njc4OWFiY2RlZg==");
        let mut config = Config::new("a test", &text, vec![]).unwrap();
        let audit = directory.path().join("audit.log");
        config.audit_log = Some(audit.clone());
        let network = Network::new(Tls::new(None).unwrap(), Proxies::none());
        let mut agent = Agent::new(config, network, None);
        let (link, mut hub) = tokio::io::duplex(65_536);
        let link: Link = Box::new(link);
        let config = agent.config.clone();
        let (session, ()) = tokio::join!(link::log_in(link, None, &config, &agent.network), async {
            for (asked, acknowledgement) in
                [("MQTT", &b"\x20\x02\0\0"[..]), ("streams/res/#", b"\x90\x04\0\x01\0\0")]
            {
                heard(&mut hub, asked, 1).await;
                hub.write_all(acknowledgement).await.unwrap();
            }
        });
        let session = session.unwrap();
        let (_orders, mut taken) = mpsc::channel(1);
        let url = "wss%3A%2F%2Fgateway%2Fx";
        let bad: Vec<String> = [
            "$url=ws%3A%2F%2Fgateway%2Fx&$auth=t",
            "$url=wss%3A%2F%2F%2Fx&$auth=t",
            "$url=nonsense&$auth=t",
            "$url=%FF&$auth=t",
            "$auth=t",
            &format!("$url={url}"),
            &format!("$url={url}&$auth="),
        ]
        .iter()
        .enumerate()
        .map(|(at, rest)| format!("$iothub/streams/POST/ssh/?$rid={at}&{rest}"))
        .collect();
        let topics: Vec<&str> = bad.iter().map(String::as_str).collect();
        let answered = tokio::select! {
            _ = agent.attend(session, None, &mut taken) => panic!("the session is over"),
            answered = answered(&mut hub, &topics, bad.len()) => answered,
        };
        for at in 0..bad.len() {
            let rejection = format!("$iothub/streams/res/400/?$rid={at}");
            assert!(answered.contains(&rejection), "{rejection} in {answered}");
        }
        let logged = std::fs::read_to_string(&audit).unwrap();
        assert_eq!(logged.matches("\"rejected\"").count(), bad.len(), "{logged}");
        assert!(logged.contains("ws://") && logged.contains("has no $url"), "{logged}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_hub_that_is_away_is_tried_often_and_one_that_refuses_ever_less() {
        let text = Secret::new("HostName=hub;DeviceId=dev-1;SharedAccessKey=MDEyMzQ1Njc4OWFiY2RlZg==");
        let config = Config::new("a test", &text, vec![]).unwrap();
        let network = Network::new(Tls::new(None).unwrap(), Proxies::none());
        let mut agent = Agent::new(config, network, None);
        let away = || Error::Network { phase: Phase::Tcp, target: "hub".into(), problem: "refused".into() };
        let cut = || Error::Network { phase: Phase::Hub, target: "hub".into(), problem: "cut".into() };
        let refused = |seconds| Error::Upgrade {
            phase: Phase::Hub,
            target: "hub".into(),
            status: 503,
            retry_after: Some(Duration::from_secs(seconds)),
        };
        // However often it is restarted.
        assert!((0..50).all(|_| agent.wait_after(&cut()) <= QUICK_WAIT));
        assert_eq!(agent.wait_after(&refused(20)).as_secs(), 20);
        assert_eq!(agent.wait_after(&refused(1 << 32)), LONGEST_ASKED);
        tokio::time::advance(NEW).await;
        assert!((0..50).all(|_| agent.wait_after(&away()) <= QUICK_WAIT));
        // Another agent with the same identity.
        let longest = (0..9).map(|_| agent.wait_after(&cut())).last().unwrap();
        assert!(longest >= LONGEST_WAIT / 2, "{longest:?}");
        agent.is_well();
        assert!(agent.wait_after(&cut()) < Duration::from_secs(1));
    }

    #[tokio::test]
    async fn each_refusal_is_told_as_what_it_is() {
        let text = Secret::new("HostName=hub;DeviceId=dev-1;SharedAccessKey=MDEyMzQ1Njc4OWFiY2RlZg==");
        let config = Config::new("a test", &text, vec![]).unwrap();
        let network = Network::new(Tls::new(None).unwrap(), Proxies::none());
        let told = async |connack: [u8; 4], suback: [u8; 6]| {
            let (link, mut hub) = tokio::io::duplex(65_536);
            let link: Link = Box::new(link);
            let (session, ()) = tokio::join!(link::log_in(link, None, &config, &network), async {
                heard(&mut hub, "MQTT", 1).await;
                hub.write_all(&connack).await.unwrap();
                if connack[3] == 0 {
                    heard(&mut hub, "streams/res/#", 1).await;
                    hub.write_all(&suback).await.unwrap();
                }
            });
            match session.map(|_| ()).unwrap_err() {
                Error::MqttRefused { refusal, .. } => refusal,
                error => panic!("{error}"),
            }
        };
        for (code, refusal) in [(1, Refusal::NoMqtt311), (2, Refusal::UnknownId), (3, Refusal::Unavailable)] {
            assert_eq!(told([0x20, 2, 0, code], [0; 6]).await, refusal);
        }
        let refused = told([0x20, 2, 0, 0], [0x90, 4, 0, 1, 0x80, 0]).await;
        assert_eq!(refused, Refusal::NoStreams);
    }
}
