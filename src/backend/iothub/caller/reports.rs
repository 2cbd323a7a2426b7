//! What a device's agent reports in its twin: read beside a stream, and for commands, with a copy for the next command.

use std::io;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tokio::task::spawn_blocking;
use tokio::time::{Instant, sleep, timeout_at};

use super::lookup::get;
use super::open::Request;
use crate::backend::iothub::error::Error as HubError;
use crate::backend::iothub::phase;
use crate::backend::iothub::proto::{Code, HubAddress, Identity, of_twin, twin_path};
use crate::backend::iothub::rest::{failure, malformed};
use crate::backend::skew::Skew;
use crate::backend::{Reported, Wanted};
use crate::error::{Error, Result, escape};
use crate::net::Network;
use crate::state::reports::{Copied, ReportFiles, Tries, Try};
use crate::time::phase::Phases;

/// How long a command waits for a report, unless it wants what the hub says now. ssh runs two commands for a connection, and
/// the second one waits no longer than for the rest of it.
pub(super) const LIMIT: Duration = Duration::from_millis(1750);

/// The age at which a helper renews a copy with host keys.
const WITH_KEYS: Duration = Duration::from_secs(60);

/// The age at which a helper renews a copy without host keys, or tries again after a failure.
const WITHOUT_KEYS: Duration = Duration::from_secs(600);

/// How long a try that has not brought host keys is an answer.
const RECENT: Duration = Duration::from_secs(3);

/// The longest message that is kept of a failure, in characters.
const LONGEST_MESSAGE: usize = 500;

/// The pause between two looks at the copy while another process asks the hub.
const PAUSE: Duration = Duration::from_millis(10);

/// Whether the hub says that there is no such device or module.
pub(super) fn is_unregistered(error: &Error) -> bool {
    let Some(HubError::Hub { failure, .. }) = error.fault() else { return false };
    matches!(failure.code, Some(Code::DEVICE_NOT_FOUND | Code::MODULE_NOT_FOUND))
}

/// The report of one identity.
#[derive(Clone, Debug)]
pub(super) struct Report {
    network: Network,
    hub: HubAddress,
    identity: Identity,
    files: ReportFiles,
}

/// What the files say.
struct Look {
    copy: Option<Copied<Reported>>,
    tries: Tries,
    /// Whether this process holds the lock, and no other one asks the hub.
    is_locked: bool,
    last_try: Option<Try>,
}

impl Report {
    pub(super) fn new(network: &Network, hub: &HubAddress, identity: &Identity) -> Self {
        let files = ReportFiles::of(&hub.key(), &identity.client_id());
        Self { network: network.clone(), hub: hub.clone(), identity: identity.clone(), files }
    }

    /// Renews the copy if it is due and no other process asks the hub. `request` is for a stream of the same identity.
    pub(super) async fn renew(self, request: Request) {
        match self.look().await {
            Ok(look) if look.is_locked && is_due(look.copy.as_ref(), look.last_try.as_ref(), now()) => {
                if let Err(error) = self.ask(&request, Some(look.tries)).await {
                    log::debug!("what {} reports is not read: {error}", self.identity);
                }
            }
            Ok(_) => {}
            Err(error) => log::debug!("what {} reports is not kept: {error}", self.identity),
        }
    }

    /// The report, which is `wanted` for the stream named `stream`. `request` is for any stream of the same hub.
    ///
    /// Cancel-safe.
    ///
    /// # Errors
    /// Returns an error if no copy will do, and the hub refuses or does not answer until `deadline`.
    pub(super) async fn wanted(
        &self,
        wanted: Wanted<'_>,
        stream: &str,
        request: impl Future<Output = Result<Request>>,
        deadline: Instant,
    ) -> Result<Reported> {
        if matches!(wanted, Wanted::Now) {
            let tries = self.look().await.ok().map(|look| look.tries);
            return self.ask(&request.await?, tries).await;
        }
        let found = timeout_at(deadline, self.find(wanted, stream, request)).await;
        found.unwrap_or_else(|_| Err(self.late()))
    }

