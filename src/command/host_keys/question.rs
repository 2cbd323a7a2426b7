//! The answer to ssh, which runs the command twice for a connection: before the key exchange, to order the host key
//! algorithms, and when the server has presented its key.

use std::io::Write as _;
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use tokio::time::timeout;

use super::trust::{Refusal, minute, trusted};
use super::{Device, options};
use crate::backend::{Reported, ReportedKey, Wanted};
use crate::cli;
use crate::connect::Asked;
use crate::error::{Error, Result};
use crate::logging;
use crate::platform::process;
use crate::profile::HostKeyPolicy;
use crate::ssh::known_hosts::HostField;
use crate::state::pinned_host_keys::{Pin, Pinned};
use crate::text::public_key::PublicKey;
use crate::time::phase::Phase;

/// The longest time of both calls of a connection together.
const LIMIT: Duration = Duration::from_secs(2);

/// The time that is left for what follows an answer of the hub, or a time limit.
const MARGIN: Duration = Duration::from_millis(100);

/// What ssh tells about the server.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Presented {
    /// Nothing: the option is missing, or the server presents a certificate.
    Unknown,
    /// The key exchange has not begun.
    NothingYet,
    /// The server's key.
    Key(PublicKey),
}

impl Presented {
    /// The meaning of `%t` and `%K`.
    fn of(words: &[String]) -> Self {
        match words {
            [key_type, key] if key_type == "NONE" && key == "NONE" => Self::NothingYet,
            [key_type, key] if !key_type.contains("-cert-") => {
                PublicKey::parse(&format!("{key_type} {key}")).map_or(Self::Unknown, Self::Key)
            }
            _ => Self::Unknown,
        }
    }

    fn key(&self) -> Option<&PublicKey> {
        match self {
            Self::Key(key) => Some(key),
            Self::Unknown | Self::NothingYet => None,
        }
    }
}

/// What is printed for ssh, and what the user is told.
#[derive(Debug, Default)]
struct Answer {
    keys: Vec<PublicKey>,
    authorities: Vec<PublicKey>,
    problem: Option<Problem>,
}

/// What the user is told.
#[derive(Debug)]
enum Problem {
    Error(Error),
    Sentence(String),
}

impl From<Error> for Problem {
    fn from(error: Error) -> Self {
        Self::Error(error)
    }
}

impl Answer {
    fn none(problem: impl Into<Problem>) -> Self {
        Self { problem: Some(problem.into()), ..Self::default() }
    }

    fn of(keys: Vec<PublicKey>) -> Self {
        Self { keys, ..Self::default() }
    }
}

/// What the profile says.
#[derive(Debug)]
enum Prepared {
    Done(Answer),
    Ask(Device),
}

/// Prints known_hosts lines for ssh, and says on stderr why there are none. Of the two calls for a connection, only the second
/// says so.
pub(super) fn answer(args: &cli::HostKeys) {
    let presented = Presented::of(&args.presented);
    let name = args.known_as.as_deref().unwrap_or(&args.name);
    let answer = match HostField::new(name) {
        Some(host) => {
            let answer = within_limit(args, &presented).unwrap_or_else(Answer::none);
            let lines = host.authority_lines(&answer.authorities) + &host.lines(&answer.keys);
            // Without a reader there is nobody to tell.
            let _ = std::io::stdout().write_all(lines.as_bytes());
            answer
        }
        None => Answer::none(Error::usage(
            format!("'{name}' cannot stand in front of a key in known_hosts"),
            "set HostKeyAlias to a name without blanks, commas and patterns",
        )),
    };
    if presented == Presented::NothingYet {
        return;
    }
    match answer.problem {
        Some(Problem::Error(error)) => logging::report(&error),
        Some(Problem::Sentence(sentence)) => logging::notice(&sentence),
        None => {}
    }
}

