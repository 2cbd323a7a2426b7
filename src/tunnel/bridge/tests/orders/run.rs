//! A real bridge that goes through an order of steps, and both its sides.

use std::mem::take;
use std::sync::{Arc, Mutex};

use tokio::sync::mpsc;

use super::*;
use crate::time::interleavings::settle;

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
pub(super) struct Run {
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
    pub(super) async fn new(settings: &Settings) -> Self {
        let Ends { local, gateway, bridge, hangup, gone } = ends(PIPE, settings.clone(), b"").await;
        let count_of_other = if settings.direction == Some(Direction::Up) { "down" } else { "up" };
        let (local, peer) = (Side::new(local), Side::new(gateway.into_inner()));
        let (hangup, gone) = (Some(hangup), Some(gone));
        settle().await;
        Self { local, peer, bridge, hangup, gone, count_of_other, sent: (0, 0) }
    }

    pub(super) async fn take(&mut self, step: Step) {
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
    pub(super) async fn outcome(mut self, is_over: bool) -> Outcome {
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
