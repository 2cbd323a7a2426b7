//! A hub in memory, which serves one connection at a time.

use tokio::sync::mpsc;
use tokio::time::sleep_until;

use super::*;
use crate::time::interleavings::settle;

/// A hub in memory.
#[derive(Default)]
pub(super) struct Hub {
    pub(super) health: Health,
    /// The connections that have logged in, as the way to tell each what to do. `None` has ended.
    pub(super) connections: Vec<Option<mpsc::UnboundedSender<Told>>>,
    pub(super) answers: Vec<usize>,
}

/// What a hub's connection is told.
pub(super) enum Told {
    Offer(usize),
    Cut,
}

impl Hub {
    /// Serves a connection to its end.
    pub(super) async fn serve(hub: Arc<Mutex<Self>>, mut io: DuplexStream) {
        let (tell, mut told) = mpsc::unbounded_channel();
        let (mut wire, mut offered, mut at) = (Vec::new(), Vec::new(), None);
        let end = Instant::now() + Duration::from_secs(LIFE);
        loop {
            while let Some(packet) = packet(&mut wire) {
                if packet[0] >> 4 == 1 {
                    // What was sent before over another connection is read first.
                    settle().await;
                }
                let answer = match packet[0] >> 4 {
                    // CONNECT.
                    1 => {
                        let mut hub = hub.lock().unwrap();
                        let others = hub.connections.iter().filter(|other| other.is_some()).count();
                        assert_eq!(others, 0, "a login before the end of another throws that out");
                        if hub.health == Health::Refusing {
                            vec![0x20, 2, 0, 2]
                        } else {
                            at = Some(hub.connections.len());
                            hub.connections.push(Some(tell.clone()));
                            vec![0x20, 2, 0, 0]
                        }
                    }
                    // PUBLISH.
                    3 => {
                        let topic = String::from_utf8_lossy(&packet);
                        let id = topic.split("$rid=").nth(1).unwrap().parse().unwrap();
                        assert!(offered.contains(&id), "an answer over another connection: {topic}");
                        hub.lock().unwrap().answers.push(id);
                        Vec::new()
                    }
                    // SUBSCRIBE, UNSUBSCRIBE and PINGREQ.
                    8 => vec![0x90, 4, packet[2], packet[3], 0, 0],
                    10 => vec![0xb0, 2, packet[2], packet[3]],
                    12 => vec![0xd0, 0],
                    _ => Vec::new(),
                };
                let _ = io.write_all(&answer).await;
            }
            tokio::select! {
                order = told.recv() => match order {
                    Some(Told::Offer(id)) => {
                        offered.push(id);
                        publish(&mut io, &format!("$iothub/streams/POST/ssh/?$rid={id}&$url=wss%3A%2F%2Fg%2Fx&$auth=t")).await;
                    }
                    _ => break,
                },
                count = io.read_buf(&mut wire) => if count.unwrap_or(0) == 0 { break },
                () = sleep_until(end) => break,
            }
        }
        if let Some(at) = at {
            hub.lock().unwrap().connections[at] = None;
        }
    }

    pub(super) fn tell(&self, told: Told) {
        let alive = self.connections.iter().flatten().last().expect("a connection");
        alive.send(told).unwrap();
    }
}

/// Takes a whole packet. Its length fits two bytes.
fn packet(wire: &mut Vec<u8>) -> Option<Vec<u8>> {
    let (header, length) = match *wire.as_slice() {
        [_, length, ..] if length < 128 => (2, usize::from(length)),
        [_, low, high, ..] => (3, usize::from(low & 127) + 128 * usize::from(high)),
        _ => return None,
    };
    let packet = wire.get(..header + length)?.to_vec();
    wire.drain(..packet.len());
    // The header as if it had two bytes.
    Some(if header == 3 { [&packet[..2], &packet[3..]].concat() } else { packet })
}