    /// Waits for a copy that will do, or asks the hub.
    async fn find(
        &self,
        wanted: Wanted<'_>,
        stream: &str,
        request: impl Future<Output = Result<Request>>,
    ) -> Result<Reported> {
        let mut first_copy = None;
        // When the try began that this command waits for.
        let mut begin = None;
        loop {
            let look = match self.look().await {
                Ok(look) => look,
                Err(error) => {
                    log::debug!("what {} reports is not kept: {error}", self.identity);
                    return self.ask(&request.await?, None).await;
                }
            };
            let Look { copy, tries, is_locked, last_try } = look;
            if begin.is_none() {
                first_copy.clone_from(&copy);
            }
            // One that has been fetched meanwhile is what the hub says now.
            let will_do =
                |copied: &&Copied<Reported>| copy != first_copy || will_do(copied, wanted, stream, now());
            if let Some(copied) = copy.as_ref().filter(will_do) {
                return Ok(copied.report.clone());
            }
            let recent = last_try.filter(|last| is_younger(last.at, now(), RECENT));
            let failed = recent.as_ref().filter(|last| Some(last.at) != begin);
            if let Some(failed) = failed.filter(|_| is_locked) {
                return Err(self.earlier(failed));
            }
            let (tries, begun) = match begin.or(recent.map(|last| last.at)) {
                Some(begun) => (tries, begun),
                // A later command finds this try, should this one not see its end.
                None => noted(tries).await?,
            };
            begin = Some(begun);
            if is_locked {
                return self.ask(&request.await?, Some(tries)).await;
            }
            if !is_younger(begun, now(), LIMIT) {
                return Err(self.late());
            }
            drop(tries);
            sleep(PAUSE).await;
        }
    }

    /// Asks the hub, and keeps the answer. Notes in `tries` whether it has succeeded.
    async fn ask(&self, request: &Request, tries: Option<Tries>) -> Result<Reported> {
        let asked = self.fetch(request).await;
        let files = self.files.clone();
        let kept = match &asked {
            Ok(reported) => {
                let reported = reported.clone();
                blocking(move || {
                    files.keep(reported)?;
                    tries.map_or(Ok(()), |tries| tries.clear())
                })
                .await
            }
            // Then another identity may be asked, by the next command as well.
            Err(error) if is_unregistered(error) => {
                blocking(move || {
                    files.forget();
                    tries.map_or(Ok(()), |tries| tries.clear())
                })
                .await
            }
            Err(error) => {
                let line = |text: &str| escape(text).chars().take(LONGEST_MESSAGE).collect::<String>();
                let hint = error.hint().unwrap_or_default();
                let problem = format!("{}\n{}", line(&error.to_string()), line(&hint));
                blocking(move || tries.map_or(Ok(()), |tries| tries.note(&problem).map(drop))).await
            }
        };
        if let Err(error) = kept {
            log::debug!("what {} reports is not kept: {error}", self.identity);
        }
        asked
    }

    async fn fetch(&self, request: &Request) -> Result<Reported> {
        let path = twin_path(&self.identity, &request.initiate.api_version);
        let reply = get(&self.network, request, path, &mut Phases::unlogged()).await?;
        if reply.status == 200 {
            return of_twin(self.identity.client_id(), &reply.body).map_err(malformed(&self.hub));
        }
        let failure = Box::new(failure(&reply));
        if !matches!(failure.status, 401 | 404) {
            let (hub, identity) = (self.hub.to_string(), self.identity.clone());
            return Err(HubError::Unreported { hub, identity, failure }.into());
        }
        let skew = reply.date().filter(|_| failure.status == 401);
        let skew = skew.and_then(|hub| Skew::between(SystemTime::now(), hub));
        let (hub, identity) = (self.hub.to_string(), self.identity.clone());
        Err(HubError::Hub { hub, identity, failure, skew }.into())
    }

    /// Looks at the files, and locks them if no other process has.
    async fn look(&self) -> io::Result<Look> {
        let files = self.files.clone();
        blocking(move || {
            let tries = files.tries()?;
            let is_locked = tries.lock()?;
            Ok(Look { copy: files.read(), last_try: tries.last(), tries, is_locked })
        })
        .await
    }

    /// The error of a try that has failed a moment ago.
    fn earlier(&self, failed: &Try) -> Error {
        match failed.problem.split_once('\n') {
            Some((message, hint)) => {
                let hint = Some(hint.to_owned()).filter(|hint| !hint.is_empty());
                HubError::Earlier { message: message.to_owned(), hint }.into()
            }
            None => self.late(),
        }
    }

    fn late(&self) -> Error {
        Error::timeout(phase::HUB, &self.hub, LIMIT)
    }
}

