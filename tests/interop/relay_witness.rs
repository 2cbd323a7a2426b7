//! Azure Relay with peers in Python that share no code with the program and were written from the protocol alone.
//!
//! Each of our parts meets a peer that is not ours: the sender and the listener in Python use the emulator, with each
//! other and with our other half, and the helper and the agent use the namespace in Python.

mod target;

use std::time::Duration;

use serde_json::Value;

use self::target::{Play, Target, kept};
use super::witness::peers::{MEBIBYTE, PATIENCE, assert_echo, echo, farewell, finished_echo};
use super::witness::python::witness;
use crate::support::{
    DEVICE, Finished, Namespace, Process, Sandbox, closed_port, iotstream, random, serve, sha256,
};

const UNAVAILABLE: i32 = 69;
const TEMPORARY: i32 = 75;

// The exit statuses of relay_sender.py.
const WITNESS_CONTENT: i32 = 0;
const WITNESS_REFUSED: i32 = 3;

/// What clients sign: the URI with and without its slash, port and path, in each scheme.
const AUDIENCES: [&str; 8] =
    ["dotnet", "documented", "aztunnel", "lower", "node", "java", "java-namespace", "namespace"];

/// A namespace and its callers.
struct Stage {
    namespace: Namespace,
    sandbox: Sandbox,
}

impl Stage {
    fn at_emulator(args: &[&str]) -> Self {
        let sandbox = Sandbox::new();
        Self { namespace: Namespace::emulator(&sandbox, args), sandbox }
    }

    /// At the namespace in Python, which counts the mistakes of its callers.
    fn at_witness(options: &[&str]) -> Self {
        let sandbox = Sandbox::new();
        let dir = sandbox.path("namespace");
        let mut command = witness(&sandbox, "relay_service.py");
        command.arg("--dir").arg(&dir).args(["--entity", DEVICE]).args(options);
        let namespace = Namespace::ready(Process::start("relay_service.py", &mut command), dir);
        Self { namespace, sandbox }
    }

    fn python(&self, script: &str, file: &str, options: &[&str]) -> Process {
        let mut command = witness(&self.sandbox, script);
        command.arg("--connection-string-file").arg(self.namespace.dir.join("relay").join(file));
        command.arg("--ca-file").arg(self.namespace.dir.join("ca.pem"));
        Process::start(script, command.args(options))
    }

    /// The sender in Python.
    fn sender(&self, options: &[&str]) -> Process {
        self.python("relay_sender.py", "send.conn", &[&["--entity", DEVICE], options].concat())
    }

    /// The listener in Python, once it is registered.
    fn listener(&self, options: &[&str]) -> Process {
        self.listener_as(&format!("{DEVICE}.listen.conn"), options)
    }

    fn listener_as(&self, file: &str, options: &[&str]) -> Process {
        let mut listener = self.python("relay_listener.py", file, options);
        listener.says("ready", 1, PATIENCE);
        listener
    }

    fn agent(&self, targets: &[(&str, u16)]) -> Process {
        self.namespace.agent(&self.sandbox, targets)
    }

    fn helper(&self, options: &[&str]) -> Process {
        self.helper_to(DEVICE, options)
    }

    fn helper_to(&self, host: &str, options: &[&str]) -> Process {
        Process::start("iotstream", self.namespace.helper(&self.sandbox).args(options).arg(host))
    }
}

/// The details of the `number`th event of that name which a witness reports.
#[track_caller]
fn event(witness: &mut Process, name: &str, number: usize) -> Value {
    let line = witness.says(&format!("{{\"event\": \"{name}\""), number, PATIENCE);
    serde_json::from_str(&line).unwrap()
}

/// The report of a witness that ends in order.
#[track_caller]
fn done(finished: &Finished) -> Value {
    assert_status(finished, WITNESS_CONTENT);
    let line = finished.stderr.lines().find(|line| line.starts_with("{\"event\": \"done\""));
    serde_json::from_str(line.unwrap_or_else(|| panic!("no report in {}", finished.stderr))).unwrap()
}

#[track_caller]
fn assert_status(finished: &Finished, expected: i32) {
    assert_eq!(finished.status.code(), Some(expected), "{}", finished.stderr);
}

