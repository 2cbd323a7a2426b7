//! Who may listen and send.

use super::Relay;
use crate::support::relay_client::{Refused, accept_message, token};
use crate::support::sas::{field, in_an_hour, percent_encoded, unix_seconds};

/// What a listener of `hyco` with this token, in the header or the query, is refused with.
async fn refused(relay: &Relay, action: &str, path: &str, token: &str) -> Refused {
    let header = format!("ServiceBusAuthorization: {token}");
    let target = format!("/$hc/{path}?sb-hc-action={action}");
    relay.open(relay.https, &target, &[&header]).await.map(|_| ()).unwrap_err()
}

#[tokio::test]
async fn tokens_of_every_client_are_taken() {
    let relay = Relay::start("");
    let string = relay.connection_string("root.conn");
    let (rule, key) = (field(&string, "SharedAccessKeyName"), field(&string, "SharedAccessKey"));
    for sr in [
        "http%3A%2F%2Flocalhost%2Fhyco%2F",
        "http%3a%2f%2flocalhost%2fhyco",
        "http%3A%2F%2Flocalhost%3A443%2Fhyco",
        "https%3A%2F%2FLOCALHOST%2FHYCO",
        "sb%3A%2F%2Flocalhost%2Fhyco",
        "sb%3A%2F%2Flocalhost",
        "http%3A%2F%2F127.0.0.1%2F",
    ] {
        let token = token(sr, key, in_an_hour(), rule);
        let header = format!("ServiceBusAuthorization: {token}");
        relay.open(relay.https, "/$hc/hyco?sb-hc-action=listen", &[&header]).await.unwrap();
        // The scheme's space is written as one or the other in a query.
        let encoded = percent_encoded(&token);
        for query in [encoded.clone(), encoded.replace("%20", "+")] {
            let path = format!("/%24hc/Hyco?sb-hc-token={query}&sb-hc-action=listen");
            relay.open(relay.https, &path, &[]).await.unwrap();
        }
    }
    // Entra ID's token, which is not verified.
    let header = "ServiceBusAuthorization: eyJhbGciOiJub25lIn0.eyJhdWQiOiJ4In0.c2ln";
    relay.open(relay.https, "/$hc/hyco?sb-hc-action=listen", &[header]).await.unwrap();
}

#[tokio::test]
async fn a_refusal_explains_itself() {
    let relay = Relay::start("");
    let listen = |uri: &str, expiry| relay.token("hyco.listen.conn", uri, expiry);
    let good = listen("http://localhost/hyco/", in_an_hour());
    let forged = token("http%3A%2F%2Flocalhost%2Fhyco%2F", "a2V5", in_an_hour(), "listen");
    let expired = listen("http://localhost/hyco/", unix_seconds() - 301);
    let resigned = good.replace("hyco", "HYCO");
    let long = listen("http://localhost/hyco/ssh/", in_an_hour());
    let elsewhere = listen("http://other.example/hyco/", in_an_hour());
    let other = relay.token("a%2Fb.listen.conn", "http://localhost/hyco/", in_an_hour());
    for (action, path, token, status, text) in [
        ("listen", "hyco", "", 401, "MissingToken"),
        ("listen", "hyco", "SharedAccessSignature sr=x", 401, "MalformedToken"),
        ("listen", "hyco", &*forged, 401, "The token has an invalid signature"),
        ("listen", "hyco", &*resigned, 401, "invalid signature"),
        ("listen", "hyco", &*other, 401, "invalid signature"),
        ("listen", "hyco", &*elsewhere, 401, "another namespace"),
        ("listen", "hyco", &*expired, 401, "The token has expired"),
        ("listen", "hyco", &*long, 403, "not valid for this path"),
        ("connect", "hyco", &*good, 403, "'Send' claim is required"),
        ("listen", "hyco", &*relay.send_token(), 403, "'Listen' claim is required"),
        ("listen", "absent", &*good, 404, "Endpoint does not exist"),
        ("connect", "hycox", &*relay.send_token(), 404, "Endpoint does not exist"),
        ("other", "hyco", &*good, 400, "sb-hc-action"),
    ] {
        let refused = refused(&relay, action, path, token).await;
        assert_eq!(refused.status, status, "{action} {path} {refused:?}");
        let reason = &refused.reason;
        assert!(reason.contains(text), "{action} {path} {refused:?}");
        assert!(reason.contains("TrackingId:") && reason.contains("_G1, "), "{reason}");
        assert!(reason.contains(&format!("SystemTracker:sb://localhost/{path}, Timestamp:")), "{reason}");
        assert!(reason.ends_with("AM") || reason.ends_with("PM"), "{reason}");
        assert!(!reason.contains("&sig="), "{reason}");
    }
    let missing = relay.open(relay.https, "/$hc/hyco?sb-hc-action=listen&sb-hc-id=my-id_G0", &[]).await;
    let missing = missing.unwrap_err();
    assert_eq!(missing.status, 401);
    assert!(missing.reason.contains("TrackingId:my-id_G1"), "{missing:?}");
    // Five minutes of clock skew are allowed.
    let late = format!("ServiceBusAuthorization: {}", listen("http://localhost/hyco/", unix_seconds() - 200));
    relay.open(relay.https, "/$hc/hyco?sb-hc-action=listen", &[&late]).await.unwrap();
}

#[tokio::test]
async fn an_anonymous_sender_needs_no_token() {
    let relay = Relay::start("");
    let mut control = relay.listen("open", "id").await.unwrap();
    for path in ["/$hc/open", "/$hc/open?sb-hc-token=nonsense"] {
        let accepting = async {
            let accept = accept_message(&mut control).await;
            relay.dial(accept["address"].as_str().unwrap(), "", &[]).await.unwrap()
        };
        let (sender, _listener) = tokio::join!(relay.open(relay.https, path, &[]), accepting);
        sender.unwrap();
    }
    let listener = relay.open(relay.https, "/$hc/open?sb-hc-action=listen", &[]).await;
    assert_eq!(listener.unwrap_err().status, 401);
    assert_eq!(relay.open(relay.https, "/$hc/hyco", &[]).await.unwrap_err().status, 401);
}
