//! `iotstream devices` with a namespace: its hybrid connections, from a stand-in for Azure Resource Manager.

use std::sync::{Arc, Mutex};

use crate::support::{
    Finished, LIMIT, RELAY_KEY, Sandbox, Stdin, header, http_answer, http_request, run, serve_tls,
};

const RESOURCE: &str = "/subscriptions/0-1/resourceGroups/rg/providers/Microsoft.Relay/namespaces/contoso";

/// Lists the devices of a profile with `keys`. Resource Manager answers with `pages`, in which `{port}` is its port. Returns
/// the heads of the requests.
fn listed(keys: &str, status: &'static str, pages: &'static [&'static str]) -> (Finished, Vec<String>) {
    let sandbox = Sandbox::new();
    let heads = Arc::new(Mutex::new(Vec::new()));
    let seen = heads.clone();
    let (port, _) = serve_tls(&sandbox, move |mut stream| {
        let Some(head) = http_request(&mut stream) else { return };
        let port = stream.sock.local_addr().unwrap().port().to_string();
        let mut seen = seen.lock().unwrap();
        let page = pages[seen.len().min(pages.len() - 1)].replace("{port}", &port);
        seen.push(head);
        http_answer(&mut stream, status, "", &page);
    });
    sandbox.write(
        "profiles.toml",
        format!(
            "[profile.x]\nconnection-string = \"Endpoint=sb://contoso.example/;SharedAccessKeyName=send;SharedAccessKey={RELAY_KEY}\"\n\
             ca-file = \"tls.pem\"\narm-endpoint = \"https://localhost:{port}/\"\n{keys}\n"
        ),
    );
    let mut devices = sandbox.iotstream();
    devices.args(["devices", "--config", "profiles.toml"]);
    let done = run(&mut devices, Stdin::Ends(b""), LIMIT);
    let heads = heads.lock().unwrap().clone();
    (done, heads)
}

fn with_resource(more: &str) -> String {
    format!("resource = \"{RESOURCE}\"\n{more}")
}

#[test]
fn hybrid_connections_are_devices_and_those_with_listeners_online() {
    let pages = &[
        r#"{"value":[{"name":"factory/gw-07","properties":{"listenerCount":1}},{"name":"other","properties":{"listenerCount":1}}],
            "nextLink":"https://localhost:{port}/next?page=2"}"#,
        r#"{"value":[{"name":"factory/gw-08","properties":{"listenerCount":0}}]}"#,
    ];
    let keys =
        "entity = \"factory/{device}\"\ntoken-command = \"echo wrong\"\narm-token-command = \"echo eyJ0\"";
    let (done, heads) = listed(&with_resource(keys), "200 OK", pages);
    let done = done.succeeded();
    let lines: Vec<&str> = done.text().lines().collect();
    assert_eq!(lines, ["DEVICE  STATE     LAST ACTIVITY", "gw-07   online    -", "gw-08   offline   -"]);
    assert!(
        heads[0].starts_with(&format!("GET {RESOURCE}/hybridConnections?api-version=2021-11-01 ")),
        "{}",
        heads[0]
    );
    assert!(heads[1].starts_with("GET /next?page=2 "), "{}", heads[1]);
    assert!(heads.iter().all(|head| header(head, "authorization") == Some("Bearer eyJ0")), "{heads:?}");
}

#[test]
fn a_next_page_elsewhere_gets_no_token() {
    let pages = &[r#"{"value":[],"nextLink":"https://127.0.0.1:{port}/next"}"#];
    let (done, heads) = listed(&with_resource("token-command = \"echo eyJ0\""), "200 OK", pages);
    assert_eq!((done.status.code(), heads.len()), (Some(76), 1), "{}", done.stderr);
    assert!(done.stderr.contains("on another server"), "{}", done.stderr);
}

#[test]
fn what_is_missing_for_a_list_is_told() {
    let token = "token-command = \"echo eyJ0\"";
    let forbidden =
        &[r#"{"error":{"code":"AuthorizationFailed","message":"The client may not read\u001b"}}"#];
    for (keys, status, exit, says) in [
        (String::new(), "200 OK", 78, "has no list of devices without `resource`"),
        (with_resource(""), "200 OK", 78, "no token-command for Azure Resource Manager"),
        (
            with_resource(token).replace("namespaces/", "x/"),
            "200 OK",
            78,
            "resource is not a namespace's resource id",
        ),
        (with_resource(&format!("{token}\nentity = \"one\"")), "200 OK", 78, "share one hybrid connection"),
        (with_resource(token), "403 Forbidden", 77, "AuthorizationFailed, The client may not read\\u{1b}"),
        (with_resource(token), "401 Unauthorized", 77, "it must be for https://management.azure.com"),
        (with_resource(token), "404 Not Found", 69, "check the resource id"),
        (with_resource(token), "200 OK", 76, "its list of hybrid connections cannot be read"),
    ] {
        let (done, _) = listed(&keys, status, forbidden);
        assert_eq!(done.status.code(), Some(exit), "{keys}: {}", done.stderr);
        assert!(done.stderr.contains(says), "{says} is not in: {}", done.stderr);
        assert!(!done.stderr.contains(RELAY_KEY) && !done.stderr.contains("eyJ0"), "{}", done.stderr);
    }
}
