//! What a supervisor promises in an order of steps.

use super::*;

/// What a supervisor promises.
#[derive(Clone, Default)]
pub(super) struct Model {
    pub(super) outcome: Outcome,
    has_no_target: bool,
    is_another_backend: bool,
    /// The time since a stop, and the limit of the streams then.
    stopped: Option<(Duration, Duration)>,
    /// When the listener had ended, since a stop.
    left: Option<Duration>,
    is_stopped_twice: bool,
}

impl Model {
    pub(super) fn of(order: &[Step]) -> Self {
        let mut model = Self::default();
        order.iter().for_each(|step| model.take(*step));
        model
    }

    pub(super) fn is_over(&self) -> bool {
        self.outcome.end.is_some()
    }

    fn take(&mut self, step: Step) {
        if self.is_over() {
            return;
        }
        let outcome = &mut self.outcome;
        match step {
            InService | Trouble | ReloadFails => {}
            // Nobody takes them any more.
            Offers | OffersUnreachable | OffersUnknown if self.left.is_some() => {}
            Offers if self.has_no_target => outcome.replies.push("no target"),
            Offers if outcome.live >= MOST => outcome.replies.push("limit"),
            Offers => {
                outcome.replies.push("accepted");
                outcome.live += 1;
            }
            OffersUnreachable if self.has_no_target || outcome.live < MOST => {
                outcome.replies.push("no target");
            }
            OffersUnreachable => outcome.replies.push("limit"),
            OffersUnknown => outcome.replies.push("no target"),
            StreamEnds => outcome.live = outcome.live.saturating_sub(1),
            // A stopping agent reloads nothing.
            Reloads | ReloadsEmpty | ReloadsAnotherBackend if self.stopped.is_some() => {}
            Reloads | ReloadsEmpty => {
                outcome.orders.push("reload");
                self.has_no_target = step == ReloadsEmpty;
            }
            ReloadsAnotherBackend => {
                outcome.orders.push("stop");
                (self.has_no_target, self.is_another_backend) = (false, !self.is_another_backend);
            }
            Stops | Leaves => match self.stopped {
                None => {
                    outcome.orders.push("stop");
                    let limit = if step == Stops { STOP_TIMEOUT } else { RESTART_TIMEOUT };
                    self.stopped = Some((Duration::ZERO, limit));
                }
                Some(_) => self.is_stopped_twice |= step == Stops,
            },
            ListenerEnds => match self.stopped {
                None => {
                    // Its streams end with it.
                    (outcome.ended, outcome.live) = (outcome.ended + outcome.live, 0);
                    outcome.end = Some("bug");
                }
                Some((since, _)) => self.left = self.left.or(Some(since)),
            },
            While => self.pass(WHILE),
            Ages => self.pass(AGES),
        }
        self.look();
    }

    fn pass(&mut self, time: Duration) {
        if let Some((since, _)) = &mut self.stopped {
            *since += time;
            self.left = self.left.or(Some(LISTENER_END));
        }
    }

    /// Whether a stop is complete: nobody waits for streams longer than he must.
    fn look(&mut self) {
        let outcome = &mut self.outcome;
        if let (Some((since, limit)), Some(left)) = (self.stopped, self.left)
            && (outcome.live == 0 || self.is_stopped_twice || since >= left + limit)
        {
            (outcome.ended, outcome.live) = (outcome.ended + outcome.live, 0);
            outcome.end = Some("stopped");
        }
    }
}

/// Whether a step can come next.
pub(super) fn can_follow(order: &[Step], step: Step) -> bool {
    let (model, has) = (Model::of(order), |step| order.contains(&step));
    let most = if step == Offers { MOST + 1 } else { 1 };
    let is_possible = match step {
        Offers | OffersUnreachable | OffersUnknown => model.left.is_none(),
        // These change nothing, and one of them in an order is enough.
        InService | Trouble | ReloadFails if has(InService) || has(Trouble) || has(ReloadFails) => false,
        InService | Trouble => model.left.is_none(),
        StreamEnds => model.outcome.live > 0,
        ListenerEnds => model.left.is_none() && !has(ListenerEnds),
        // Two orders to stop may wait, and no more.
        Reloads | ReloadsEmpty | ReloadsAnotherBackend | ReloadFails => model.stopped.is_none(),
        While | Ages => model.stopped.is_some(),
        Stops | Leaves => true,
    };
    is_possible && !model.is_over() && order.iter().filter(|other| **other == step).count() < most
}
