//! azbridge's preamble at its listeners.

use crate::support::{Answer, LIMIT, Sandbox, ScriptedRelay, Stdin, run};

const GO: &[u8] = &[1, 0, 0];

#[test]
fn the_port_or_the_stream_is_named_and_the_path_is_not_extended() {
    for (keys, args, name) in [
        ("", vec!["gw-07"], "22"),
        ("", vec!["gw-07", "2222"], "2222"),
        ("ports = { 2222 = \"hmi\" }", vec!["gw-07", "2222"], "hmi"),
        ("", vec!["--stream", "ssh", "gw-07"], "ssh"),
        ("devices = { gw-07 = { stream = \"console\" } }", vec!["gw-07"], "console"),
    ] {
        let sandbox = Sandbox::new();
        let relay = ScriptedRelay::start(&sandbox, &[Answer::Preamble(GO)]);
        let mut helper = relay.helper(&sandbox, &format!("preamble = \"azbridge\"\n{keys}"));
        let done = run(helper.args(&args), Stdin::Ends(b""), LIMIT).succeeded();
        assert_eq!((done.text(), done.stderr.as_str()), ("hello", ""), "{args:?}");
        let length = u8::try_from(name.len()).unwrap();
        assert_eq!(relay.said(), [&[1, 0, 0, length], name.as_bytes()].concat(), "{args:?}");
        assert!(relay.requests()[0].starts_with("GET /$hc/gw-07?"), "{}", relay.requests()[0]);
    }
}

#[test]
fn a_listener_that_does_not_agree_is_told() {
    for (answer, exit, says) in [
        (&b""[..], 69, "it has no port of that name"),
        (&[0, 0, 1], 69, "the port takes datagrams"),
        (&[0, 0, 0], 76, "does not understand version 1.0"),
        (b"SSH", 76, "check that azbridge listens there"),
    ] {
        let sandbox = Sandbox::new();
        let relay = ScriptedRelay::start(&sandbox, &[Answer::Preamble(answer)]);
        let mut helper = relay.helper(&sandbox, "preamble = \"azbridge\"");
        let done = run(helper.arg("gw-07"), Stdin::Ends(b""), LIMIT);
        assert_eq!(done.status.code(), Some(exit), "{}", done.stderr);
        assert!(done.stderr.contains(says), "{}", done.stderr);
    }
}