/// Asserts that a witness received exactly these bytes, and then a Close that counts them.
#[track_caller]
fn assert_received(report: &Value, sent: &[u8], direction: &str) {
    assert_eq!(report["received"], sent.len(), "{report}");
    assert_eq!(report["receivedSha256"], sha256(sent), "{report}");
    assert_eq!(report["end"]["code"], 1000, "{report}");
    assert_eq!(report["end"]["reason"], format!("iotstream {direction} {}", sent.len()), "{report}");
}

/// Asserts that these are the bytes that a witness sent.
#[track_caller]
fn assert_sent(report: &Value, received: &[u8]) {
    assert_eq!((&report["sent"], &report["sentSha256"]), (&received.len().into(), &sha256(received).into()));
}

fn selftest(options: &[&str]) {
    let sandbox = Sandbox::new();
    let mut command = witness(&sandbox, "relay_selftest.py");
    let finished =
        Process::start("relay_selftest.py", command.args(options)).finish(Duration::from_secs(360));
    assert!(finished.status.success(), "{}\n{}", finished.text(), finished.stderr);
}

#[test]
fn the_witnesses_of_relay_agree_with_each_other() {
    selftest(&[]);
}

#[test]
fn a_python_sender_and_a_python_listener_agree_at_the_emulator() {
    selftest(&["--emulator", iotstream()]);
}

#[test]
fn a_python_listener_answers_http_requests_at_the_emulator() {
    for request in ["request", "body"] {
        let stage = Stage::at_emulator(&["--inject", &format!("relay-message={request}")]);
        let mut listener = stage.listener(&["--count", "1"]);
        event(&mut listener, "request", 1);
        let sender = stage.sender(&["--do", "send:1000 shutdown end"]).finish(PATIENCE);
        assert_eq!(done(&sender)["sent"], done(&listener.finish(PATIENCE))["received"], "{request}");
    }
}

mod python_sender_to_the_agent {
    use super::*;

    #[test]
    fn may_sign_as_any_client_does() {
        let stage = Stage::at_emulator(&[]);
        let _agent = stage.agent(&[("ssh", serve(echo))]);
        for audience in AUDIENCES {
            for place in ["header", "query"] {
                let steps = "send:1000 wait:1000 shutdown end";
                let sender = stage.sender(&["--audience", audience, "--token-in", place, "--do", steps]);
                assert_eq!(done(&sender.finish(PATIENCE))["received"], 1000, "{audience} in the {place}");
            }
        }
    }

    #[test]
    fn gets_every_byte_back() {
        let stage = Stage::at_emulator(&[]);
        let _agent = stage.agent(&[("echo", serve(echo))]);
        // The library's Close ends both directions, so it waits for the echo.
        for (kind, steps) in [
            ("dotnet", "send:4194304 shutdown end"),
            ("dotnet", "send:4194304 wait:4194304 close:1000: end"),
            ("ws", "send:4194304 wait:4194304 close:1000: end"),
        ] {
            let sender = stage.sender(&["--suffix", "echo", "--kind", kind, "--do", steps]);
            let report = done(&sender.finish(PATIENCE));
            assert_eq!(report["receivedSha256"], report["sentSha256"], "{kind} {steps}: {report}");
        }
    }

    #[test]
    fn may_send_text() {
        let stage = Stage::at_emulator(&[]);
        let _agent = stage.agent(&[("ssh", serve(echo))]);
        let sender = stage.sender(&["--do", "text:hello text:again wait:10 shutdown end"]);
        let report = done(&sender.finish(PATIENCE));
        assert_eq!(report["receivedSha256"], sha256(b"helloagain"), "{report}");
    }

    #[test]
    fn half_closes_in_every_order() {
        let stage = Stage::at_emulator(&[]);
        let size = 4 * MEBIBYTE;
        for (steps, play) in [
            ("send:4194304 shutdown end", Play::after_the_end(size)),
            ("shutdown end", Play::after_the_end(size)),
            ("end send:4194304 shutdown", Play::at_once(size)),
            ("end send:4194304 shutdown", Play::at_once(0)),
            ("send:4194304 shutdown end", Play::at_once(size)),
            ("wait:4194304 send:4194304 shutdown end", Play::at_once(size)),
            ("send:4194304 shutdown end", Play::both(size)),
        ] {
            let target = Target::start(play);
            let mut agent = stage.agent(&[("ssh", target.port)]);
            let report = done(&stage.sender(&["--do", steps]).finish(PATIENCE));
            let seen = target.seen();
            assert!(seen.in_order, "{steps}: the target's connection was reset");
            assert_received(&report, &seen.sent, "down");
            assert_sent(&report, &seen.received);
            agent.kill();
        }
    }

