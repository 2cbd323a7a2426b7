//! Every order of what can happen to a bridge, up to a length, and what must come out of it.

use std::collections::VecDeque;
use std::mem::take;
use std::sync::{Arc, Mutex};

use tokio::sync::mpsc;

use super::held_close::HOLDING;
use super::*;
use crate::time::interleavings::{each_order, permutations, settle};

/// The bytes that a pipe holds, and those that a side sends at once, which are more.
const PIPE: usize = 64;
const CHUNK: usize = 100;

/// Longer than any limit but that of a silent peer, which is pinged then; and longer than that.
const WHILE: Duration = Duration::from_secs(40);
const AGES: Duration = Duration::from_secs(150);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
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

/// What a bridge promises.
#[derive(Clone)]
struct Model {
    holds_close: bool,
    outcome: Outcome,
    /// What waits behind data that a stalled side does not take.
    up: VecDeque<Step>,
    down: VecDeque<Step>,
    local_stalls: bool,
    peer_stalls: bool,
    local_ended: bool,
    local_gone: bool,
    peer_ended: bool,
    peer_gone: bool,
    /// Whether the local side sent data since the peer's end.
    sent_late: bool,
    /// Whether data was sent since the peer was heard: a ping behind it needs no answer.
    has_data: bool,
    /// Whether the peer left without reading all.
    is_unread: bool,
}

impl Model {
    fn new(settings: &Settings) -> Self {
        Self {
            holds_close: settings.hold_close,
            outcome: Outcome::default(),
            up: VecDeque::new(),
            down: VecDeque::new(),
            local_stalls: false,
            peer_stalls: false,
            local_ended: false,
            local_gone: false,
            peer_ended: false,
            peer_gone: false,
            sent_late: false,
            has_data: false,
            is_unread: false,
        }
    }

    fn of(settings: &Settings, order: &[Step]) -> Self {
        let mut model = Self::new(settings);
        order.iter().for_each(|step| model.take(*step));
        model
    }

    fn is_over(&self) -> bool {
        self.outcome.end.is_some()
    }

    /// The next step; none counts once the stream is over.
    fn take(&mut self, step: Step) {
        if self.is_over() {
            return;
        }
        match step {
            LocalSends | LocalEnds | LocalGoes => {
                self.up.push_back(step);
                self.up();
            }
            PeerSends | PeerPings | PeerCloses | PeerMiscounts | PeerFails | PeerGoes => {
                self.has_data &= step == PeerGoes || !self.down.is_empty();
                self.down.push_back(step);
                self.down();
            }
            LocalStalls => self.local_stalls = true,
            PeerStalls => self.peer_stalls = true,
            LocalReads => {
                self.local_stalls = false;
                self.down();
            }
            PeerReads => {
                self.peer_stalls = false;
                self.up();
            }
            While => self.pass(),
            Ages => {
                let is_closing = self.peer_ended || self.local_ended && !self.holds_close;
                if !is_closing && !self.has_data && self.up.is_empty() && self.down.is_empty() {
                    self.outcome.end = Some("silent");
                }
                self.pass();
            }
            HangsUp => self.hang_up("told to end"),
            CallerGoes => self.hang_up("gone"),
        }
    }

    /// What the local side has sent passes, up to data for a peer that does not read.
    fn up(&mut self) {
        while let Some(step) = self.up.front() {
            self.has_data |= *step == LocalSends;
            self.sent_late |= *step == LocalSends && self.peer_ended;
            if *step == LocalSends && self.peer_gone {
                self.outcome.end = Some("abandoned");
            }
            if *step == LocalSends && self.peer_stalls || self.is_over() {
                return;
            }
            match self.up.pop_front() {
                Some(LocalSends) => self.outcome.to_peer += CHUNK,
                end => {
                    (self.local_ended, self.local_gone) = (true, end == Some(LocalGoes));
                    if !self.holds_close || self.peer_ended {
                        self.close(Close::NORMAL, None);
                    }
                    if self.peer_ended {
                        self.outcome.end =
                            Some(if self.sent_late && self.peer_gone { "abandoned" } else { "peer" });
                    }
                }
            }
        }
    }

