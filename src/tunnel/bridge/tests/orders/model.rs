//! What a bridge promises in an order of steps.

use std::collections::VecDeque;

use super::*;

/// What a bridge promises.
#[derive(Clone)]
pub(super) struct Model {
    holds_close: bool,
    pub(super) outcome: Outcome,
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

    pub(super) fn of(settings: &Settings, order: &[Step]) -> Self {
        let mut model = Self::new(settings);
        order.iter().for_each(|step| model.take(*step));
        model
    }

    pub(super) fn is_over(&self) -> bool {
        self.outcome.end.is_some()
    }

    /// The next step; none counts once the stream is over.
    pub(super) fn take(&mut self, step: Step) {
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
    pub(super) fn allows(&self, seen: &Outcome, at_once: &[Step]) -> bool {
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
pub(super) fn can_follow(model: &Model, order: &[Step], step: Step) -> bool {
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
