//! What a listener promises of its control channels in an order of steps.

use super::service::{CLOSING, DIAL_LIMIT};
use super::*;

/// The time from a look at the credential's files to the next, and from a token to its renewal.
const LOOK: u64 = 3600;
const RENEWAL: u64 = LIFE.as_secs() / 4 * 3;

/// How long an offer can be answered.
const ANSWERABLE: u64 = 30;

/// The waits after failures in a row; the last also follows a refusal.
const WAITS: [u64; 6] = [0, 1, 2, 5, 10, 30];

/// A control channel that lived this long makes the next failure the first.
const GOOD: u64 = 5;

/// What a listener promises.
#[derive(Clone)]
pub(super) struct Model {
    pub(super) outcome: Outcome,
    now: u64,
    pub(super) health: Health,
    pub(super) channel: Option<ControlChannel>,
    /// The channels that are being left, and until when.
    pub(super) leaving: Vec<u64>,
    /// The attempt to open a channel, the first or one that replaces another.
    attempt: Option<Attempt>,
    failures: usize,
    channels: usize,
    /// The version in the credential's file, and the one in use.
    file: usize,
    version: usize,
    /// The configurations so far, each of which has a channel of its own.
    configurations: usize,
    look_at: u64,
    offered: Vec<u64>,
    pub(super) is_stopping: bool,
    /// Whether attempts fail since some time, so that it is random when the next one comes.
    is_random: bool,
}

#[derive(Clone, Copy)]
pub(super) struct ControlChannel {
    at: usize,
    configuration: usize,
    since: u64,
    renew_at: u64,
    has_offered: bool,
}

#[derive(Clone, Copy)]
enum Attempt {
    Due(u64),
    Dialling { since: u64, version: usize, configuration: usize },
}

impl Model {
    fn new() -> Self {
        let mut model = Self {
            outcome: Outcome::default(),
            now: 0,
            health: Health::Well,
            channel: None,
            leaving: Vec::new(),
            attempt: Some(Attempt::Due(0)),
            failures: 0,
            channels: 0,
            file: 0,
            version: 0,
            configurations: 0,
            look_at: LOOK,
            offered: Vec::new(),
            is_stopping: false,
            is_random: false,
        };
        model.proceed();
        model
    }

    pub(super) fn of(order: &[Step]) -> Self {
        let mut model = Self::new();
        order.iter().for_each(|step| model.take(*step));
        model
    }

    /// What comes out of it in the end.
    pub(super) fn outcome(mut self) -> Outcome {
        let open = self.offered.iter().filter(|offered| **offered + ANSWERABLE > self.now);
        self.outcome.open_offers = open.count();
        self.outcome.open_at_first = (!self.is_random).then(|| self.open());
        self.take(Recovers);
        self.pass(REST);
        self.outcome.open = self.open();
        self.outcome
    }

    fn open(&self) -> Vec<usize> {
        self.channel.iter().map(|channel| channel.at).collect()
    }

    fn take(&mut self, step: Step) {
        match step {
            ServiceOffers | OffersLate => {
                self.outcome.offers.push(self.offered.len());
                self.offered.push(self.now);
                if let (ServiceOffers, Some(channel)) = (step, &mut self.channel) {
                    channel.has_offered = true;
                }
            }
            Closes => self.lose(),
            Cuts => {
                self.outcome.tell(Notice::Trouble, self.now);
                self.lose();
            }
            GoesAway => self.health = Health::Away,
            Refuses => self.health = Health::Refusing,
            Recovers => self.health = Health::Well,
            FileChanges => self.file += 1,
            Reloads => self.reload(),
            ReloadsAnother => {
                self.file += 1;
                self.reload();
            }
            Stops => {
                self.leave();
                (self.attempt, self.is_random) = (None, false);
                (self.is_stopping, self.outcome.ended) = (true, Some(self.now));
            }
            Long => self.pass(LONG),
            Short => self.pass(SHORT),
        }
        self.proceed();
    }

    fn reload(&mut self) {
        self.reread();
        (self.attempt, self.is_random) = (Some(Attempt::Due(self.now)), false);
    }

    fn reread(&mut self) {
        (self.version, self.configurations) = (self.file, self.configurations + 1);
    }

