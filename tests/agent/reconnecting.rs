//! The hub connection is made, lost and made again.

use std::collections::HashMap;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::net::UnixDatagram;
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

use super::{ECHO, SOON, ask};
use crate::support::{DEVICE, EchoStream, Hub, Process, Sandbox, agent_with_config, timed};

/// A TCP proxy on loopback whose connections can be cut, or stalled as by a network that is gone.
#[derive(Clone, Default)]
struct Wire(Arc<(Mutex<WireState>, Condvar)>);

#[derive(Default)]
struct WireState {
    stalled: bool,
    open: HashMap<usize, [TcpStream; 2]>,
    accepted: usize,
}

impl Wire {
    /// The port that leads to `target`.
    fn to(&self, target: String) -> u16 {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let wire = self.clone();
        std::thread::spawn(move || {
            for near in listener.incoming() {
                let near = near.unwrap();
                // The hub may be down; then the connection ends at once.
                let Ok(far) = TcpStream::connect(&target) else { continue };
                let mut state = wire.0.0.lock().unwrap();
                state.accepted += 1;
                let id = state.accepted;
                state.open.insert(id, [near.try_clone().unwrap(), far.try_clone().unwrap()]);
                drop(state);
                for (from, to) in [(near.try_clone().unwrap(), far.try_clone().unwrap()), (far, near)] {
                    let wire = wire.clone();
                    std::thread::spawn(move || wire.carry(from, to, id));
                }
            }
        });
        port
    }

    fn carry(&self, mut from: TcpStream, mut to: TcpStream, id: usize) {
        let mut block = [0; 16_384];
        while let Ok(count @ 1..) = from.read(&mut block) {
            let (state, changed) = &*self.0;
            // Bytes on a stalled connection are lost.
            let state = changed
                .wait_while(state.lock().unwrap(), |state| state.stalled && state.open.contains_key(&id));
            if !state.unwrap().open.contains_key(&id) || to.write_all(&block[..count]).is_err() {
                break;
            }
        }
        self.cut(id);
    }

    fn cut(&self, id: usize) {
        if let Some(ends) = self.0.0.lock().unwrap().open.remove(&id) {
            for end in ends {
                // Either may have ended already.
                let _ = end.shutdown(std::net::Shutdown::Both);
            }
        }
        self.0.1.notify_all();
    }

    /// Connections no longer carry bytes, and do not end.
    fn stall(&self) {
        self.0.0.lock().unwrap().stalled = true;
    }

    /// New connections work again; stalled ones stay stalled.
    fn heal(&self) {
        let mut state = self.0.0.lock().unwrap();
        state.stalled = false;
        // Forgotten rather than closed: neither end must learn of it.
        std::mem::forget(std::mem::take(&mut state.open));
        drop(state);
    }

    fn cut_all(&self) {
        let open: Vec<usize> = self.0.0.lock().unwrap().open.keys().copied().collect();
        open.into_iter().for_each(|id| self.cut(id));
    }
}

/// An agent whose MQTT goes through `wire`, while its streams do not.
fn agent_over(sandbox: &Sandbox, hub: &Hub, wire: &Wire) -> Process {
    let port = wire.to(hub.mqtts.clone());
    let config = format!("transport = \"mqtt\"\nmqtt-port = {port}\nkeepalive = \"2s\"\n{ECHO}");
    agent_with_config(sandbox, hub, DEVICE, &config)
}

/// The sum of the waits that the agent has announced after the first `said` bytes of its log.
fn announced(agent: &Process, said: usize) -> f64 {
    let text = agent.stderr();
    let waits = text[said..]
        .lines()
        .filter_map(|line| line.rsplit_once("trying again in ")?.1.strip_suffix(" s")?.parse::<f64>().ok());
    waits.sum()
}

