//! Decides when a target is asked for its host keys, and reports what the targets have told.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::spawn_blocking;
use tokio::time::{Instant, sleep_until};

use super::ask::{self, Found};
use crate::agent::config::Config;
use crate::agent::target::Address;
use crate::backend::{HostKeys, Pending, Report, StreamReport};
use crate::config::WatchedFiles;
use crate::error::Problem;

/// The time until a target that did not answer is asked again; it doubles each time.
const FIRST_PAUSE: Duration = Duration::from_secs(5);
const LONGEST_PAUSE: Duration = Duration::from_secs(10 * 60);

/// A target that has answered is not asked again within this time, unless a file has changed: its server logs each exchange as
/// a client that does not log in.
const INTERVAL: Duration = Duration::from_secs(10 * 60);

/// The stream whose target is asked first.
const SSH: &str = "ssh";

/// The time between two looks at the files.
const LOOK: Duration = Duration::from_secs(60);

/// The targets of this machine, or of a test.
pub(super) trait Targets: Send + Sync + 'static {
    fn ask<'a>(&'a self, address: &'a Address) -> Pending<'a, Result<Found, Problem>>;

    /// The files that the answer depends on. May block.
    fn files(&self, address: &Address) -> WatchedFiles;
}

/// The targets as they are.
pub(super) struct Real;

impl Targets for Real {
    fn ask<'a>(&'a self, address: &'a Address) -> Pending<'a, Result<Found, Problem>> {
        Box::pin(ask::ask(address))
    }

    fn files(&self, address: &Address) -> WatchedFiles {
        ask::files(address)
    }
}

/// What is known of a target.
struct Asked {
    address: Address,
    keys: HostKeys,
    /// When it has answered last.
    answered: Option<Instant>,
    /// When it is asked next.
    due: Option<Instant>,
    /// The time until the attempt after a failed one.
    pause: Duration,
    /// The files as they were before it was asked.
    files: WatchedFiles,
    /// It is to be asked because of its files.
    is_changed: bool,
    /// The last warning.
    warned: String,
}

pub(super) struct Reporter<T> {
    targets: Arc<T>,
    configs: watch::Receiver<Arc<Config>>,
    reports: watch::Sender<Arc<Report>>,
    config: Arc<Config>,
    asked: Vec<Asked>,
}

impl<T: Targets> Reporter<T> {
    pub(super) fn new(
        targets: T,
        mut configs: watch::Receiver<Arc<Config>>,
        reports: watch::Sender<Arc<Report>>,
    ) -> Self {
        let config = configs.borrow_and_update().clone();
        let mut reporter = Self { targets: Arc::new(targets), configs, reports, config, asked: Vec::new() };
        reporter.select();
        reporter
    }

