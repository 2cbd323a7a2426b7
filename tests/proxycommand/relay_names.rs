//! What a helper asks a relay for: hybrid connection, stream, device, token.

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

use crate::support::sas::{percent_encoded, unix_seconds};
use crate::support::{Answer, LIMIT, RELAY_KEY, Sandbox, ScriptedRelay, Stdin, finish, header, refuse, run};

/// Runs the helper to its end with an empty stdin, and returns the heads of its requests.
fn asked(keys: &str, args: &[&str], script: &[Answer]) -> Vec<String> {
    let sandbox = Sandbox::new();
    let relay = ScriptedRelay::start(&sandbox, script);
    let done = finish(relay.helper(&sandbox, keys).args(args)).succeeded();
    assert_eq!(done.text(), "hello");
    assert_eq!(done.stderr, "", "all is well");
    relay.requests()
}

fn path(head: &str) -> &str {
    head.split([' ', '?']).nth(1).unwrap()
}

#[test]
fn a_device_is_a_hybrid_connection_and_a_stream_the_last_part_of_its_path() {
    for (keys, args, expected) in [
        ("", vec!["gw-07"], "/$hc/gw-07/ssh"),
        ("", vec!["gw-07", "2222"], "/$hc/gw-07/tcp-2222"),
        ("", vec!["--stream", "a b/c", "gw-07"], "/$hc/gw-07/a%20b%2Fc"),
        ("entity = \"factory/{device}\"", vec!["Line(3)/Press"], "/$hc/factory/Line%283%29%2FPress/ssh"),
        ("stream-in-path = false", vec!["gw-07"], "/$hc/gw-07"),
        ("devices = { press = { id = \"gw-08\", stream = \"hmi\" } }", vec!["press"], "/$hc/gw-08/hmi"),
    ] {
        let requests = asked(keys, &args, &[Answer::Accept]);
        assert_eq!(requests.len(), 1);
        assert_eq!(path(&requests[0]), expected, "{keys} {args:?}");
        assert!(header(&requests[0], "iotstream-device").is_none(), "the path names the device");
    }
}

#[test]
fn the_token_is_in_a_header_signed_with_the_keys_text() {
    let requests = asked("", &["gw-07"], &[Answer::Accept]);
    let head = &requests[0];
    assert!(head.starts_with("GET /$hc/gw-07/ssh?sb-hc-action=connect&sb-hc-id="), "{head}");
    assert!(!head.to_lowercase().contains("extensions"), "no compression is offered: {head}");
    assert_eq!(header(head, "relay-user-agent"), Some(concat!("iotstream/", env!("CARGO_PKG_VERSION"))));
    let token = header(head, "servicebusauthorization").unwrap();
    let fields = token.strip_prefix("SharedAccessSignature ").unwrap();
    let field = |name: &str| {
        let found = fields.split('&').find_map(|field| field.strip_prefix(name)?.strip_prefix('='));
        found.unwrap_or_else(|| panic!("no {name} in {token}")).to_owned()
    };
    assert_eq!(field("sr"), percent_encoded("http://localhost/gw-07/"));
    assert_eq!(field("skn"), "send");
    let expiry: u64 = field("se").parse().unwrap();
    assert!((200..=300).contains(&expiry.saturating_sub(unix_seconds())), "a short life: {expiry}");
    let mut mac = Hmac::<Sha256>::new_from_slice(RELAY_KEY.as_bytes()).unwrap();
    mac.update(format!("{}\n{expiry}", field("sr")).as_bytes());
    let signature = data_encoding::BASE64.encode(&mac.finalize().into_bytes());
    assert_eq!(field("sig"), percent_encoded(&signature));
}

#[test]
fn devices_that_share_a_hybrid_connection_are_named_and_steered_to() {
    let none = refuse(
        "404 None of the connected listeners meet the AllowedListeners/DisallowedListeners criteria. TrackingId:1_G2",
    );
    let requests = asked("entity = \"factory\"", &["Line(3)"], &[none, Answer::Accept]);
    let [steered, free] = &requests[..] else { panic!("{requests:?}") };
    for head in [steered, free] {
        assert_eq!(path(head), "/$hc/factory/ssh");
        assert_eq!(header(head, "iotstream-device"), Some("Line%283%29"));
    }
    // Computed with Python: uuid.uuid5(uuid.NAMESPACE_URL, "sb://localhost/factory#line(3)").
    assert_eq!(
        header(steered, "microsoft-relay-allowedlisteners"),
        Some("e1bc9d0e-3e82-52a9-9f87-b4dd08e22b67")
    );
    assert_eq!(header(free, "microsoft-relay-allowedlisteners"), None);
}

#[test]
fn a_connection_string_with_an_entity_path_is_for_that_one() {
    let sandbox = Sandbox::new();
    let relay = ScriptedRelay::start(&sandbox, &[Answer::Accept]);
    let text = format!(
        "[profile.x]\nconnection-string = \"{};EntityPath=factory/gw-07\"\nca-file = \"tls.pem\"\n",
        relay.connection_string()
    );
    sandbox.write("own.toml", text);
    let mut helper = sandbox.iotstream();
    finish(helper.args(["--config", "own.toml", "--profile", "x", "gw-07"])).succeeded();
    let requests = relay.requests();
    assert_eq!(path(&requests[0]), "/$hc/factory/gw-07/ssh");
    assert_eq!(header(&requests[0], "iotstream-device"), Some("gw-07"));
}

#[test]
fn an_entra_token_is_sent_without_a_scheme() {
    let sandbox = Sandbox::new();
    let relay = ScriptedRelay::start(&sandbox, &[Answer::Accept]);
    let text = format!(
        "[profile.x]\nrelay = \"localhost:{}\"\ntoken-command = \"echo eyJ0.e-_y\"\nca-file = \"tls.pem\"\n",
        relay.port
    );
    sandbox.write("entra.toml", text);
    let mut helper = sandbox.iotstream();
    finish(helper.args(["--config", "entra.toml", "--profile", "x", "gw-07"])).succeeded();
    assert_eq!(header(&relay.requests()[0], "servicebusauthorization"), Some("eyJ0.e-_y"));
}

#[test]
fn a_relay_has_no_modules_and_an_impossible_name_is_not_asked_for() {
    let sandbox = Sandbox::new();
    let relay = ScriptedRelay::start(&sandbox, &[Answer::Accept]);
    for (args, exit, says) in [
        (vec!["--module", "camera", "gw-07"], 2, "Azure Relay has devices, and no modules"),
        (vec![".."], 78, "'..' is not a valid name"),
    ] {
        let done = run(relay.helper(&sandbox, "").args(&args), Stdin::Stays(b"x"), LIMIT);
        assert_eq!(done.status.code(), Some(exit), "{}", done.stderr);
        assert!(done.stderr.contains(says), "{}", done.stderr);
    }
    assert!(relay.requests().is_empty());
}
