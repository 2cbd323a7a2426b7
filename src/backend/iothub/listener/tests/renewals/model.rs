//! What the agent promises of its hub connection in an order of steps.

use std::collections::VecDeque;

use super::*;

/// What the agent promises of its hub connection.
#[derive(Clone)]
pub(super) struct Model {
    pub(super) outcome: Outcome,
    now: u64,
    health: Health,
    connection: Option<Connection>,
    /// The offers that the agent has not answered, and the login that each came with.
    open: VecDeque<(usize, usize)>,
    is_stopping: bool,
}

#[derive(Clone, Copy)]
struct Connection {
    /// When it is renewed without open offers, with open offers, and when it ends.
    at: u64,
    by: u64,
    end: u64,
    /// The hub could not be reached at a renewal, which has to wait.
    is_put_off: bool,
    /// It takes no more offers and waits for the last answers.
    is_leaving: bool,
    /// When its token ends, and the hub ends it.
    until: u64,
    /// When the token of the next login was signed.
    signed: u64,
    /// The hub has ended it, which is noticed with the next answer.
    is_cut: bool,
}

impl Model {
    fn new() -> Self {
        let mut model = Self {
            outcome: Outcome::default(),
            now: 0,
            health: Health::Well,
            connection: None,
            open: VecDeque::new(),
            is_stopping: false,
        };
        model.log_in(false, 0);
        model
    }

    pub(super) fn of(order: &[Step]) -> Self {
        let mut model = Self::new();
        order.iter().for_each(|step| model.take(*step));
        model
    }

    /// All that may come of an order: the wait before an attempt is random, and may end while a step settles.
    pub(super) fn all(order: &[Step]) -> Vec<Self> {
        let mut models = vec![Self::new()];
        for step in order {
            models.iter_mut().for_each(|model| model.take(*step));
            let mut sooner: Vec<_> = models.iter().filter(|model| model.awaits_attempt()).cloned().collect();
            sooner.iter_mut().for_each(|model| model.pass(0));
            models.extend(sooner);
        }
        models
    }

    fn awaits_attempt(&self) -> bool {
        let is_due = self.connection.is_none_or(|connection| connection.is_put_off);
        is_due && self.health == Health::Well && !self.is_stopping && !self.outcome.has_ended
    }

    fn take(&mut self, step: Step) {
        if self.outcome.has_ended {
            return;
        }
        match step {
            HubOffers => {
                self.open.push_back((self.outcome.offers, self.outcome.logins.len()));
                self.outcome.offers += 1;
            }
            AgentAnswers => {
                let (offer, login) = self.open.pop_front().unwrap();
                match &mut self.connection {
                    Some(connection) if login == self.outcome.logins.len() => {
                        if connection.is_cut {
                            self.open.retain(|(_, other)| *other != login);
                        } else {
                            self.outcome.answers.push(offer);
                        }
                    }
                    _ => {}
                }
                self.proceed();
            }
            Cuts => self.cut(),
            GoesAway => self.health = Health::Away,
            Refuses => self.health = Health::Refusing,
            Recovers => self.health = Health::Well,
            Reloads => match &mut self.connection {
                // A new configuration is used as soon as possible, and answers take some minutes at most.
                Some(connection) if !connection.is_leaving => {
                    *connection = Connection {
                        at: self.now,
                        by: self.now + 300,
                        end: self.now + 300,
                        is_put_off: false,
                        ..*connection
                    };
                    self.proceed();
                }
                // The next connection is for the new configuration.
                Some(_) => self.log_in(true, self.now),
                None => self.log_in(false, self.now),
            },
            Stops => {
                let is_leaving = self.connection.is_some_and(|connection| connection.is_leaving);
                self.is_stopping = true;
                if self.connection.is_none() || is_leaving {
                    self.end();
                }
                self.proceed();
            }
            Long => self.pass(LONG),
            Short => self.pass(SHORT),
        }
    }

    /// The open offers of the connection.
    fn has_open(&self) -> bool {
        self.open.iter().any(|(_, login)| *login == self.outcome.logins.len())
    }

    fn end(&mut self) {
        (self.connection, self.outcome.has_ended, self.outcome.is_connected) = (None, true, false);
    }

    /// The hub ends the connection. One that waits for answers notices that when it publishes them.
    fn cut(&mut self) {
        self.outcome.is_connected = false;
        match &mut self.connection {
            Some(connection) if connection.is_leaving || self.is_stopping => connection.is_cut = true,
            _ => self.connection = None,
        }
    }

    /// A login with a token that was signed then.
    fn log_in(&mut self, is_renewal: bool, signed: u64) {
        (self.connection, self.outcome.is_connected) = (None, false);
        if self.health == Health::Well {
            self.outcome.logins.push((is_renewal, self.now));
            let (at, by, end) = (signed + LIFE * 85 / 100, signed + LIFE * 95 / 100, signed + LIFE);
            let (is_put_off, is_leaving, is_cut) = (false, false, false);
            self.connection =
                Some(Connection { at, by, end, is_put_off, is_leaving, until: end, signed, is_cut });
            self.outcome.is_connected = true;
        }
    }

    /// Does what is due.
    fn proceed(&mut self) {
        let (has_open, now) = (self.has_open(), self.now);
        let Some(connection) = &mut self.connection else { return };
        if self.is_stopping {
            if !has_open {
                self.end();
            }
            return;
        }
        let due = if has_open { connection.by } else { connection.at };
        if !connection.is_leaving && due <= now && !connection.is_put_off {
            connection.is_put_off = self.health == Health::Away;
            (connection.is_leaving, connection.signed) = (self.health != Health::Away, now);
        }
        if connection.is_leaving && (!has_open || connection.end <= now) {
            let signed = connection.signed;
            self.log_in(true, signed);
        }
    }

    /// Lets time pass, from one event to the next.
    fn pass(&mut self, time: u64) {
        let until = self.now + time;
        if self.is_stopping {
            self.end();
        }
        loop {
            match &mut self.connection {
                None if self.outcome.has_ended || self.health != Health::Well => {}
                None => self.log_in(false, self.now),
                Some(connection) => connection.is_put_off = false,
            }
            self.proceed();
            let has_open = self.has_open();
            let Some(connection) = self.connection else { break };
            let next = match connection {
                Connection { is_leaving: true, end, .. } => end,
                Connection { is_put_off: true, until, .. } => until,
                Connection { by, at, until, .. } => until.min(if has_open { by } else { at }),
            };
            if next > until {
                break;
            }
            self.now = self.now.max(next);
            if connection.until <= self.now && !connection.is_leaving {
                self.cut();
            }
        }
        self.now = until;
    }
}

/// Whether a step can come next.
pub(super) fn can_follow(order: &[Step], step: Step) -> bool {
    let model = Model::of(order);
    let most = if [Long, Short, HubOffers].contains(&step) { 2 } else { 1 };
    let is_possible = match step {
        HubOffers => model.connection.is_some_and(|connection| !connection.is_leaving) && !model.is_stopping,
        AgentAnswers => !model.open.is_empty(),
        Cuts => model.connection.is_some_and(|connection| !connection.is_cut),
        GoesAway => model.health != Health::Away,
        Refuses => model.health != Health::Refusing,
        Recovers => model.health != Health::Well,
        Reloads | Stops => !model.is_stopping,
        Long | Short => true,
    };
    let times = order.iter().filter(|other| **other == step).count();
    is_possible && !model.outcome.has_ended && (times < most || step == AgentAnswers)
}
