//! Relays that break the protocol or send without end: the agent's memory stays bounded, it stays responsive, and it says
//! no secret.

use std::io::Write;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use rustix::process::Signal;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;

use crate::support::{
    DEVICE, Hub, LIMIT, Process, Sandbox, Stdin, eventually, http_request, in_service, peak_rss_kib,
    resident_kib, run, serve_tls,
};

const KEY: &str = "c2VjcmV0";

const AT_ONCE: Duration = Duration::from_secs(10);

/// The memory in KiB that a hostile relay may cost an agent.
const TOLERATED: u64 = 2 * 1024;

/// An emulator with `faults`, and its agent, which has not connected yet.
fn relay(sandbox: &Sandbox, faults: &str) -> (Hub, Process) {
    let mut args = vec!["--relay-entity", DEVICE];
    if !faults.is_empty() {
        args.extend(["--inject", faults]);
    }
    let hub = Hub::start(sandbox, &args);
    let mut agent = sandbox.iotstream();
    agent.args(["agent", "-vv", "--target", "echo=builtin:echo", "--ca-file"]).arg(hub.dir.join("ca.pem"));
    agent.arg("--connection-string-file").arg(hub.dir.join("relay").join(format!("{DEVICE}.listen.conn")));
    let agent = Process::start("agent", &mut agent);
    (hub, agent)
}

fn helper(sandbox: &Sandbox, hub: &Hub) -> Command {
    let mut helper = hub.helper(sandbox);
    helper.args(["--profile", "relay", "--wait", "50s", "--stream", "echo", DEVICE]);
    helper
}

fn says_no_secret(agent: &Process, hub: &Hub) {
    let said = agent.stderr();
    let conn = std::fs::read_to_string(hub.dir.join("relay").join(format!("{DEVICE}.listen.conn"))).unwrap();
    let key = conn.split("SharedAccessKey=").nth(1).and_then(|rest| rest.split(';').next()).unwrap();
    for secret in [key.trim(), "sb-hc-", "SharedAccessSignature", "sig=", "Sec-WebSocket"] {
        assert!(!said.contains(secret), "{secret}: {said}");
    }
}

#[test]
fn no_fault_of_a_relay_hangs_or_grows_the_agent() {
    let sandbox = Sandbox::new();
    let (mut usual, rows) = (
        0,
        [
            ("", "in service"),
            ("relay-address=host@1", "names a gateway at gateway.invalid"),
            ("relay-address=ws@1", "ws://, without TLS"),
            ("relay-address=reused@1", "open to builtin echo"),
            ("relay-message=giant@1", "longer than 262144 bytes"),
            ("relay-message=endless@1", "longer than 262144 bytes"),
            ("relay-message=garbage@1", "is not a JSON object"),
            ("relay-message=binary@1", "in service"),
            ("relay-message=unknown@1", "a control message is ignored: unknown"),
            ("relay-message=request@1", "in service"),
            ("relay-message=body@1", "in service"),
            ("relay-message=address@1", "a request in HTTP mode"),
            ("relay-headers=numeric", "in service"),
            ("relay-headers=repeated", "in service"),
            ("relay-listen=503@2", "with 503"),
            ("relay-listen=drop@1", "closed the connection without an answer"),
            ("relay-token=kept,relay-path=encoded", "in service"),
        ],
    );
    for (fault, part) in rows {
        let faults = if fault.is_empty() { String::new() } else { format!("relay-timeout=2s,{fault}") };
        let (hub, mut agent) = relay(&sandbox, &faults);
        let done = run(&mut helper(&sandbox, &hub), Stdin::Ends(b"there and back"), LIMIT);
        assert_eq!(done.succeeded().text(), "there and back", "{fault}");
        agent.says(part, 1, AT_ONCE);
        says_no_secret(&agent, &hub);
        let peak = peak_rss_kib(agent.pid());
        if fault.is_empty() {
            usual = peak;
        }
        assert!(peak <= usual + TOLERATED, "{fault}: {peak} KiB, and usually {usual}");
        agent.signal(Signal::TERM);
        assert!(agent.ends(AT_ONCE).success(), "{fault}");
    }
}

#[test]
fn a_relay_that_does_not_answer_is_given_up_and_tried_again() {
    let sandbox = Sandbox::new();
    let (hub, mut agent) = relay(&sandbox, "relay-listen=silent@1");
    agent.says("no answer from localhost", 1, LIMIT);
    agent.says("in service", 1, AT_ONCE);
    run(&mut helper(&sandbox, &hub), Stdin::Ends(b"x"), LIMIT).succeeded();
    says_no_secret(&agent, &hub);
}