/// The answer, in time also where a file system or a secret store hangs.
fn within_limit(args: &cli::HostKeys, presented: &Presented) -> Result<Answer> {
    let started = process::started();
    let half = started + LIMIT / 2;
    process::be_unattended(half - MARGIN);
    let preparing = {
        let args = args.clone();
        move || prepare(&args)
    };
    let device = match limited(half, preparing)?? {
        Prepared::Done(answer) => return Ok(answer),
        Prepared::Ask(device) => device,
    };
    // The other call takes as long up to here. Of the two, one alone waits for the hub.
    let until = started + LIMIT.saturating_sub(started.elapsed());
    let presented = presented.clone();
    limited(until, move || {
        let left = until.saturating_duration_since(Instant::now());
        device.answer(&presented, left.saturating_sub(MARGIN))
    })
}

/// Runs `work` in a thread that nobody waits for after `until`.
fn limited<T: Send + 'static>(until: Instant, work: impl FnOnce() -> T + Send + 'static) -> Result<T> {
    let (done, result) = mpsc::channel();
    thread::spawn(move || done.send(work()));
    let left = until.saturating_duration_since(Instant::now());
    result.recv_timeout(left).map_err(|error| match error {
        mpsc::RecvTimeoutError::Timeout => Error::timeout(HOST_KEYS, "this machine", left),
        mpsc::RecvTimeoutError::Disconnected => Error::Bug("the thread of an answer has ended".into()),
    })
}

const HOST_KEYS: Phase = Phase::named("host keys");

/// Reads the profile and its credential.
fn prepare(args: &cli::HostKeys) -> Result<Prepared> {
    let options = options(args);
    let profiles = options.profile.read()?;
    let asked = Asked::resolve(&options, &profiles)?;
    let authorities = asked.profile.host_ca.keys();
    if asked.profile.host_keys == Some(HostKeyPolicy::Off) {
        return Ok(Prepared::Done(Answer::default()));
    }
    if !authorities.is_empty() {
        return Ok(Prepared::Done(Answer { authorities: authorities.to_vec(), ..Answer::default() }));
    }
    Device::new(args, &profiles, asked).map(Prepared::Ask)
}

impl Device {
    /// The answer from a report of any age, or else from one with the key that the server presents. Waits for at most `limit`.
    fn answer(&self, presented: &Presented, limit: Duration) -> Answer {
        let until = Instant::now() + limit;
        let reported = self.reported(Wanted::Keys, until);
        let is_reported = reported.is_ok();
        let answer = self.judge(reported, presented);
        match presented.key().filter(|key| is_reported && !answer.keys.contains(key)) {
            None => answer,
            Some(key) => match self.reported(Wanted::Key(key), until) {
                Ok(reported) => self.judge(Ok(reported), presented),
                // The keys of an old report are true, but not necessarily all.
                Err(error) if !answer.keys.is_empty() => {
                    let name = &self.name;
                    let problem = format!(
                        "the server that answers as {name} has the host key {}; whether {name} reports it is not known: {error}",
                        described(key)
                    );
                    Answer { problem: Some(Problem::Sentence(problem)), ..answer }
                }
                Err(error) => {
                    log::info!("{error}");
                    answer
                }
            },
        }
    }

    /// What the device has reported. Waits until `until` at most.
    fn reported(&self, wanted: Wanted<'_>, until: Instant) -> Result<Reported> {
        let limit = until.saturating_duration_since(Instant::now());
        super::super::runtime()?.block_on(async {
            let late = |_| Error::timeout(HOST_KEYS, self.dialer.service(), limit);
            timeout(limit, self.dialer.reported(wanted)).await.map_err(late)?
        })
    }