    /// What the peer has sent passes, up to data for a local side that does not read.
    fn down(&mut self) {
        while let Some(step) = self.down.front()
            && !(*step == PeerSends && self.local_stalls && !self.local_gone)
            && !self.is_over()
        {
            let step = self.down.pop_front().unwrap();
            // Part of it has arrived before.
            self.has_data &= self.down.is_empty();
            match step {
                PeerSends if self.local_gone => {
                    self.close(Close::NORMAL, Some(""));
                    self.outcome.end = Some(if self.holds_close { "local failed" } else { "local" });
                }
                PeerSends => self.outcome.to_local += CHUNK,
                PeerPings => self.outcome.pongs += usize::from(!self.local_ended || self.holds_close),
                PeerCloses => {
                    self.peer_ended = true;
                    self.outcome.sees_end = true;
                    if self.local_ended {
                        self.close(Close::NORMAL, None);
                        self.outcome.end = Some("local");
                    }
                }
                PeerMiscounts => {
                    let problem = format!("{} of 1 bytes arrived", self.outcome.to_local);
                    self.close(Close::FAILURE, Some(&problem));
                    self.outcome.end = Some("incomplete");
                }
                PeerFails => {
                    self.close(Close::NORMAL, Some("").filter(|_| self.local_ended));
                    self.outcome.end = Some("peer failed");
                }
                _ => self.peer_goes(),
            }
        }
    }

    fn peer_goes(&mut self) {
        (self.peer_gone, self.is_unread) = (true, self.peer_stalls);
        let is_blocked = !self.up.is_empty();
        self.outcome.end = match (self.peer_ended, self.holds_close) {
            (true, _) if is_blocked => Some("abandoned"),
            (true, true) if self.sent_late => Some("abandoned"),
            (true, true) => Some("peer"),
            // The local side gets some time.
            (true, false) => None,
            (false, true) if self.local_ended => Some("local"),
            (false, _) => Some("cut"),
        };
    }

    /// Time passes, and the short limits with it.
    fn pass(&mut self) {
        if self.is_over() || !self.peer_ended {
            return;
        }
        if self.peer_gone {
            self.outcome.end = Some("abandoned");
        } else if self.holds_close && self.up.is_empty() {
            self.close(Close::NORMAL, None);
            self.outcome.end = Some("peer");
        }
    }

    fn hang_up(&mut self, reason: &str) {
        if self.local_ended && self.holds_close {
            self.close(Close::NORMAL, Some(""));
        }
        self.close(Close::GOING_AWAY, Some(reason));
        self.outcome.end = Some("hung up");
    }

    /// Our first Close is our only one. Its reason is the count of bytes by default.
    fn close(&mut self, code: u16, reason: Option<&str>) {
        let reason = reason.map_or_else(|| self.count(self.outcome.to_peer), str::to_owned);
        if !self.peer_gone {
            self.outcome.close.get_or_insert((code, reason));
        }
    }

    /// Whether that may have come out. Any part of what a stalled side did not take may have arrived. After steps at once, a
    /// stream that fails or is hung up may end before what came with the cause is sent.
    fn allows(&self, seen: &Outcome, at_once: &[Step]) -> bool {
        let mut expected = self.outcome.clone();
        expected.sees_end &= !self.is_over();
        let is_cut_off = at_once.len() > 1 && !matches!(expected.end, None | Some("local" | "peer"));
        if is_cut_off {
            if let Some((_, reason)) = &mut expected.close {
                *reason = reason.replace(&self.count(expected.to_peer), &self.count(seen.to_peer));
            }
            expected.to_peer = seen.to_peer;
        }
        if at_once.len() > 1 && self.is_over() {
            expected.pongs = expected.pongs.min(seen.pongs);
        }
        if self.is_over() && !self.down.is_empty() {
            expected.to_local = seen.to_local;
        }
        let has_left = at_once.len() > 1 && at_once.contains(&PeerGoes);
        if self.is_unread || has_left || self.is_over() && !self.up.is_empty() {
            (expected.to_peer, expected.pongs, expected.close) =
                (seen.to_peer, seen.pongs, seen.close.clone());
        }
        expected == *seen
    }

    /// The count of bytes in a Close.
    fn count(&self, bytes: usize) -> String {
        format!("iotstream {} {bytes}", if self.holds_close { "up" } else { "down" })
    }
}