/// Notes that a try begins.
async fn noted(tries: Tries) -> Result<(Tries, Duration)> {
    let noted = blocking(move || tries.note("").map(|begun| (tries, begun))).await;
    noted.map_err(Error::local_io("the state directory"))
}

/// Runs `work` in a separate thread, because a network file system may hang.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> io::Result<T> + Send + 'static) -> io::Result<T> {
    spawn_blocking(work).await.map_err(io::Error::other)?
}

/// The time since 1970.
fn now() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}

/// Whether `time` was less than `age` before `now`. A time in the future is that of a wrong clock.
fn is_younger(time: Duration, now: Duration, age: Duration) -> bool {
    now.checked_sub(time).is_some_and(|found| found < age)
}

/// Whether a helper renews the copy at `now`.
fn is_due(copy: Option<&Copied<Reported>>, last_try: Option<&Try>, now: Duration) -> bool {
    let is_fresh = copy.is_some_and(|copied| {
        let age = if copied.report.has_keys() { WITH_KEYS } else { WITHOUT_KEYS };
        is_younger(copied.fetched(), now, age)
    });
    !is_fresh && last_try.is_none_or(|last| !is_younger(last.at, now, WITHOUT_KEYS))
}

/// Whether the copy at `now` is the answer to what is `wanted` for the stream named `stream`.
fn will_do(copied: &Copied<Reported>, wanted: Wanted<'_>, stream: &str, now: Duration) -> bool {
    let keys = copied.report.stream(stream).map(|found| &found.keys[..]).unwrap_or_default();
    match wanted {
        Wanted::Keys => !keys.is_empty() || is_younger(copied.fetched(), now, RECENT),
        Wanted::Key(key) => keys.iter().any(|known| known.key == *key),
        Wanted::Now => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backend::{ReportedKey, ReportedStream};
    use crate::text::public_key::PublicKey;

    const NOW: Duration = Duration::from_secs(1_800_000_000);

    fn key(byte: u8) -> PublicKey {
        PublicKey::of_blob(&[0, 0, 0, 1, b'x', byte]).unwrap()
    }

    /// A copy of this age, with or without a key of the stream `ssh`.
    fn copy(age: u64, has_key: bool) -> Copied<Reported> {
        let keys = has_key.then(|| ReportedKey { key: key(1), since: None }).into_iter().collect();
        let streams = vec![ReportedStream { name: "ssh".into(), ports: None, keys }];
        let report = Reported { device: "gw-07".into(), agent: Some("0.2.0".into()), streams };
        Copied { fetched: NOW.as_secs() - age, report }
    }

    #[test]
    fn a_copy_without_keys_is_renewed_less_often() {
        let tried = |at: Duration| Try { at, problem: String::new() };
        let due = |copy: Option<Copied<Reported>>, failed: Option<u64>| {
            let failed = failed.map(|age| tried(NOW - Duration::from_secs(age)));
            is_due(copy.as_ref(), failed.as_ref(), NOW)
        };
        assert!(due(None, None));
        assert!(!due(Some(copy(59, true)), None) && due(Some(copy(60, true)), None));
        assert!(!due(Some(copy(599, false)), None) && due(Some(copy(600, false)), None));
        assert!(!due(None, Some(599)) && due(None, Some(600)));
        assert!(!due(Some(copy(3600, true)), Some(1)));
        // After the clock was set back.
        let mut future = copy(0, true);
        future.fetched += 1;
        assert!(due(Some(future), None));
        assert!(is_due(None, Some(&tried(NOW + Duration::from_secs(1))), NOW));
    }

    #[test]
    fn a_copy_with_the_wanted_key_will_do_at_any_age() {
        let will_do = |copied: &Copied<Reported>, wanted| will_do(copied, wanted, "ssh", NOW);
        let (known, other) = (key(1), key(2));
        let old = copy(1_000_000, true);
        assert!(will_do(&old, Wanted::Keys) && will_do(&old, Wanted::Key(&known)));
        assert!(!will_do(&old, Wanted::Key(&other)) && !will_do(&old, Wanted::Now));
        assert!(!will_do(&copy(0, true), Wanted::Key(&other)));
        assert!(will_do(&copy(2, false), Wanted::Keys) && !will_do(&copy(3, false), Wanted::Keys));
        assert!(!super::will_do(&old, Wanted::Keys, "tcp-22", NOW));
    }
}
