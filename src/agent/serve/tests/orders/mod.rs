//! Every order of what can happen to the supervisor, up to a length, and what must come out of it.

mod model;
mod run;

use self::model::{Model, can_follow};
use self::run::Run;
use super::*;
use crate::time::interleavings::{self, permutations, steps};

/// The streams that the configuration allows.
const MOST: usize = 2;
const STOP_TIMEOUT: Duration = Duration::from_secs(10);
const RESTART_TIMEOUT: Duration = Duration::from_secs(100);

/// Longer than the limits of a stop, and longer than those of a restart.
const WHILE: Duration = Duration::from_secs(30);
const AGES: Duration = Duration::from_secs(200);

steps! {
    /// The listener is in service, or has lost it.
    InService,
    Trouble,
    Offers,
    /// An offer whose target cannot be reached, and one without a target.
    OffersUnreachable,
    OffersUnknown,
    /// The user of the first live stream ends it.
    StreamEnds,
    Reloads,
    /// The new configuration has no target.
    ReloadsEmpty,
    ReloadsAnotherBackend,
    /// The new configuration is invalid.
    ReloadFails,
    Stops,
    Leaves,
    /// The listener ends.
    ListenerEnds,
    While,
    Ages,
}

use Step::*;

/// What comes out of an order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Outcome {
    /// The replies to the offers.
    replies: Vec<&'static str>,
    /// What the listeners were told.
    orders: Vec<&'static str>,
    /// The streams that still carry bytes, and those that the agent has ended.
    live: usize,
    ended: usize,
    /// How the agent ended.
    end: Option<&'static str>,
}

/// Whether steps can come at once: not those that need what has come before, or an end of a listener that a reload removes.
fn can_coincide(steps: &[Step]) -> bool {
    let has = |step| steps.contains(&step);
    steps.len() == 1
        || !(has(StreamEnds) || has(While) || has(Ages) || has(ListenerEnds) && has(ReloadsAnotherBackend))
}

impl Outcome {
    /// What is compared after steps at once: a listener sees only the last order, and a bug in one ends everything.
    fn at_once(mut self) -> Self {
        self.orders.clear();
        if self.end == Some("bug") { Self { end: self.end, ..Self::default() } } else { self }
    }
}

/// Goes through all orders of at most `depth` steps, of which the last `at_once` come at once and the others one after the
/// other. Returns the number of orders.
fn explore(depth: usize, at_once: usize) -> usize {
    let network = network();
    interleavings::each_order(ALL, depth, can_follow, async |order| {
        let (before, at_once) = order.split_at(order.len().saturating_sub(at_once));
        if !can_coincide(at_once) {
            return;
        }
        let mut run = Run::new(&network).await;
        for step in before {
            run.take(*step).await;
            run.settle().await;
        }
        for step in at_once {
            run.take(*step).await;
        }
        run.settle().await;
        let all = permutations(at_once);
        let models: Vec<_> = all.iter().map(|order| Model::of(&[before, order].concat())).collect();
        let seen = run.outcome(models.iter().any(Model::is_over)).await;
        let is_expected = |model: &Model| match at_once.len() {
            1 => model.outcome == seen,
            _ => model.outcome.clone().at_once() == seen.clone().at_once(),
        };
        let expected: Vec<_> = models.iter().map(|model| &model.outcome).collect();
        assert!(models.iter().any(is_expected), "{seen:?}, not {expected:?}");
    })
}

#[test]
fn steps_one_after_the_other() {
    assert!(explore(3, 1) > 700);
}

#[test]
#[ignore = "slow: longer orders"]
fn longer_orders() {
    assert!(explore(4, 1) > 4000);
}

#[test]
fn two_steps_at_once() {
    assert!(explore(3, 2) > 700);
}
