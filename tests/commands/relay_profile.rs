//! `iotstream profile` with relays.

use crate::support::{LIMIT, RELAY_KEY, Sandbox, Stdin, run};

fn connection_string(policy: &str, more: &str) -> String {
    format!(
        "Endpoint=sb://contoso.servicebus.windows.net/;SharedAccessKeyName={policy};SharedAccessKey={RELAY_KEY}{more}"
    )
}

#[test]
fn a_relays_connection_string_is_recognised_and_warned_about() {
    for (text, says, warns) in [
        (connection_string("send", ""), "profile x: policy send of contoso.servicebus.windows.net", ""),
        (
            connection_string("RootManageSharedAccessKey", ""),
            "policy RootManageSharedAccessKey of contoso",
            "one with Send alone is enough",
        ),
        (
            connection_string("send", ";EntityPath=gw-07"),
            "policy send of contoso",
            "for the hybrid connection 'gw-07' alone",
        ),
    ] {
        let sandbox = Sandbox::new();
        let mut add = sandbox.iotstream();
        let done = run(add.args(["profile", "add", "x"]), Stdin::Ends(text.as_bytes()), LIMIT).succeeded();
        assert!(done.text().contains(says), "{}", done.text());
        assert!(done.stderr.contains(warns) && done.stderr.is_empty() == warns.is_empty(), "{}", done.stderr);
        let mut list = sandbox.iotstream();
        let done = run(list.args(["profile", "list"]), Stdin::Ends(b""), LIMIT).succeeded();
        assert_eq!(done.text(), "* x  contoso.servicebus.windows.net\n");
        let mut show = sandbox.iotstream();
        let done = run(show.args(["profile", "show"]), Stdin::Ends(b""), LIMIT).succeeded();
        assert!(!done.text().contains(RELAY_KEY) && done.text().contains("SharedAccessKey=[hidden]"));
    }
}

#[test]
fn show_tells_the_keys_of_the_profiles_own_backend() {
    let sandbox = Sandbox::new();
    sandbox.write(
        "profiles.toml",
        "[profile.x]\nrelay = \"contoso\"\ntoken-command = \"az 'x y'\"\nentity = \"factory/{device}\"\n\
         preamble = \"azbridge\"\nhalf-close = false\n",
    );
    let mut show = sandbox.iotstream();
    show.args(["profile", "show", "--origins", "--config", "profiles.toml"]);
    let done = run(&mut show, Stdin::Ends(b""), LIMIT).succeeded();
    let lines: Vec<String> =
        done.text().lines().map(|line| line.split_whitespace().collect::<Vec<_>>().join(" ")).collect();
    for expected in [
        "relay = contoso # profile 'x' in profiles.toml",
        "token-command = az 'x y' # profile 'x' in profiles.toml",
        "entity = factory/{device} # profile 'x' in profiles.toml",
        "stream-in-path = true without a preamble # default",
        "preamble = azbridge # profile 'x' in profiles.toml",
        "resource = none # default",
        "arm-token-command = token-command # default",
        "arm-endpoint = management.azure.com # default",
        "relay-suffix = servicebus.windows.net # default",
        "half-close = false # profile 'x' in profiles.toml",
        "streams-per-second = no limit # default",
    ] {
        assert!(lines.iter().any(|line| line == expected), "{expected} is not in {lines:#?}");
    }
    assert!(!done.text().contains("api-version"), "{}", done.text());
}
