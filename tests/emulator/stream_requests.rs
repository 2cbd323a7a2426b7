//! Requests for a stream: the hub's answers and errors.

use std::time::Duration;

use tokio::io::AsyncReadExt;

use super::mqtt_client::Mqtt;
use super::{Emulator, SSH};
use crate::support::hub_client::soon;
use crate::support::sas::in_an_hour;

const CONNECT: &str = "iothub-streaming-connect-timeout-in-seconds";
const RESPONSE: &str = "iothub-streaming-response-timeout-in-seconds";

#[tokio::test]
async fn an_error_has_the_newer_form() {
    let hub = Emulator::start("");
    let answer = hub.initiate("/twins/nobody/streams/ssh?api-version=x", &[]).await;
    assert_eq!((answer.status, answer.code()), (404, 404_001));
    assert_eq!(answer.header("iothub-errorcode"), Some("DeviceNotFound"));
    assert!(answer.header("date").unwrap().ends_with(" GMT"));
    assert_eq!(answer.json()["ExceptionMessage"], "");
    let id = answer.failure()["trackingId"].as_str().unwrap().to_owned();
    let (hex, rest) = id.split_once("-G:0-TimeStamp:").unwrap();
    assert!(hex.len() == 32 && hex.bytes().all(|b| b.is_ascii_hexdigit()), "{id}");
    assert!(rest.len() == 19 && rest.as_bytes()[2] == b'/' && rest.as_bytes()[10] == b' ', "{id}");
}

#[tokio::test]
async fn a_device_accepts_or_rejects_a_stream() {
    let hub = Emulator::start("");
    let mut device = hub.device("dev-1", None).await;
    let (accepted, offer) = soon(async {
        tokio::join!(hub.initiate(SSH, &[(CONNECT, "30"), (RESPONSE, "30.5")]), async {
            let (topic, offer) = device.offer().await;
            // The C# SDK expects exactly five parts between slashes.
            assert_eq!(topic.split('/').count(), 5, "{topic}");
            device.answer(200, &offer.request_id).await;
            offer
        })
    })
    .await;
    assert_eq!((accepted.status, accepted.body.len()), (200, 0));
    let (url, token) = accepted.service_side();
    assert!(url.starts_with(&format!("wss://{}/bridges/ih/hub.example/d/dev-1/sid/", hub.https)), "{url}");
    assert!(url.ends_with("/r/service"), "{url}");
    assert!(offer.url.starts_with(&format!("wss://localhost:{}/", hub.https.port())), "{}", offer.url);
    assert!(offer.url.ends_with("/r/device"), "{}", offer.url);
    assert_eq!(token.split('.').count(), 3);
    assert_eq!((offer.request_id.as_str(), offer.stream.as_str()), ("1", "ssh"));

    let (rejected, offer) = soon(async {
        tokio::join!(hub.initiate("/twins/dev-1/streams/a%20b?api-version=x", &[]), async {
            let (_, offer) = device.offer().await;
            device.answer(200, "77").await;
            device.answer(400, &offer.request_id).await;
            offer
        })
    })
    .await;
    assert_eq!(rejected.status, 200);
    assert_eq!(rejected.header("iothub-streaming-is-accepted"), Some("False"));
    assert_eq!(rejected.header("iothub-streaming-url"), None);
    assert_eq!((offer.request_id.as_str(), offer.stream.as_str()), ("2", "a b"));
}

#[tokio::test]
async fn modules_and_unusual_ids_are_addressed() {
    let hub = Emulator::with_devices("", &["Line(3),a%41b#?+", "dev-1/mod"]);
    for (device, module, paths) in [
        ("dev-1", Some("mod"), &["/twins/dev-1/modules/mod/streams/s"][..]),
        (
            "Line(3),a%41b#?+",
            None,
            &["/twins/Line%283%29%2Ca%2541b%23%3F%2B/streams/s", "/twins/Line(3),a%2541b%23%3f+/streams/s"],
        ),
    ] {
        let mut mqtt = hub.device(device, module).await;
        for path in paths {
            let path = format!("{path}?api-version=2018-06-30");
            let (answer, ()) = soon(async {
                tokio::join!(hub.initiate(&path, &[]), async {
                    let (_, offer) = mqtt.offer().await;
                    mqtt.answer(400, &offer.request_id).await;
                })
            })
            .await;
            assert_eq!(answer.status, 200, "{path}");
        }
    }
    let unknown = hub.initiate("/twins/dev-1/modules/other/streams/s?api-version=x", &[]).await;
    assert_eq!((unknown.status, unknown.code()), (404, 404_010));
}

#[tokio::test]
async fn a_request_for_an_offline_device_waits_and_then_fails() {
    let hub = Emulator::start("");
    let offline = hub.initiate(SSH, &[]).await;
    assert_eq!((offline.status, offline.code()), (404, 404_103));
    assert_eq!(offline.failure()["message"], "Timed out waiting for device to connect.");
    assert_eq!(offline.failure()["info"]["timeout"], "00:00:00");

    // A device that is online but not subscribed counts as offline.
    let mut mqtt = Mqtt { io: hub.tls(hub.mqtts).await };
    let token = hub.device_token("dev-1", None, in_an_hour());
    assert_eq!(mqtt.connect("dev-1", "localhost/dev-1/?api-version=x", &token).await, 0);
    let deaf = hub.initiate(SSH, &[(CONNECT, "0.1")]).await;
    assert_eq!((deaf.status, deaf.code()), (404, 404_103));

    // A waiting request is served as soon as the device subscribes.
    let (answer, ()) = soon(async {
        tokio::join!(hub.initiate(SSH, &[(CONNECT, "60")]), async {
            let mut device = hub.device("dev-1", None).await;
            let (_, offer) = device.offer().await;
            device.answer(400, &offer.request_id).await;
        })
    })
    .await;
    assert_eq!(answer.status, 200);
}

