//! Notices another client that logs in as the device. Each login ends the hub connection of the other client \[D], which
//! logs in again, and so on.

use std::io::IsTerminal;
use std::time::{Duration, SystemTime};

use tokio::time::{Instant, sleep};

use super::lookup::get;
use super::open::Request;
use crate::backend::iothub::error::own_module;
use crate::backend::iothub::phase::DEVICE;
use crate::backend::iothub::proto::{Connection, connection, registry_path, twin_path};
use crate::backend::iothub::rest::malformed;
use crate::check::{Finding, Outcome};
use crate::error::{Error, Result};
use crate::logging;
use crate::net::Network;
use crate::text::duration;
use crate::time::phase::Phases;

/// The pause between two looks.
const PAUSE: Duration = Duration::from_secs(1);

/// How soon a client is back after the login of another one: at once, or after the 10 s of Python's SDK \[S].
const RETURN: Duration = Duration::from_secs(12);

/// The age of a change that makes it worth watching a device which cannot be reached. An agent that the other client has
/// thrown out waits for up to a minute.
const RECENT: Duration = Duration::from_secs(70);

/// How long to watch such a device that is offline.
const OFFLINE: Duration = Duration::from_secs(20);

/// How long after the first look to expect the first login at a device where another program is connected, and the agent
/// may be waiting. With [`RETURN`] after it, a check ends within a minute.
const TAKEN: Duration = Duration::from_secs(45);

/// The hub connection of an identity at one time.
#[derive(Clone, Copy, Debug)]
struct Look {
    connection: Connection,
    /// The hub's time.
    at: SystemTime,
    since: Instant,
}

/// The first look, and where the hub tells of the hub connection.
#[derive(Debug)]
pub(super) struct First {
    path: String,
    look: Look,
}

/// Looks at the hub connection of an identity: in the registry, if the credential can read it, else in the twin. `None` if
/// the hub does not tell.
pub(super) async fn first(network: &Network, request: &Request) -> Option<First> {
    let of = &request.initiate;
    for path in [registry_path(&of.identity, &of.api_version), twin_path(&of.identity, &of.api_version)] {
        if let Ok(Some(look)) = look(network, request, &path).await {
            return Some(First { path, look });
        }
    }
    None
}

/// Goes on looking after `first`, as long as another login may be expected after a stream was opened or failed with `error`.
/// Returns a finding if there are several.
pub(super) async fn watch(
    network: &Network,
    request: &Request,
    first: First,
    error: Option<&Error>,
) -> Option<Finding> {
    let First { path, look: first } = first;
    let since = Instant::now();
    // An agent for which the hub has waited may have logged in after the first look.
    let has_waited = has_agent(error) && first.since.elapsed() >= PAUSE;
    let mut until = until(&first, since, error).or(has_waited.then_some(since))?;
    let mut logins = Logins::new(&first, has_agent(error));
    let identity = &request.initiate.identity;
    log::info!("watching the logins of {identity}");
    let mut is_noticed = !std::io::stderr().is_terminal();
    let (count, time) = loop {
        // A failed look tells nothing.
        if let Ok(Some(look)) = look(network, request, &path).await
            && logins.note(&look)
        {
            until = until.max(Instant::now() + RETURN);
        }
        if let Some(told) = logins.told() {
            break told;
        }
        if Instant::now() >= until {
            return None;
        }
        if !is_noticed {
            is_noticed = true;
            let left = duration::show(Duration::from_secs(until.saturating_duration_since(since).as_secs()));
            logging::notice(&format!("{identity} came or went just now: watching it for up to {left}"));
        }
        sleep(PAUSE).await;
    };
    Some(Finding {
        what: "identity".into(),
        outcome: Outcome::Warn(
            format!(
                "another client logs in as {}: it logged in {count} times in {} s",
                identity.client_id(),
                time.as_secs().max(1)
            ),
            format!(
                "{}; where the agent is alone, its log says why it logs in again",
                own_module(&request.hub.name, identity)
            ),
        ),
        took: since.elapsed(),
    })
}

