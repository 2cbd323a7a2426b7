//! Every order of what can happen to a bridge, up to a length, and what must come out of it.

mod model;
mod run;

use self::model::{Model, can_follow};
use self::run::Run;
use super::held_close::HOLDING;
use super::*;
use crate::time::interleavings::{each_order, permutations, settle, steps};

/// The bytes that a pipe holds, and those that a side sends at once, which are more.
const PIPE: usize = 64;
const CHUNK: usize = 100;

/// Longer than any limit but that of a silent peer, which is pinged then; and longer than that.
const WHILE: Duration = Duration::from_secs(40);
const AGES: Duration = Duration::from_secs(150);

steps! {
    LocalSends,
    LocalEnds,
    /// It ends in both directions.
    LocalGoes,
    /// It does not read, or reads again.
    LocalStalls,
    LocalReads,
    PeerSends,
    PeerPings,
    PeerCloses,
    /// It closes with a count of bytes that it has not sent.
    PeerMiscounts,
    PeerFails,
    /// Its connection ends.
    PeerGoes,
    PeerStalls,
    PeerReads,
    /// Nothing happens for a while, and for ages.
    While,
    Ages,
    HangsUp,
    CallerGoes,
}

use Step::*;

/// What comes out of an order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Outcome {
    /// The kind of the end; `None` while the bridge runs.
    end: Option<&'static str>,
    /// The bytes that arrived.
    to_peer: usize,
    to_local: usize,
    /// Whether the local side has seen the peer's end while the bridge runs.
    sees_end: bool,
    pongs: usize,
    /// The Close that the peer received.
    close: Option<(u16, String)>,
}

/// The settings of a helper; those of an agent are [`PATIENT`].
const HELPER: Settings = Settings { keepalive: Some(Keepalive::DEFAULT), ..HOLDING };

/// Whose step it is: each does one thing after the other.
fn actor(step: Step) -> u8 {
    match step {
        LocalSends | LocalEnds | LocalGoes | LocalStalls | LocalReads => 0,
        PeerSends | PeerPings | PeerCloses | PeerMiscounts | PeerFails | PeerGoes | PeerStalls
        | PeerReads => 1,
        HangsUp => 2,
        CallerGoes => 3,
        While | Ages => 4,
    }
}

/// The models of an order whose last steps come at once, and so in any order of their actors.
fn models(settings: &Settings, before: &[Step], at_once: &[Step]) -> Vec<Model> {
    let mut models = Vec::new();
    for order in permutations(at_once) {
        let steps =
            |of: &[Step], who| of.iter().copied().filter(|step| actor(*step) == who).collect::<Vec<_>>();
        let mut model = Model::of(settings, before);
        let mut so_far = before.to_vec();
        let is_possible = (0..5).all(|who| steps(&order, who) == steps(at_once, who))
            && order.iter().all(|step| {
                let can_come = model.is_over() || can_follow(&model, &so_far, *step);
                model.take(*step);
                so_far.push(*step);
                can_come
            });
        if is_possible {
            models.push(model);
        }
    }
    models
}

/// Goes through all orders of at most `depth` steps, of which the last `at_once` come at once and the others one after the
/// other. In the end, stalled sides read. Returns the number of orders.
fn explore(settings: &Settings, depth: usize, at_once: usize) -> usize {
    let can_follow = |order: &[Step], step| can_follow(&Model::of(settings, order), order, step);
    each_order(ALL, depth, can_follow, async |order| {
        let (before, at_once) = order.split_at(order.len().saturating_sub(at_once));
        let mut models = models(settings, before, at_once);
        let mut run = Run::new(settings).await;
        for step in before {
            run.take(*step).await;
            settle().await;
        }
        for step in at_once {
            run.take(*step).await;
        }
        settle().await;
        for step in [LocalReads, PeerReads] {
            if at_once.len() > 1 || models.iter().any(|model| !model.is_over()) {
                run.take(step).await;
                settle().await;
            }
            models.iter_mut().for_each(|model| model.take(step));
        }
        let seen = run.outcome(models.iter().any(Model::is_over)).await;
        let expected: Vec<_> = models.iter().map(|model| &model.outcome).collect();
        assert!(models.iter().any(|model| model.allows(&seen, at_once)), "{seen:?}, not {expected:?}");
    })
}

#[test]
fn steps_at_an_agent_one_after_the_other() {
    assert!(explore(&PATIENT, 4, 1) > 5000);
}

#[test]
fn steps_at_a_helper_one_after_the_other() {
    assert!(explore(&HELPER, 4, 1) > 5000);
}

#[test]
fn two_steps_at_once() {
    assert!(explore(&PATIENT, 3, 2) + explore(&HELPER, 3, 2) > 1500);
}

#[test]
fn three_steps_at_once() {
    assert!(explore(&PATIENT, 3, 3) + explore(&HELPER, 3, 3) > 1500);
}