/// Whether a step can come next: who has ended does nothing more. Some cases depend on what a pipe holds.
fn can_follow(model: &Model, order: &[Step], step: Step) -> bool {
    let (local, peer) = ([LocalEnds, LocalGoes], [PeerCloses, PeerMiscounts, PeerFails, PeerGoes]);
    let has = |steps: &[Step]| order.iter().any(|step| steps.contains(step));
    let most = if [LocalSends, PeerSends].contains(&step) { 2 } else { 1 };
    let is_possible = match step {
        LocalSends | LocalEnds => !has(&local),
        LocalGoes => !has(&local) && model.up.is_empty() && model.down.is_empty(),
        LocalStalls => !has(&[LocalGoes]),
        LocalReads => !has(&[LocalGoes]) && model.local_stalls,
        PeerSends | PeerCloses | PeerMiscounts | PeerFails => !has(&peer),
        PeerPings => !has(&peer) && model.down.is_empty(),
        PeerGoes => !has(&peer[1..]) && model.down.is_empty(),
        PeerStalls => !model.peer_gone,
        PeerReads => !model.peer_gone && model.peer_stalls,
        While | Ages | HangsUp | CallerGoes => true,
    };
    is_possible && !model.is_over() && order.iter().filter(|other| **other == step).count() < most
}

/// What a side is told to do.
enum Act {
    Send(Vec<u8>),
    /// Shut down after what it has sent, or drop the connection.
    End,
    Go,
    Read(bool),
}

/// A side of the bridge.
struct Side {
    acts: mpsc::UnboundedSender<Act>,
    taken: Arc<Mutex<Taken>>,
}

/// What a side has received, and whether that is all.
#[derive(Default)]
struct Taken {
    bytes: Vec<u8>,
    is_all: bool,
}

impl Side {
    fn new(io: DuplexStream) -> Self {
        let (acts, told) = mpsc::unbounded_channel();
        let taken = Arc::default();
        tokio::spawn(Self::run(io, told, Arc::clone(&taken)));
        Self { acts, taken }
    }

    async fn run(io: DuplexStream, mut told: mpsc::UnboundedReceiver<Act>, taken: Arc<Mutex<Taken>>) {
        let (mut read, mut write) = tokio::io::split(io);
        let (mut unsent, mut ends, mut goes) = (Vec::new(), false, false);
        let (mut reads, mut block) = (true, [0; 256]);
        loop {
            tokio::select! {
                biased;
                act = told.recv() => match act {
                    Some(Act::Send(bytes)) => unsent.extend(bytes),
                    Some(Act::End) => ends = true,
                    Some(Act::Go) => goes = true,
                    Some(Act::Read(does)) => reads = does,
                    None => return,
                },
                sent = write.write(&unsent), if !unsent.is_empty() => match sent {
                    Ok(count) => drop(unsent.drain(..count)),
                    Err(_) => unsent.clear(),
                },
                count = read.read(&mut block), if reads && !taken.lock().unwrap().is_all => match count {
                    Ok(count @ 1..) => taken.lock().unwrap().bytes.extend(&block[..count]),
                    _ => taken.lock().unwrap().is_all = true,
                },
            }
            if unsent.is_empty() && goes {
                return;
            }
            if unsent.is_empty() && take(&mut ends) {
                write.shutdown().await.unwrap();
            }
        }
    }

    fn act(&self, act: Act) {
        // Fails for one that has gone.
        let _ = self.acts.send(act);
    }
}

/// A bridge that goes through an order.
struct Run {
    local: Side,
    peer: Side,
    bridge: tokio::task::JoinHandle<(End, u64, u64)>,
    hangup: Option<oneshot::Sender<()>>,
    gone: Option<oneshot::Sender<()>>,
    count_of_other: &'static str,
    /// The chunks that each side has sent.
    sent: (usize, usize),
}

impl Run {
    async fn new(settings: &Settings) -> Self {
        let Ends { local, gateway, bridge, hangup, gone } = ends(PIPE, settings.clone(), b"").await;
        let count_of_other = if settings.direction == Some(Direction::Up) { "down" } else { "up" };
        let (local, peer) = (Side::new(local), Side::new(gateway.into_inner()));
        let (hangup, gone) = (Some(hangup), Some(gone));
        settle().await;
        Self { local, peer, bridge, hangup, gone, count_of_other, sent: (0, 0) }
    }