    /// The answer from what the device has reported. Pins keys that are seen first.
    fn judge(&self, reported: Result<Reported>, presented: &Presented) -> Answer {
        let pins = match self.policy {
            HostKeyPolicy::Pin => match self.pins.read() {
                Ok(mut pins) => pins.remove(self.dialer.stream()),
                Err(error) => return Answer::none(error),
            },
            HostKeyPolicy::Follow | HostKeyPolicy::Off => None,
        };
        let reported = match (reported, &pins) {
            (Ok(reported), _) => reported,
            // What is pinned is trusted until the device reports otherwise.
            (Err(error), Some(pins)) => {
                log::info!("{error}; using the pinned keys");
                return Answer::of(pins.iter().map(|pin| pin.key.clone()).collect());
            }
            (Err(error), None) => return Answer::none(error),
        };
        let stream = reported.stream(self.dialer.stream()).map_or(&[][..], |stream| &stream.keys);
        let keys = match trusted(self.policy, stream, pins.as_deref()) {
            Ok(keys) => keys,
            Err(refusal) => return Answer::none(self.refusal(&reported, refusal)),
        };
        let is_presented = |keys: &[PublicKey]| presented.key().is_none_or(|key| keys.contains(key));
        if !is_presented(&keys) {
            let problem = self.unknown_key(presented, stream);
            return Answer { problem, ..Answer::of(keys) };
        }
        let is_first_use =
            self.policy == HostKeyPolicy::Pin && pins.is_none() && *presented != Presented::NothingYet;
        if is_first_use { self.first_use(stream) } else { Answer::of(keys) }
    }

    /// Pins what is `reported`. Answers with what another process has pinned first.
    fn first_use(&self, reported: &[ReportedKey]) -> Answer {
        let pin = |reported: &ReportedKey| Pin { key: reported.key.clone(), since: reported.since.clone() };
        let pins: Vec<Pin> = reported.iter().map(pin).collect();
        let keys = |pins: Vec<Pin>| pins.into_iter().map(|pin| pin.key).collect();
        match self.pins.pin(self.dialer.stream(), pins.clone()) {
            Ok(Pinned::Kept(pinned)) => {
                let both: Vec<Pin> = pinned
                    .into_iter()
                    .filter(|pinned| pins.iter().any(|pin| pin.key == pinned.key))
                    .collect();
                Answer::of(keys(both))
            }
            Ok(Pinned::NotKept(problem)) => {
                let path = self.pins.path().display();
                let problem = format!("the host keys cannot be pinned in {path}: {problem}");
                Answer { problem: Some(Problem::Sentence(problem)), ..Answer::of(keys(pins)) }
            }
            Err(error) => Answer::none(error),
        }
    }

    fn refusal(&self, reported: &Reported, refusal: Refusal) -> Problem {
        let (name, accept) = (&self.name, &self.accept);
        match refusal {
            Refusal::Unreported => Problem::Error(Error::NoHostKeys {
                device: reported.device.clone(),
                stream: reported.agent.as_ref().map(|_| self.dialer.stream().to_owned()),
            }),
            Refusal::Withdrawn => Problem::Sentence(format!(
                "{name} no longer reports host keys for the stream '{}', so none is trusted",
                self.dialer.stream()
            )),
            Refusal::Changed(since) => {
                let since = since.map_or_else(|| "now".into(), |since| format!("since {since}"));
                Problem::Sentence(format!(
                    "{name} reports other host keys {since}; `{accept}` if it was set up anew"
                ))
            }
        }
    }

    /// What the user is told when the server presents a key that ssh is not told.
    fn unknown_key(&self, presented: &Presented, reported: &[ReportedKey]) -> Option<Problem> {
        let key = presented.key()?;
        let (name, shown) = (&self.name, described(key));
        let sentence = match reported.iter().find(|reported| reported.key == *key) {
            Some(reported) => {
                let since = reported.since.as_deref().and_then(minute);
                let since = since.map_or_else(String::new, |since| format!(" since {since}"));
                format!(
                    "{name} reports the host key {shown}{since}, which is not pinned; `{}` if it was set up anew",
                    self.accept
                )
            }
            None => format!(
                "the server that answers as {name} has the host key {shown}, which {name} does not report"
            ),
        };
        Some(Problem::Sentence(sentence))
    }
}

/// A key in a sentence.
fn described(key: &PublicKey) -> String {
    format!("{} {}", key.key_type(), key.fingerprint())
}

#[cfg(test)]
mod tests;