/// Until when to watch after a stream was opened or failed with `error`; `None` without a reason to watch.
fn until(first: &Look, now: Instant, error: Option<&Error>) -> Option<Instant> {
    let Look { connection: Connection { is_online, changed, active }, at, since } = *first;
    let age = |time: SystemTime| at.duration_since(time).unwrap_or_default();
    if has_agent(error) {
        // A device that is in service is not watched for longer than the other client needs.
        let login = changed.filter(|_| is_online)?;
        let until = since + RETURN.checked_sub(age(login))?;
        return (until > now).then_some(until);
    }
    let last = changed.max(active)?;
    let until = if is_online && changed.is_some() { since + TAKEN } else { now + OFFLINE };
    (age(last) < RECENT && until > now).then_some(until)
}

/// Whether `error` leaves no doubt that the agent was connected.
fn has_agent(error: Option<&Error>) -> bool {
    error.is_none_or(|error| {
        let is_rejection = matches!(error, Error::Backend(fault) if fault.is_rejection());
        error.phase() != Some(DEVICE) || is_rejection
    })
}

async fn look(network: &Network, request: &Request, path: &str) -> Result<Option<Look>> {
    let since = Instant::now();
    let reply = get(network, request, path.to_owned(), &mut Phases::default()).await?;
    if reply.status != 200 {
        return Ok(None);
    }
    let connection = connection(&reply.body).map_err(malformed(&request.hub))?;
    Ok(Some(Look { connection, at: reply.date().unwrap_or_else(SystemTime::now), since }))
}

/// The logins that were seen.
#[derive(Debug)]
struct Logins {
    last: Connection,
    /// Whether the agent was connected at first.
    has_agent: bool,
    /// The time of each, of one before the first look too, if it was recent.
    times: Vec<SystemTime>,
    /// Those since the first look.
    observed: usize,
}

impl Logins {
    fn new(first: &Look, has_agent: bool) -> Self {
        let login = first.connection.changed.filter(|_| first.connection.is_online);
        let is_recent = |login: &SystemTime| first.at.duration_since(*login).unwrap_or_default() < RECENT;
        let times = login.filter(is_recent).into_iter().collect();
        Self { last: first.connection, has_agent, times, observed: 0 }
    }

    /// Notes another look. Whether there was a login.
    fn note(&mut self, look: &Look) -> bool {
        let (before, now) = (self.last, look.connection);
        let has_changed = now.changed.is_some() && now.changed != before.changed;
        let is_login = match (before.is_online, now.is_online) {
            // Without a look at what was between.
            (false, false) | (true, true) => has_changed,
            (false, true) => true,
            (true, false) => false,
        };
        self.last = now;
        if is_login {
            self.times.push(now.changed.unwrap_or(look.at));
            self.observed += 1;
        }
        is_login
    }

    /// The number of logins and their time, if there are enough: two, or one after a recent one. A client may be back at
    /// once, so that one look in between is too few to see both. An agent that was connected may have restarted, unless the
    /// other login came soon.
    fn told(&self) -> Option<(usize, Duration)> {
        let (first, last) = (self.times.first()?, self.times.last()?);
        let time = last.duration_since(*first).unwrap_or_default();
        let follows = self.observed == 1 && self.times.len() == 2 && (!self.has_agent || time < RETURN);
        (self.observed >= 2 || follows).then_some((self.times.len(), time))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backend::iothub::error::Error as HubError;
    use crate::backend::iothub::proto::{Code, HubFailure, Identity};

    const NOW: u64 = 1_800_000_000;

    fn at(seconds: u64) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(seconds)
    }

    /// A look at [`NOW`] and `after` seconds, at a hub connection that changed at `changed`.
    fn look(after: u64, is_online: bool, changed: Option<u64>) -> Look {
        let connection = Connection { is_online, changed: changed.map(at), active: None };
        Look { connection, at: at(NOW + after), since: Instant::now() }
    }

    fn failed(code: Code) -> Error {
        HubError::Hub {
            hub: "hub".into(),
            identity: Identity::new("gw-07", None).unwrap(),
            failure: Box::new(HubFailure { status: 404, code: Some(code), ..HubFailure::default() }),
            skew: None,
        }
        .into()
    }

    fn rejected() -> Error {
        let identity = Identity::new("gw-07", None).unwrap();
        HubError::Rejected { hub: "hub".into(), identity, stream: "ssh".into() }.into()
    }