    #[test]
    fn may_leave_with_1001() {
        let stage = Stage::at_emulator(&[]);
        let target = Target::start(kept());
        let mut agent = stage.agent(&[("ssh", target.port)]);
        let sender = stage.sender(&["--do", "send:1000 close:1001:leaving end"]);
        assert_sent(&done(&sender.finish(PATIENCE)), &target.seen_in_order());
        agent.says("1000 from the user: the user ended", 1, PATIENCE);
    }

    #[test]
    fn is_cut_when_it_ends_without_a_close() {
        let stage = Stage::at_emulator(&[]);
        for play in [Play::at_once(100), kept()] {
            let target = Target::start(play);
            let mut agent = stage.agent(&[("ssh", target.port)]);
            done(&stage.sender(&["--do", "send:1000 wait:1 drop"]).finish(PATIENCE));
            target.seen();
            agent.says("from the user: the connection to the gateway was lost", 1, PATIENCE);
            agent.kill();
        }
    }

    #[test]
    fn names_the_stream_in_its_path() {
        let stage = Stage::at_emulator(&[]);
        let (first, second) = (Target::start(Play::at_once(1)), Target::start(Play::at_once(2)));
        let _agent = stage.agent(&[("ssh", first.port), ("a b", second.port)]);
        for (suffix, bytes) in [("", 1), ("ssh", 1), ("a b", 2)] {
            let sender = stage.sender(&["--suffix", suffix, "--do", "shutdown end"]);
            assert_eq!(done(&sender.finish(PATIENCE))["received"], bytes, "{suffix}");
        }
    }

    #[track_caller]
    fn is_refused(stage: &Stage, options: &[&str], status: u16) {
        let finished = stage.sender(options).finish(PATIENCE);
        assert_status(&finished, WITNESS_REFUSED);
        let refusal: Value = serde_json::from_str(finished.stderr.trim()).unwrap();
        assert_eq!(refusal["status"], status, "{refusal}");
        assert!(refusal["reason"].as_str().unwrap().starts_with("iotstream: "), "{refusal}");
    }

    #[test]
    fn reads_why_it_is_rejected() {
        let stage = Stage::at_emulator(&[]);
        let _agent = stage.agent(&[("ssh", serve(echo)), ("down", closed_port())]);
        is_refused(&stage, &["--suffix", "unheard-of"], 403);
        is_refused(&stage, &["--suffix", "down"], 403);
        is_refused(&stage, &["--header", "Iotstream-Device: dev-2"], 409);
        let named =
            stage.sender(&["--header", "Iotstream-Device: DEV%2D1", "--do", "send:9 wait:9 shutdown end"]);
        assert_eq!(done(&named.finish(PATIENCE))["received"], 9);
    }

    #[test]
    fn gets_the_first_subprotocol_that_it_offers_and_no_compression() {
        let stage = Stage::at_emulator(&[]);
        let _agent = stage.agent(&[("ssh", serve(echo))]);
        for kind in ["dotnet", "ws"] {
            let offer = ["--subprotocol", "first", "--subprotocol", "second", "--offer-deflate"];
            let steps = ["--kind", kind, "--do", "send:9 wait:9 close:1000: end"];
            let mut sender = stage.sender(&[&offer[..], &steps].concat());
            assert_eq!(event(&mut sender, "connected", 1)["subprotocol"], "first");
            assert_status(&sender.finish(PATIENCE), WITNESS_CONTENT);
        }
    }

    #[test]
    fn needs_no_token_where_senders_are_anonymous() {
        let stage = Stage::at_emulator(&["--relay-anonymous", DEVICE]);
        let _agent = stage.agent(&[("ssh", serve(echo))]);
        let sender = stage.sender(&["--token-in", "nowhere", "--do", "send:9 wait:9 shutdown end"]);
        assert_eq!(done(&sender.finish(PATIENCE))["received"], 9);
    }
}

mod helper_to_the_python_listener {
    use super::*;

    #[test]
    fn gets_every_byte_back() {
        let stage = Stage::at_emulator(&[]);
        let data = random(4 * MEBIBYTE);
        let listener = stage.listener(&["--sink", "echo", "--count", "1"]);
        assert_echo(stage.helper(&[]), &data);
        assert_received(&done(&listener.finish(PATIENCE)), &data, "up");
    }