#[test]
fn a_lost_hub_connection_is_restored_and_no_stream_is_lost() {
    let sandbox = Sandbox::new();
    let hub = Hub::start(&sandbox, &["--device", DEVICE]);
    let wire = Wire::default();
    let mut agent = agent_over(&sandbox, &hub, &wire);
    let mut live = EchoStream::open(&sandbox, &hub, "echo");
    for round in 1..=20 {
        let said = agent.stderr().len();
        wire.cut_all();
        let begin = Instant::now();
        agent.says("in service", round + 1, SOON);
        let took = begin.elapsed().as_secs_f64();
        let announced = announced(&agent, said);
        assert!(took < announced + 2.0, "round {round}: {took} s, with {announced} s announced");
        live.works();
        ask(&sandbox, &hub, "echo", "new").succeeded();
    }
    // Only the missing answer to its ping tells the agent that the network is gone.
    wire.stall();
    agent.says("no answer to PINGREQ", 1, Duration::from_secs(40));
    live.works();
    wire.heal();
    agent.says("in service", 22, Duration::from_secs(60));
    live.works();
    ask(&sandbox, &hub, "echo", "new").succeeded();
}

#[test]
fn the_agent_reconnects_each_of_twenty_times_the_hub_is_killed() {
    let _quiet = timed();
    let sandbox = Sandbox::new();
    let mut hub = Hub::start(&sandbox, &["--device", DEVICE]);
    let mut agent = agent_with_config(&sandbox, &hub, DEVICE, ECHO);
    for round in 1..=20 {
        let said = agent.stderr().len();
        hub.process.kill();
        agent.says("trying again", round, SOON);
        hub.restart(&sandbox);
        let begin = Instant::now();
        agent.says("in service", round + 1, SOON);
        let took = begin.elapsed().as_secs_f64();
        let announced = announced(&agent, said);
        assert!(took < announced + 2.0, "round {round}: {took} s, with {announced} s announced");
        // An offer resets the backoff: the next failure is the first one again.
        ask(&sandbox, &hub, "echo", "back").succeeded();
    }
}

#[test]
fn a_hub_that_was_down_for_a_while_is_reached_within_five_seconds() {
    let _quiet = timed();
    let sandbox = Sandbox::new();
    let mut hub = Hub::start(&sandbox, &["--device", DEVICE]);
    let mut agent = agent_with_config(&sandbox, &hub, DEVICE, ECHO);
    hub.process.kill();
    // If it doubled each time, the next wait would be sixteen seconds.
    agent.says("trying again", 6, SOON);
    hub.restart(&sandbox);
    let begin = Instant::now();
    agent.says("in service", 2, SOON);
    assert!(begin.elapsed() < Duration::from_secs(5), "{:?}", begin.elapsed());
}

#[test]
fn a_refusal_is_reported_and_its_retry_after_is_obeyed() {
    let sandbox = Sandbox::new();
    let hub = Hub::start(&sandbox, &["--device", DEVICE, "--inject", "mqtt=503@1,retry-after=5"]);
    let begin = Instant::now();
    let mut agent = agent_with_config(&sandbox, &hub, DEVICE, ECHO);
    assert!(begin.elapsed() >= Duration::from_secs(5), "{:?}", begin.elapsed());
    let refused =
        format!("hub: {} refused the agent's WebSocket with 503; trying again in 5.0 s", hub.name());
    agent.says(&refused, 1, SOON);
    agent.says("try again in 5 s, as the server asks", 1, SOON);
}

#[test]
fn the_service_starts_while_the_hub_is_unreachable() {
    let sandbox = Sandbox::new();
    let mut hub = Hub::start(&sandbox, &["--device", DEVICE]);
    hub.process.kill();
    let socket = UnixDatagram::bind(sandbox.path("notify")).unwrap();
    socket.set_read_timeout(Some(SOON)).unwrap();
    let mut command = sandbox.iotstream();
    command.env("NOTIFY_SOCKET", sandbox.path("notify"));
    command.args(["agent", "-v", "--connection-string-file"]).arg(hub.device_file(DEVICE));
    let mut agent = Process::start("agent", command.arg("--ca-file").arg(hub.dir.join("ca.pem")));
    let mut block = [0; 4096];
    let status = socket.recv(&mut block).unwrap();
    assert!(String::from_utf8_lossy(&block[..status]).contains("trying again"));
    let ready = socket.recv(&mut block).unwrap();
    assert_eq!(block[..ready], *b"READY=1\n");
    hub.restart(&sandbox);
    agent.says("in service", 1, SOON);
}