    /// Asks and reports until the agent ends. Asks one target at a time.
    pub(super) async fn run(mut self) {
        let mut look = Instant::now() + LOOK;
        loop {
            self.report();
            let due = self.asked.iter().enumerate().filter_map(|(at, asked)| Some((asked.due?, at))).min();
            let next = async {
                match due {
                    Some((due, at)) => {
                        sleep_until(due).await;
                        at
                    }
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                biased;
                changed = self.configs.changed() => match changed {
                    Ok(()) => {
                        self.config = self.configs.borrow_and_update().clone();
                        self.select();
                        self.look().await;
                    }
                    Err(_agent_has_ended) => return,
                },
                () = sleep_until(look) => {
                    self.look().await;
                    look = Instant::now() + LOOK;
                }
                at = next => self.ask(at).await,
            }
        }
    }

    /// Takes the targets from the configuration. What is known of a target stays known.
    fn select(&mut self) {
        let now = Instant::now();
        let mut before = std::mem::take(&mut self.asked);
        let mut targets: Vec<_> = self.config.host_key_targets().collect();
        // A target that does not answer must not delay the host keys that users need most.
        targets.sort_by_key(|target| !target.serves(SSH));
        for target in targets {
            let address = &target.address;
            if self.asked.iter().any(|asked| asked.address == *address) {
                continue;
            }
            let known = before.iter().position(|asked| asked.address == *address);
            let mut asked = match known {
                Some(at) => before.swap_remove(at),
                None => Asked::new(address.clone()),
            };
            let earliest = asked.answered.map_or(now, |answered| now.max(answered + INTERVAL));
            asked.due = Some(asked.due.map_or(earliest, |due| due.min(earliest)));
            asked.pause = FIRST_PAUSE;
            self.asked.push(asked);
        }
    }

    async fn ask(&mut self, at: usize) {
        let targets = self.targets.clone();
        let name = self.name(&self.asked[at].address);
        let asked = &mut self.asked[at];
        if let Some(files) = files(&targets, &asked.address).await {
            asked.files = files;
        }
        let found = targets.ask(&asked.address).await;
        let now = Instant::now();
        let warning = match found {
            Ok(found) => {
                let fingerprints = found.fingerprints();
                let Found { keys, missing } = found;
                let keys = HostKeys::Known(keys);
                let is_same = asked.keys == keys;
                if !is_same && !fingerprints.is_empty() {
                    log::info!("host keys of {name}: {fingerprints}");
                }
                // New files may be for a server that has not been restarted yet.
                asked.due = (asked.is_changed && is_same).then(|| now + INTERVAL);
                (asked.keys, asked.answered, asked.pause) = (keys, Some(now), FIRST_PAUSE);
                asked.is_changed = false;
                if missing.is_empty() {
                    String::new()
                } else {
                    format!("not reported: {}", missing.join("; "))
                }
            }
            Err(problem) => {
                asked.due = Some(now + asked.pause);
                asked.pause = LONGEST_PAUSE.min(asked.pause * 2);
                format!("cannot be read: {problem}")
            }
        };
        if !warning.is_empty() && warning != asked.warned {
            log::warn!("host keys of {name}: {warning}");
        }
        asked.warned = warning;
    }

    /// Looks whether files have changed.
    async fn look(&mut self) {
        for asked in &mut self.asked {
            let files = files(&self.targets, &asked.address).await;
            if files.is_some_and(|files| files != asked.files) {
                asked.due = Some(Instant::now());
                asked.is_changed = true;
            }
        }
    }

    /// Reports if there is anything new.
    fn report(&self) {
        let streams = self.config.targets.iter().map(|target| {
            let is_selected = self.config.host_key_targets().any(|selected| selected == target);
            let asked = self.asked.iter().find(|asked| is_selected && asked.address == target.address);
            let keys = asked.map_or(HostKeys::Known(Vec::new()), |asked| asked.keys.clone());
            StreamReport { name: target.stream.clone(), ports: target.ports.clone(), keys }
        });
        let report = Report { streams: streams.collect() };
        self.reports.send_if_modified(|reported| {
            let is_new = **reported != report;
            if is_new {
                *reported = Arc::new(report);
            }
            is_new
        });
    }

    /// The streams of a target, and its address.
    fn name(&self, address: &Address) -> String {
        let targets = self.config.host_key_targets().filter(|target| target.address == *address);
        let streams: Vec<_> = targets.map(|target| target.stream.as_str()).collect();
        format!("{} ({address})", streams.join(", "))
    }
}

impl Asked {
    fn new(address: Address) -> Self {
        Self {
            address,
            keys: HostKeys::Untold,
            answered: None,
            due: None,
            pause: FIRST_PAUSE,
            files: WatchedFiles::default(),
            is_changed: false,
            warned: String::new(),
        }
    }
}

/// The files of a target, looked at in the background; `None` if that failed.
async fn files(targets: &Arc<impl Targets>, address: &Address) -> Option<WatchedFiles> {
    let (targets, address) = (targets.clone(), address.clone());
    spawn_blocking(move || targets.files(&address)).await.ok()
}

#[cfg(test)]
mod tests;
