//! The command: what it prints, when it ends, and with which exit status.

use std::fs;
use std::net::TcpListener;

use rustix::process::Signal;

use crate::support::{Hub, LIMIT, Process, Sandbox, mode};

#[test]
fn it_prints_a_ready_line_and_ends_on_a_signal() {
    let sandbox = Sandbox::new();
    let dir = sandbox.path("new");
    for signal in [Signal::TERM, Signal::INT] {
        let mut command = sandbox.iotstream();
        command.args(["emulator", "--listen", "127.0.0.1:0", "--mqtt-listen", "127.0.0.1:0", "--dir"]);
        command.arg(&dir).args(["--device", "gw-07", "gw-07/mod"]);
        let hub = Hub::ready(Process::start("emulator", &mut command), dir.clone());
        let (https, mqtts) = (hub.https.strip_prefix("127.0.0.1:"), hub.mqtts.strip_prefix("127.0.0.1:"));
        let [https, mqtts] = [https, mqtts].map(|port| port.unwrap().parse::<u16>().unwrap());
        assert_ne!(https, mqtts);
        for file in ["service.conn", "profiles.toml", "devices/gw-07.conn", "devices/gw-07%2Fmod.conn"] {
            assert_eq!(mode(&dir.join(file)), 0o600, "{file}");
        }
        let service = fs::read_to_string(dir.join("service.conn")).unwrap();
        assert!(service.starts_with(&format!("HostName=localhost:{https};SharedAccessKeyName=service;")));

        hub.process.signal(signal);
        let done = hub.process.finish(LIMIT).succeeded();
        assert_eq!(done.text(), format!("ready https=127.0.0.1:{https} mqtts=127.0.0.1:{mqtts}\n"));
    }
}

#[test]
fn start_errors_name_their_cause() {
    let sandbox = Sandbox::new();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = taken.local_addr().unwrap().to_string();
    for (arguments, status, text) in [
        (&["--listen", &taken][..], 74, "listening on 127.0.0.1:"),
        (&["--listen", "127.0.0.1:0", "--inject", "x=1"], 2, "there are latency="),
        (&["--listen", "127.0.0.1:0", "--device", "a b"], 2, "device 'a b'"),
        (&["--listen", "127.0.0.1:0", "--device", "a;b"], 78, "';'"),
        (&["--listen", "127.0.0.1:0", "--hostname", "a:1"], 2, "'a:1'"),
    ] {
        let mut command = sandbox.iotstream();
        command.args(["emulator", "--mqtt-listen", "127.0.0.1:0", "--dir", "hub"]).args(arguments);
        let done = Process::start("emulator", &mut command).finish(LIMIT);
        assert_eq!((done.status.code(), done.text()), (Some(status), ""), "{}", done.stderr);
        assert!(done.stderr.contains(text), "{}", done.stderr);
    }
}
