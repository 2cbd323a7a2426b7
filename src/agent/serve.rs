//! The agent's life: a session with the hub, renewed and regained for ever, and the streams that outlive it.

use std::future::Future;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, sleep_until, timeout};

use super::config::{Config, Transport};
use super::mqtt::{Session, SessionError};
use super::stream::{self, Surroundings};
use crate::backoff::{Backoff, chance};
use crate::clock::unix_seconds;
use crate::error::{Error, Result};
use crate::iothub::{Key, Login, Resource, SasToken, UnixSeconds, WEBSOCKET_PATH, WEBSOCKET_SUBPROTOCOL};
use crate::net::{Endpoint, Network, Upgrade, WssUrl};
use crate::phase::Phases;
use crate::secret::Secret;
use crate::tunnel::{self, Meter, Settings};

/// Part of a token's life after which it is renewed, as .NET and Java do [S].
const RENEW_AT: f64 = 0.85;

/// The longest wait for a hub that is away.
const LONGEST_WAIT: Duration = Duration::from_secs(60);

/// Answers that may wait for a session.
const WAITING_ANSWERS: usize = 64;

/// How long streams may take to end when the agent is stopped.
const STOP_LIMIT: Duration = Duration::from_secs(5);

/// The WebSocket that carries MQTT has MQTT's own keepalive.
const MQTT_BRIDGE: Settings = Settings {
    keepalive: Duration::ZERO,
    linger: Duration::from_secs(1),
    drain: Duration::ZERO,
    half_close: true,
};

const PRODUCT: &str = concat!("iotstream/", env!("CARGO_PKG_VERSION"));

trait ByteStream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> ByteStream for T {}

/// Why a session's time is up.
enum Over {
    Stop,
    Renew,
}

/// Serves the device until `stop` resolves. Losing the hub never ends it, nor touches live streams.
///
/// # Errors
/// Only what no new try could mend: a ready token that has expired.
pub async fn serve(config: Config, network: Network, stop: impl Future<Output = ()>) -> Result<()> {
    let config = Arc::new(config);
    let (answers, mut waiting) = mpsc::channel(WAITING_ANSWERS);
    let (stopping, stopped) = watch::channel(false);
    let surroundings =
        Surroundings { config: config.clone(), network: network.clone(), answers, stopping: stopped };
    let mut streams = JoinSet::new();
    let mut backoff = Backoff::new(LONGEST_WAIT);
    let mut stop = std::pin::pin!(stop);
    loop {
        let token = token(&config, SystemTime::now())?;
        let over = tokio::select! {
            over = session(&config, &network, &token, &surroundings, &mut waiting, &mut streams, &mut backoff) => over,
            () = &mut stop => Ok(Over::Stop),
        };
        match over {
            Ok(Over::Renew) => log::info!("renewing the token"),
            Ok(Over::Stop) => break,
            Err(error) => {
                let wait = backoff.wait(chance());
                log::warn!("{error}; trying again in {:.1} s", wait.as_secs_f64());
                if let Some(hint) = error.hint() {
                    log::info!("hint: {hint}");
                }
                tokio::select! {
                    () = sleep(wait) => {}
                    () = &mut stop => break,
                }
            }
        }
    }
    log::info!("stopping, with {} streams open", streams.len());
    // Every stream has gone already when nobody hears this.
    let _ = stopping.send(true);
    let ending = async { while streams.join_next().await.is_some() {} };
    if timeout(STOP_LIMIT, ending).await.is_err() {
        log::warn!("{} streams did not end in time", streams.len());
    }
    Ok(())
}