    #[test]
    fn is_cut_by_a_peer_that_answers_with_a_copy_of_its_close() {
        let stage = Stage::at_emulator(&[]);
        let data = random(MEBIBYTE);
        let listener = stage.listener(&["--kind", "ws", "--sink", "echo", "--count", "1"]);
        let finished = finished_echo(stage.helper(&[]), &data);
        assert_status(&finished, TEMPORARY);
        assert!(finished.stderr.contains("our own Close came back"), "{}", finished.stderr);
        assert_received(&done(&listener.finish(PATIENCE)), &data, "up");
    }

    #[test]
    fn half_closes_in_every_order() {
        let stage = Stage::at_emulator(&[]);
        let (size, data) = (4 * MEBIBYTE, random(4 * MEBIBYTE));
        for (steps, up, down) in [
            ("end send:4194304 shutdown", size, size),
            ("end send:4194304 shutdown", 0, size),
            ("end shutdown", size, 0),
            ("send:4194304 shutdown end", 0, size),
            ("send:4194304 wait:4194304 shutdown end", size, size),
            ("wait:4194304 send:4194304 shutdown end", size, size),
        ] {
            let listener = stage.listener(&["--count", "1", "--do", steps]);
            let mut helper = stage.helper(&[]);
            drop(helper.write(data[..up].to_owned()));
            let finished = helper.finish(PATIENCE);
            assert_status(&finished, 0);
            let report = done(&listener.finish(PATIENCE));
            assert_received(&report, &data[..up], "up");
            assert_eq!(finished.stdout.len(), down, "{steps}");
            assert_sent(&report, &finished.stdout);
        }
    }

    #[test]
    fn holds_its_close_back_for_a_peer_that_cannot_half_close() {
        let stage = Stage::at_emulator(&[]);
        stage.namespace.configure("half-close = false");
        let steps = "wait:1000 send:4194304 close:1000:";
        let listener = stage.listener(&["--kind", "ws", "--count", "1", "--do", steps]);
        let mut helper = stage.helper(&[]);
        drop(helper.write(random(1000)));
        let finished = helper.finish(PATIENCE);
        assert_status(&finished, 0);
        assert_sent(&done(&listener.finish(PATIENCE)), &finished.stdout);
    }

    #[test]
    fn takes_a_normal_close_alone_for_the_end() {
        let stage = Stage::at_emulator(&[]);
        for (steps, status) in [
            ("close:1000:done end", 0),
            ("close:1001:deleted end", TEMPORARY),
            ("close:1008:token end", TEMPORARY),
            ("close:1011:failed end", TEMPORARY),
            ("drop", TEMPORARY),
        ] {
            let steps = format!("send:1000 {steps}");
            let listener = stage.listener(&["--count", "1", "--do", &steps]);
            let mut helper = stage.helper(&[]);
            helper.reads(1000, PATIENCE);
            helper.close_stdin();
            assert_status(&helper.finish(PATIENCE), status);
            done(&listener.finish(PATIENCE));
        }
    }

    #[test]
    fn shows_why_the_listener_rejects() {
        let stage = Stage::at_emulator(&[]);
        for (code, text) in [
            ("403", "iotstream: no target named x"),
            ("429", "iotstream: too many + sessions"),
            ("400", "Rejected by user code"),
        ] {
            let options = ["--reject", &format!("{code}:{text}"), "--reject-plus", "--count", "1"];
            let mut listener = stage.listener(&options);
            let finished = stage.helper(&[]).finish(PATIENCE);
            assert_status(&finished, UNAVAILABLE);
            let shown = text.trim_start_matches("iotstream: ");
            assert!(finished.stderr.contains(shown), "{text}: {}", finished.stderr);
            assert_eq!(event(&mut listener, "rejected", 1)["status"], 410);
            assert_status(&listener.finish(PATIENCE), WITNESS_CONTENT);
        }
    }