#[tokio::test]
async fn a_device_that_does_not_answer_or_disconnects_fails_the_request() {
    let hub = Emulator::start("");
    let mut device = hub.device("dev-1", None).await;
    let silent = soon(hub.initiate(SSH, &[(RESPONSE, "1")])).await;
    assert_eq!((silent.status, silent.code()), (504, 504_101));
    assert_eq!(silent.failure()["info"]["timeout"], "00:00:01");
    let (_, offer) = device.offer().await;
    // An answer that is too late does no harm.
    device.answer(200, &offer.request_id).await;
    assert_eq!(hub.join(&offer.url, &offer.token).await.unwrap_err(), 401);

    let (gone, ()) = soon(async {
        tokio::join!(hub.initiate(SSH, &[]), async {
            device.offer().await;
            drop(device);
        })
    })
    .await;
    assert_eq!((gone.status, gone.code()), (404, 404_104));
    assert_eq!(gone.failure()["message"], "Device unavailable");
}

#[tokio::test]
async fn a_client_that_disconnects_cancels_its_request() {
    let hub = Emulator::start("");
    let mut device = hub.device("dev-1", None).await;
    let offer = tokio::select! {
        _ = hub.initiate(SSH, &[]) => panic!("nobody answered"),
        (_, offer) = device.offer() => offer,
    };
    // The hub sees the end of the connection some time after this; until then the device may still join.
    soon(async {
        while hub.join(&offer.url, &offer.token).await.err() != Some(401) {
            tokio::task::yield_now().await;
        }
    })
    .await;
}

#[tokio::test]
async fn malformed_requests_are_refused() {
    let hub = Emulator::start("");
    for (path, headers, status) in [
        ("/twins/dev-1/streams/ssh", &[][..], 400),
        ("/twins/dev-1/streams/ssh?api-version=", &[], 400),
        (SSH, &[(CONNECT, "soon")], 400),
        (SSH, &[(RESPONSE, "-1")], 400),
        ("/twins/dev-1/streams/a%2Fb?api-version=x", &[], 400),
        ("/twins/dev-1/streams/?api-version=x", &[], 400),
        ("/twins/dev-1/nothing?api-version=x", &[], 404),
        ("/twins/%FF/streams/ssh?api-version=x", &[], 404),
    ] {
        assert_eq!(hub.initiate(path, headers).await.status, status, "{path}");
    }
    let answer = hub.as_policy("service", "GET", SSH, "").await;
    assert_eq!((answer.status, answer.header("allow")), (405, Some("POST")));
    let large = hub.as_policy("service", "POST", SSH, &"x".repeat(70_000)).await;
    assert_eq!(large.status, 413);
}

#[tokio::test]
async fn injected_faults_change_the_answers() {
    let hub = Emulator::start("status=429@1,clock=-10m");
    let throttled = hub.initiate(SSH, &[]).await;
    assert_eq!((throttled.status, throttled.code()), (429, 429_001));
    assert_eq!(throttled.header("retry-after"), Some("1"));
    assert_eq!(hub.initiate(SSH, &[]).await.status, 404);

    let hub = Emulator::start("clock=+2h");
    let expired = hub.initiate(SSH, &[]).await;
    assert_eq!((expired.status, expired.code()), (401, 401_003));

    let hub = Emulator::start("hub=drop@1");
    assert!(hub.try_request("POST", SSH, &[], "").await.is_none());
    assert_eq!(hub.initiate(SSH, &[]).await.status, 404);

    let hub = Emulator::start("hub=silent");
    let token = hub.policy_token("service");
    let headers = [("authorization", token.as_str())];
    let silent = hub.try_request("POST", SSH, &headers, "");
    assert!(tokio::time::timeout(Duration::from_millis(300), silent).await.is_err());

    let hub = Emulator::start("hub=garbage");
    let mut io = hub.tls(hub.https).await;
    tokio::io::AsyncWriteExt::write_all(&mut io, b"GET / HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
    let mut answer = Vec::new();
    let _ = soon(io.read_to_end(&mut answer)).await;
    assert!(!answer.is_empty() && !answer.starts_with(b"HTTP"), "{answer:?}");

    let hub = Emulator::start("latency=300ms");
    let start = std::time::Instant::now();
    hub.initiate(SSH, &[]).await;
    assert!(start.elapsed() >= Duration::from_millis(300));
}

#[tokio::test]
async fn each_answer_has_its_own_date() {
    let hub = Emulator::start("latency=2100ms");
    let asked = std::time::SystemTime::now();
    let answer = hub.initiate("/twins/nobody/streams/ssh?api-version=x", &[]).await;
    let date = httpdate::parse_http_date(answer.header("date").unwrap()).unwrap();
    // Its whole second may have begun up to a second before.
    assert!(date.duration_since(asked).is_ok_and(|late| late.as_millis() >= 1100), "{date:?} {asked:?}");
}