    /// The service ends the channel.
    fn lose(&mut self) {
        let Some(channel) = self.channel.take() else { return };
        match self.now - channel.since {
            GOOD.. => self.failures = 0,
            life if channel.has_offered => self.failures = self.failures.min(usize::from(life == 0)),
            _ => {}
        }
        self.is_random = false;
        self.wait(false);
    }

    /// Closes the channel.
    fn leave(&mut self) {
        if let Some(channel) = self.channel.take() {
            self.outcome.closed.push(channel.at);
            self.leaving.push(self.now + CLOSING);
        }
    }

    fn wait(&mut self, is_refused: bool) {
        let last = WAITS.len() - 1;
        let wait = WAITS[if is_refused { last } else { self.failures.min(last) }];
        self.failures += 1;
        self.attempt = Some(Attempt::Due(self.now + wait));
    }

    /// Does what is due, one thing after the other.
    fn proceed(&mut self) {
        while self.act() {}
    }

    fn act(&mut self) -> bool {
        let now = self.now;
        self.leaving.retain(|end| *end > now);
        if let Some(channel) = &mut self.channel {
            if channel.renew_at <= now {
                // A renewed credential gets a channel of its own, and the token of the previous is renewed until then.
                channel.renew_at = now + RENEWAL;
                self.outcome.tell(Notice::Renewed, now);
                if channel.configuration == self.configurations && self.file != self.version {
                    self.reread();
                }
                return true;
            }
            if self.look_at <= now {
                self.look_at = now + LOOK;
                if self.file != self.version {
                    self.reread();
                }
                return true;
            }
            if channel.configuration != self.configurations && self.attempt.is_none() {
                self.attempt = Some(Attempt::Due(now));
                return true;
            }
        }
        match self.attempt {
            Some(Attempt::Due(at)) if at <= now => {
                if self.channel.is_none() && self.file != self.version {
                    self.reread();
                }
                let (version, configuration) = (self.version, self.configurations);
                self.attempt = Some(Attempt::Dialling { since: now, version, configuration });
                true
            }
            Some(Attempt::Dialling { since, version, configuration }) => match self.health {
                Health::Well => {
                    self.leave();
                    let at = self.channels;
                    self.channel = Some(ControlChannel {
                        at,
                        configuration,
                        since: now,
                        renew_at: since + RENEWAL,
                        has_offered: false,
                    });
                    (self.channels, self.attempt) = (at + 1, None);
                    self.outcome.tell(Notice::InService(version), now);
                    true
                }
                Health::Away if since + DIAL_LIMIT > now => false,
                health => {
                    if self.channel.is_none() {
                        self.outcome.tell(Notice::Trouble, now);
                    }
                    self.wait(health == Health::Refusing);
                    true
                }
            },
            _ => false,
        }
    }

    /// When something is due next.
    fn next(&self) -> Option<u64> {
        let attempt = self.attempt.map(|attempt| match attempt {
            Attempt::Due(at) => at,
            Attempt::Dialling { since, .. } => since + DIAL_LIMIT,
        });
        let of_channel = self.channel.map(|channel| channel.renew_at.min(self.look_at));
        attempt.into_iter().chain(of_channel).min()
    }

    /// Lets time pass, from one event to the next.
    fn pass(&mut self, time: u64) {
        let until = self.now + time;
        while let Some(next) = self.next().filter(|next| *next <= until) {
            self.now = self.now.max(next);
            self.proceed();
        }
        self.now = until;
        self.proceed();
        self.is_random = self.attempt.is_some();
    }
}

/// Whether a step can come next.
pub(super) fn can_follow(order: &[Step], step: Step) -> bool {
    let model = Model::of(order);
    let most = if [Long, Short, ServiceOffers, Cuts, ReloadsAnother].contains(&step) { 2 } else { 1 };
    let is_possible = match step {
        ServiceOffers | Closes | Cuts => model.channel.is_some(),
        OffersLate => !model.leaving.is_empty(),
        GoesAway => model.health != Health::Away,
        Refuses => model.health != Health::Refusing,
        Recovers => model.health != Health::Well,
        // Whether an attempt has begun must be known: it uses the previous credential.
        FileChanges => !model.is_stopping && !model.is_random,
        Reloads | ReloadsAnother | Stops | Long | Short => !model.is_stopping,
    };
    let is_over = model.is_stopping && step != OffersLate;
    is_possible && !is_over && order.iter().filter(|other| **other == step).count() < most
}