    async fn take(&mut self, step: Step) {
        let (local, peer) = (&self.local, &self.peer);
        let close = |code: u16, reason: &str| {
            let payload = [&code.to_be_bytes(), reason.as_bytes()].concat();
            peer.act(Act::Send([&[0x88, u8::try_from(payload.len()).unwrap()], &payload[..]].concat()));
        };
        match step {
            LocalSends => {
                local.act(Act::Send(chunk(self.sent.0)));
                self.sent.0 += 1;
            }
            LocalEnds => local.act(Act::End),
            LocalGoes => local.act(Act::Go),
            LocalStalls => local.act(Act::Read(false)),
            LocalReads => local.act(Act::Read(true)),
            PeerSends => {
                let length = u8::try_from(CHUNK).unwrap();
                peer.act(Act::Send([&[0x82, length], &chunk(self.sent.1)[..]].concat()));
                self.sent.1 += 1;
            }
            PeerPings => peer.act(Act::Send(b"\x89\x02hi".to_vec())),
            PeerCloses => close(Close::NORMAL, ""),
            PeerMiscounts => close(Close::NORMAL, &format!("iotstream {} 1", self.count_of_other)),
            PeerFails => close(Close::FAILURE, ""),
            PeerGoes => peer.act(Act::Go),
            PeerStalls => peer.act(Act::Read(false)),
            PeerReads => peer.act(Act::Read(true)),
            While => sleep(WHILE).await,
            Ages => sleep(AGES).await,
            HangsUp => drop(self.hangup.take().map(|hangup| hangup.send(()))),
            CallerGoes => drop(self.gone.take().map(|gone| gone.send(()))),
        }
    }

    /// What has come out. `is_over`: the bridge must end, with the limits of a hang-up.
    async fn outcome(mut self, is_over: bool) -> Outcome {
        let mut outcome = Outcome::default();
        let limit = if is_over { 6 * HANGUP } else { Duration::ZERO };
        if let Ok(ended) = timeout(limit, &mut self.bridge).await {
            outcome.end = Some(kind(&ended.unwrap().0));
            self.local.act(Act::Read(true));
            self.peer.act(Act::Read(true));
            settle().await;
        }
        let mut to_peer = Vec::new();
        for (opcode, payload) in unmasked(&self.peer.taken.lock().unwrap().bytes) {
            assert!(outcome.close.is_none(), "frames behind our Close");
            match opcode {
                0x82 => to_peer.extend(payload),
                0x88 => {
                    let code = u16::from_be_bytes([payload[0], payload[1]]);
                    outcome.close = Some((code, String::from_utf8(payload[2..].to_vec()).unwrap()));
                }
                0x89 => assert!(payload.is_empty()),
                0x8a => {
                    assert_eq!(payload, b"hi");
                    outcome.pongs += 1;
                }
                _ => panic!("a frame of an unknown kind"),
            }
        }
        let Taken { bytes: to_local, is_all } = take(&mut *self.local.taken.lock().unwrap());
        outcome.sees_end = is_all && outcome.end.is_none();
        let all: Vec<_> = (0..2).flat_map(chunk).collect();
        assert!(all.starts_with(&to_peer) && all.starts_with(&to_local), "other bytes than were sent");
        (outcome.to_peer, outcome.to_local) = (to_peer.len(), to_local.len());
        outcome
    }
}

/// The `at`th chunk of a side.
fn chunk(at: usize) -> Vec<u8> {
    noise((at + 1) * CHUNK)[at * CHUNK..].to_vec()
}

/// The frames of a client, as the first byte and the payload. The last may be cut off.
fn unmasked(mut wire: &[u8]) -> Vec<(u8, Vec<u8>)> {
    let mut frames = Vec::new();
    while let [first, length, a, b, c, d, rest @ ..] = wire
        && let Some((payload, rest)) = rest.split_at_checked(usize::from(length & 0x7f))
    {
        let key = [a, b, c, d].into_iter().cycle();
        frames.push((*first, payload.iter().zip(key).map(|(byte, key)| byte ^ key).collect()));
        wire = rest;
    }
    frames
}

fn kind(end: &End) -> &'static str {
    match end {
        End::Local => "local",
        End::Peer(_) => "peer",
        End::PeerFailed(_) => "peer failed",
        End::LocalFailed(_) => "local failed",
        End::Cut(_) => "cut",
        End::Incomplete(_) => "incomplete",
        End::Silent(_) => "silent",
        End::Abandoned => "abandoned",
        End::HungUp { whole: false } => "hung up",
        End::HungUp { whole: true } => "hung up whole",
        End::PeerEmptied | End::ThrownBack | End::Violation(_) => "another",
    }
}

const ALL: [Step; 17] = [
    LocalSends,
    LocalEnds,
    LocalGoes,
    LocalStalls,
    LocalReads,
    PeerSends,
    PeerPings,
    PeerCloses,
    PeerMiscounts,
    PeerFails,
    PeerGoes,
    PeerStalls,
    PeerReads,
    While,
    Ages,
    HangsUp,
    CallerGoes,
];

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
    each_order(&ALL, depth, can_follow, async |order| {
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