    #[tokio::test(start_paused = true)]
    async fn watches_only_what_changed_a_moment_ago() {
        let watched = |look: &Look, error: Option<&Error>| {
            let now = Instant::now();
            until(look, now, error).map(|until| (until - now).as_secs())
        };
        let offline = failed(Code::DEVICE_NOT_ONLINE);
        // In service: until the other client would be back.
        assert_eq!(watched(&look(0, true, Some(NOW - 3)), None), Some(9));
        assert_eq!(watched(&look(0, true, Some(NOW - 3)), Some(&rejected())), Some(9));
        assert_eq!(watched(&look(0, true, Some(NOW - 13)), None), None);
        assert_eq!(watched(&look(0, true, None), None), None);
        assert_eq!(watched(&look(0, false, Some(NOW - 3)), None), None);
        // Not reached.
        assert_eq!(watched(&look(0, true, Some(NOW - 60)), Some(&offline)), Some(45));
        assert_eq!(watched(&look(0, true, Some(NOW - 71)), Some(&offline)), None);
        assert_eq!(watched(&look(0, false, Some(NOW - 60)), Some(&offline)), Some(20));
        assert_eq!(watched(&look(0, false, Some(NOW - 600)), Some(&offline)), None);
        assert_eq!(watched(&look(0, false, None), Some(&offline)), None);
        let mut twin = look(0, false, None);
        twin.connection.active = Some(at(NOW - 5));
        assert_eq!(watched(&twin, Some(&offline)), Some(20));
        // The time that opening took counts.
        let first = look(0, true, Some(NOW - 3));
        tokio::time::advance(Duration::from_secs(8)).await;
        assert_eq!(watched(&first, None), Some(1));
        tokio::time::advance(Duration::from_secs(8)).await;
        assert_eq!(watched(&first, None), None);
    }

    fn told(has_agent: bool, looks: &[(u64, bool, Option<u64>)]) -> Option<(usize, u64)> {
        let mut looks = looks.iter().map(|&(after, is_online, changed)| look(after, is_online, changed));
        let mut logins = Logins::new(&looks.next().unwrap(), has_agent);
        for look in looks {
            logins.note(&look);
        }
        logins.told().map(|(count, time)| (count, time.as_secs()))
    }

    #[tokio::test]
    async fn two_logins_are_enough_and_one_is_not() {
        let since = |seconds| Some(NOW + seconds);
        // One client throws the other out, and no look finds the device offline.
        assert_eq!(
            told(false, &[(2, true, since(0)), (9, true, since(8)), (13, true, since(12))]),
            Some((3, 12))
        );
        assert_eq!(
            told(false, &[(2, true, Some(NOW - 99)), (9, true, since(8)), (13, true, since(12))]),
            Some((2, 4))
        );
        // The state flaps. A twin has no time of it.
        let flaps = [(0, true, None), (1, false, None), (4, true, None), (5, false, None), (6, true, None)];
        assert_eq!(told(false, &flaps), Some((2, 2)));
        // The agent was in service, and another login has ended its hub connection.
        assert_eq!(told(true, &[(2, true, since(0)), (9, true, since(8))]), Some((2, 8)));
        assert_eq!(told(true, &[(2, true, since(0)), (29, true, since(28))]), None);
        assert_eq!(told(true, &[(2, true, Some(NOW - 99)), (9, true, since(8))]), None);
        // Another program was connected, and the agent and it have logged in between two looks.
        assert_eq!(told(false, &[(2, true, since(0)), (29, true, since(28))]), Some((2, 28)));
        assert_eq!(told(false, &[(2, true, Some(NOW - 99)), (29, true, since(28))]), None);
        // An agent that restarts, and one that stops.
        let restart =
            [(1, true, since(0)), (22, false, since(22)), (23, true, since(23)), (29, true, since(23))];
        assert_eq!(told(true, &restart), None);
        assert_eq!(told(false, &[(1, true, since(0)), (2, false, since(2)), (3, false, since(2))]), None);
        // Short connections between two looks.
        assert_eq!(
            told(false, &[(1, false, since(0)), (5, false, since(4)), (9, false, since(8))]),
            Some((2, 4))
        );
        assert_eq!(told(true, &[(1, true, since(0))]), None);
    }
}