/// An agent at a relay that sends the messages that `message` makes, without end. Returns the count of those sent.
fn flooded(sandbox: &Sandbox, message: fn(usize) -> String) -> (Process, Arc<AtomicUsize>) {
    let sent = Arc::new(AtomicUsize::new(0));
    let counted = sent.clone();
    let (port, ca_file) = serve_tls(sandbox, move |mut stream| {
        let Some(head) = http_request(&mut stream) else { return };
        let lower_case = head.to_ascii_lowercase();
        let at = lower_case.find("sec-websocket-key: ").unwrap() + "sec-websocket-key: ".len();
        let accept = derive_accept_key(head[at..].lines().next().unwrap().trim().as_bytes());
        let mut flood = || -> std::io::Result<()> {
            write!(
                stream,
                "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: {accept}\r\n\r\n"
            )?;
            for turn in 0.. {
                let mut several = Vec::new();
                for number in turn * 100..(turn + 1) * 100 {
                    let text = message(number);
                    several.extend([0x81, 126]);
                    several.extend(u16::try_from(text.len()).unwrap().to_be_bytes());
                    several.extend(text.as_bytes());
                }
                stream.write_all(&several)?;
                stream.flush()?;
                counted.fetch_add(100, Relaxed);
            }
            Ok(())
        };
        // The agent ends the connection, which fails a write.
        let _ = flood();
    });
    let config = format!(
        "connection-string = \"Endpoint=sb://localhost:{port}/;SharedAccessKeyName=r;SharedAccessKey={KEY};EntityPath=gw\"\n\
         ca-file = {ca_file:?}\nmax-sessions = 4\napprove-timeout = \"1h\"\n\
         [[target]]\nstream = \"asked\"\nbuiltin = \"echo\"\napprove = {{ command = [\"sleep\", \"600\"] }}\n"
    );
    let mut command = sandbox.iotstream();
    command.args(["agent", "-v", "--config"]).arg(sandbox.write("agent.toml", config));
    (in_service(&mut command), sent)
}

/// Signals are handled, whatever the relay does.
fn obeys(agent: &mut Process) {
    agent.signal(Signal::HUP);
    agent.says("the configuration has been read again", 1, AT_ONCE);
    agent.signal(Signal::TERM);
    assert_eq!(agent.ends(AT_ONCE).code(), Some(0));
}

fn enough(sent: &AtomicUsize, count: usize) {
    eventually(LIMIT, || {
        let sent = sent.load(Relaxed);
        if sent >= count { Ok(()) } else { Err(format!("{sent} of {count} messages")) }
    });
}

#[test]
fn a_flood_of_offers_does_not_grow_memory() {
    let sandbox = Sandbox::new();
    let (mut agent, sent) = flooded(&sandbox, |number| {
        let stream = ["asked", "unknown"][number % 2];
        let address = format!("wss://localhost:1/$hc/gw/{stream}?sb-hc-action=accept&sb-hc-id={number}");
        format!(r#"{{"accept":{{"address":"{address}","id":"{number}_G0","connectHeaders":{{"0":"x"}}}}}}"#)
    });
    enough(&sent, 5_000);
    let before = resident_kib(agent.pid());
    enough(&sent, 30_000);
    let peak = peak_rss_kib(agent.pid());
    assert!(peak < before + TOLERATED, "{before} KiB after 5,000 offers, {peak} KiB after 30,000");
    agent.says("there are 4 streams already", 1, LIMIT);
    obeys(&mut agent);
}

#[test]
fn a_relay_that_asks_and_does_not_read_grows_no_memory_and_delays_no_signal() {
    let sandbox = Sandbox::new();
    let (mut agent, sent) = flooded(&sandbox, |number| {
        format!(r#"{{"request":{{"id":"{}{number}","method":"GET","body":false}}}}"#, "i".repeat(900))
    });
    // Once the answers are stuck, nothing more is read.
    eventually(LIMIT, || {
        let before = sent.load(Relaxed);
        std::thread::sleep(Duration::from_millis(500));
        let now = sent.load(Relaxed);
        if now == before && now > 0 { Ok(()) } else { Err(format!("{now} requests are taken, and more")) }
    });
    assert!(peak_rss_kib(agent.pid()) < 100 * 1024);
    obeys(&mut agent);
}