    /// The value of a header in an offer.
    fn header<'a>(offer: &'a Value, name: &str) -> Option<&'a str> {
        let mut headers = offer["headers"].as_object().unwrap().iter();
        headers.find(|(found, _)| found.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str().unwrap())
    }

    /// The offer that a listener gets from a helper to `host`, of a stream that ends at once.
    fn offer(stage: &Stage, file: &str, host: &str, options: &[&str]) -> Value {
        let mut listener = stage.listener_as(file, &["--count", "1"]);
        let mut helper = stage.helper_to(host, options);
        helper.close_stdin();
        let offer = event(&mut listener, "offer", 1);
        assert_status(&helper.finish(PATIENCE), 0);
        assert_status(&listener.finish(PATIENCE), WITNESS_CONTENT);
        offer
    }

    #[test]
    fn shows_the_listener_its_stream_and_no_secret() {
        let stage = Stage::at_emulator(&[]);
        let offer = offer(&stage, "dev-1.listen.conn", DEVICE, &["--stream", "a b"]);
        assert_eq!(offer["path"], "/$hc/dev-1/a%20b", "{offer}");
        assert_eq!((&offer["token"], &offer["query"]), (&false.into(), &Value::Array(Vec::new())), "{offer}");
        let agent = header(&offer, "Relay-User-Agent").unwrap_or_default();
        assert!(agent.starts_with("iotstream/"), "{offer}");
        for absent in ["Sec-WebSocket-Extensions", "Sec-WebSocket-Protocol", "Iotstream-Device"] {
            assert_eq!(header(&offer, absent), None, "{offer}");
        }
    }

    #[test]
    fn asks_a_plain_listener_without_a_suffix() {
        let stage = Stage::at_emulator(&[]);
        stage.namespace.configure("stream-in-path = false");
        let offer = offer(&stage, "dev-1.listen.conn", DEVICE, &[]);
        assert_eq!(offer["path"], "/$hc/dev-1", "{offer}");
    }

    #[test]
    fn finds_the_entity_of_its_device() {
        let stage = Stage::at_emulator(&["--relay-entity", "factory/hall_2/dev-2"]);
        stage.namespace.configure("entity = \"factory/hall_2/{device}\"");
        let offer = offer(&stage, "factory%2Fhall_2%2Fdev-2.listen.conn", "dev-2", &[]);
        assert_eq!(offer["path"], "/$hc/factory/hall_2/dev-2/ssh", "{offer}");
        assert_eq!(header(&offer, "Iotstream-Device"), None, "{offer}");
    }

    #[test]
    fn names_the_device_where_devices_share_an_entity() {
        let stage = Stage::at_emulator(&[]);
        stage.namespace.configure("entity = \"dev-1\"");
        // The listener has another id than an agent would have: the helper tries once more without it.
        let offer = offer(&stage, "dev-1.listen.conn", "Line(3),Press+%23", &[]);
        let device = header(&offer, "Iotstream-Device").unwrap();
        let decoded = percent_encoding::percent_decode_str(device).decode_utf8().unwrap();
        assert_eq!(decoded, "Line(3),Press+%23", "{offer}");
        assert_eq!(header(&offer, "Microsoft-Relay-AllowedListeners"), None, "{offer}");
    }

    #[test]
    fn waits_for_a_listener() {
        let stage = Stage::at_emulator(&[]);
        let data = random(1000);
        let mut helper = stage.helper(&["-v", "--wait", "60s"]);
        helper.says("404", 1, PATIENCE);
        let listener = stage.listener(&["--sink", "echo", "--count", "1"]);
        assert_echo(helper, &data);
        assert_received(&done(&listener.finish(PATIENCE)), &data, "up");
    }
}

mod helper_and_agent_at_the_python_namespace {
    use super::*;

    /// Streams that end in each order get along; nothing violates the protocol, and no log has a secret.
    fn get_along(options: &[&str]) {
        let stage = Stage::at_witness(options);
        let size = MEBIBYTE;
        // As text, they are ASCII.
        let data: Vec<u8> = random(size).into_iter().map(|byte| byte & 0x7f).collect();
        let mut logs = String::new();
        // The helper reads no more of stdin after the target's end.
        for (play, up) in
            [(Play::after_the_end(size), &data[..]), (Play::at_once(size), &[]), (Play::both(size), &data)]
        {
            let target = Target::start(play);
            let targets = [("ssh", target.port), ("echo", serve(echo)), ("farewell", serve(farewell))];
            let mut agent = stage.agent(&targets);
            let mut helper = stage.helper(&["-vv"]);
            drop(helper.write(up.to_owned()));
            let finished = helper.finish(PATIENCE);
            assert_status(&finished, 0);
            let seen = target.seen();
            assert!(seen.in_order && seen.received == up, "{} bytes went up", seen.received.len());
            assert!(finished.stdout == seen.sent, "{} bytes came down", finished.stdout.len());

            assert_echo(stage.helper(&["--stream", "echo"]), &data);
            let mut helper = stage.helper(&["--stream", "farewell"]);
            assert_eq!(helper.reads(size, PATIENCE), vec![b'x'; size]);
            helper.close_stdin();
            assert_status(&helper.finish(PATIENCE), 0);
            logs += &(finished.stderr + &agent.stderr());
            agent.kill();
        }
        for secret in stage.namespace.keys().iter().map(String::as_str).chain(["sig=", "&key="]) {
            assert!(!logs.contains(secret), "{secret} is in a log: {logs}");
        }
        stage.namespace.stop();
    }

