//! One stream, from its offer to its end.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::{mpsc, watch};

use super::config::Config;
use crate::duration;
use crate::iothub::{Decision, Offer};
use crate::net::Network;
use crate::phase::Phases;
use crate::tunnel::{self, Meter, Settings};

const BRIDGE: Settings = Settings {
    keepalive: Duration::from_secs(30),
    linger: Duration::from_secs(10),
    // A service that has been told of the end may still have an answer.
    drain: Duration::from_secs(5),
    half_close: true,
};

/// What streams need of the agent.
#[derive(Clone)]
pub(super) struct Surroundings {
    pub(super) config: Arc<Config>,
    pub(super) network: Network,
    /// Topics of answers, for whichever session is there.
    pub(super) answers: mpsc::Sender<String>,
    /// True once the agent is to stop.
    pub(super) stopping: watch::Receiver<bool>,
}

/// Connects the target, and only then accepts and joins: a service that is down is a rejection, and no byte of it is
/// lost, for they wait in its socket.
pub(super) async fn run(offer: Offer, surroundings: Surroundings) {
    let Surroundings { config, network, answers, mut stopping } = surroundings;
    let name = &offer.stream;
    let reject = async |why: &str| {
        log::warn!("stream '{name}': rejected: {why}");
        // The agent is ending when nobody takes answers any more.
        let _ = answers.send(offer.answer(Decision::Reject)).await;
    };
    let Some(target) = config.target(name) else {
        return reject("no target has that name").await;
    };
    let connection = match target.address.connect().await {
        Ok(connection) => connection,
        Err(problem) => return reject(&format!("target {}: {problem}", target.address)).await,
    };
    let mut phases = Phases::default();
    let accept = answers.send(offer.answer(Decision::Accept));
    let (_, joined) = tokio::join!(accept, network.join(&offer.url, &offer.token, &mut phases));
    let websocket = match joined {
        Ok(websocket) => websocket,
        Err(error) => return log::warn!("stream '{name}': {error}"),
    };
    log::info!("stream '{name}': open to {}", target.address);
    let (since, meter) = (Instant::now(), Meter::default());
    let stop = async {
        // An agent that is gone altogether stops its streams as well.
        let _ = stopping.wait_for(|stopping| *stopping).await;
    };
    let local = (connection.read, connection.write);
    let end = tunnel::bridge(local, websocket.io, &websocket.early, &BRIDGE, &meter, stop).await;
    let lasted = Duration::from_secs(since.elapsed().as_secs());
    log::info!(
        "stream '{name}': ended after {}, {} bytes to the user, {} from the user: {end:?}",
        duration::show(lasted),
        meter.sent(),
        meter.received()
    );
    connection.process.end().await;
}