/// One session, from its login to its end.
async fn session(
    config: &Config,
    network: &Network,
    token: &Token,
    surroundings: &Surroundings,
    waiting: &mut mpsc::Receiver<String>,
    streams: &mut JoinSet<()>,
    backoff: &mut Backoff,
) -> Result<Over> {
    let login = Login::new(&config.hub, &config.identity, PRODUCT);
    let failed = |error| session_error(config, error);
    let io = dial(config, network).await?;
    let mut session = Session::begin(io, &login, Some(&token.password)).await.map_err(failed)?;
    backoff.reset();
    log::info!("in service as {} at {}", config.identity, config.hub);
    let renewal = token.renew_at;
    loop {
        tokio::select! {
            biased;
            Some(answer) = waiting.recv() => session.publish(&answer).await.map_err(failed)?,
            offer = session.offer() => match offer.map_err(failed)? {
                Ok(offer) => {
                    log::debug!("stream '{}': offered", offer.stream);
                    streams.spawn(stream::run(offer, surroundings.clone()));
                }
                Err(problem) => log::warn!("{}: {problem}", config.hub),
            },
            Some(ended) = streams.join_next() => if let Err(error) = ended {
                log::error!("a stream ended with a bug: {error}");
            },
            () = sleep_until(renewal.unwrap_or_else(Instant::now)), if renewal.is_some() => {
                session.end().await;
                return Ok(Over::Renew);
            }
        }
    }
}

/// A token to log in with, and when to get the next one.
struct Token {
    password: Secret,
    renew_at: Option<Instant>,
}

fn token(config: &Config, now: SystemTime) -> Result<Token> {
    let unusable = |problem: String| Error::Credential {
        source: format!("the connection string of {}", config.identity),
        problem,
        hint: "get a new token, or use the device's key".into(),
    };
    match &config.key {
        Key::Shared(key) => {
            let expiry = UnixSeconds(unix_seconds(now).0 + config.token_life.as_secs());
            let token = SasToken::sign(&Resource::identity(&config.hub, &config.identity), expiry, key, None);
            Ok(Token {
                password: token.map_err(|problem| unusable(problem.0))?.text().clone(),
                renew_at: Some(Instant::now() + config.token_life.mul_f64(RENEW_AT)),
            })
        }
        Key::Signature(token) if token.expiry() <= unix_seconds(now) => {
            Err(unusable("its shared access signature has expired".into()))
        }
        Key::Signature(token) => Ok(Token { password: token.text().clone(), renew_at: None }),
        Key::Certificate => Err(unusable("certificates are not supported yet".into())),
    }
}

/// A byte stream that carries MQTT, over either transport.
async fn dial(config: &Config, network: &Network) -> Result<Box<dyn ByteStream>> {
    let address = config.gateway.as_ref().unwrap_or(&config.hub);
    let mut phases = Phases::default();
    if config.transport == Transport::Mqtt {
        let endpoint = Endpoint::new(&*address.name, config.mqtt_port);
        return Ok(Box::new(network.connect(&endpoint, &mut phases).await?));
    }
    let endpoint = Endpoint::new(&*address.name, address.port.unwrap_or(443));
    let url = WssUrl { endpoint, path: WEBSOCKET_PATH.into() };
    let asked = Upgrade { bearer: None, subprotocol: Some(WEBSOCKET_SUBPROTOCOL) };
    let websocket = network.open(&url, asked, &mut phases).await?;
    // Frames carry MQTT as a byte stream [S]: the same bridge serves, with a pipe for its local side.
    let (ours, theirs) = tokio::io::duplex(16 * 1024);
    tokio::spawn(async move {
        let local = tokio::io::split(theirs);
        let hangup = std::future::pending();
        tunnel::bridge(local, websocket.io, &websocket.early, &MQTT_BRIDGE, &Meter::default(), hangup).await
    });
    Ok(Box::new(ours))
}

fn session_error(config: &Config, error: SessionError) -> Error {
    let hub = config.hub.to_string();
    match error {
        SessionError::Refused(problem) => {
            Error::MqttRefused { hub, identity: config.identity.clone(), problem }
        }
        SessionError::Protocol(problem) => Error::Protocol { target: hub, problem },
        SessionError::Network(error) => Error::Cut { problem: format!("{hub}: {error}") },
        SessionError::Silent(what) => Error::Cut { problem: format!("{hub}: no answer to {what}") },
    }
}