    #[test]
    fn with_default_options() {
        get_along(&[]);
    }

    #[test]
    fn with_fragments() {
        get_along(&["--fragment", "1000"]);
    }

    #[test]
    fn with_text_messages() {
        get_along(&["--text"]);
    }

    #[test]
    fn with_the_token_and_messages_that_nobody_knows() {
        get_along(&["--keep-token", "--unknown-messages"]);
    }

    #[test]
    fn answer_http_requests_with_501() {
        let mut stage = Stage::at_witness(&["--http-requests"]);
        let _agent = stage.agent(&[("ssh", serve(echo))]);
        stage.namespace.process.says("answered: 501", 2, PATIENCE);
        assert_echo(stage.helper(&[]), &random(1000));
        stage.namespace.stop();
    }

    #[test]
    fn notice_what_a_close_that_is_answered_per_hop_loses() {
        let stage = Stage::at_witness(&["--per-hop-close"]);
        let target = Target::start(Play::after_the_end(4 * MEBIBYTE));
        let _agent = stage.agent(&[("ssh", target.port)]);
        let mut helper = stage.helper(&[]);
        drop(helper.write(random(1000)));
        let finished = helper.finish(PATIENCE);
        assert_status(&finished, TEMPORARY);
        assert!(finished.stdout.len() < 4 * MEBIBYTE);
        assert_eq!(target.seen().received.len(), 1000, "what went up before the end has arrived");
        stage.namespace.stop();
    }

    #[test]
    fn lose_nothing_per_hop_when_the_target_ends_first() {
        let stage = Stage::at_witness(&["--per-hop-close"]);
        let target = Target::start(Play::at_once(4 * MEBIBYTE));
        let _agent = stage.agent(&[("ssh", target.port)]);
        let mut helper = stage.helper(&[]);
        let received = helper.reads(4 * MEBIBYTE, PATIENCE);
        helper.close_stdin();
        assert_status(&helper.finish(PATIENCE), 0);
        assert!(target.seen().sent == received, "the bytes are the target's");
        stage.namespace.stop();
    }

    #[test]
    fn report_a_rejection() {
        let stage = Stage::at_witness(&[]);
        let _agent = stage.agent(&[("other", serve(echo))]);
        let finished = stage.helper(&[]).finish(PATIENCE);
        assert_status(&finished, UNAVAILABLE);
        assert!(finished.stderr.contains("target"), "{}", finished.stderr);
        stage.namespace.stop();
    }

    #[test]
    fn take_a_stream_whose_other_end_vanishes_for_cut() {
        let stage = Stage::at_witness(&[]);
        let target = Target::start(kept());
        let mut agent = stage.agent(&[("ssh", target.port)]);
        let mut helper = stage.helper(&[]);
        helper.reads(1, PATIENCE);
        agent.kill();
        assert_status(&helper.finish(PATIENCE), TEMPORARY);

        let target = Target::start(kept());
        let mut agent = stage.agent(&[("ssh", target.port)]);
        let mut helper = stage.helper(&[]);
        helper.reads(1, PATIENCE);
        helper.kill();
        target.seen();
        agent.says("0 from the user: the connection to the gateway was lost", 1, PATIENCE);
        stage.namespace.stop();
    }

    #[test]
    fn live_on_a_token_that_is_renewed() {
        let mut stage = Stage::at_witness(&["--skew", "1"]);
        let echo = serve(echo);
        let config =
            format!("token-life = \"2s\"\n[[target]]\nstream = \"ssh\"\nconnect = \"127.0.0.1:{echo}\"\n");
        let mut agent = stage.namespace.agent_with_config(&stage.sandbox, &config);
        stage.namespace.process.says("renewed", 4, PATIENCE);
        assert_echo(stage.helper(&[]), &random(1000));
        agent.kill();
        let service = stage.namespace.process.stderr();
        assert_eq!(service.matches("listening: ").count(), 1, "one control channel: {service}");
        stage.namespace.stop();
    }
}
