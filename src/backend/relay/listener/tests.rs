//! The listener against a scripted service.

mod renewals;

use std::sync::Arc;
use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::protocol::{CloseFrame, Message, Role};

use super::channel::{Channel, LONGEST_MESSAGE};
use super::dial::Connected;
use super::error::Error as RelayError;
use super::task::Task;
use super::*;
use crate::backend::settings::{RelayAccess, RelaySettings};
use crate::backend::{Event, Offer, Order};
use crate::config::WatchedFiles;
use crate::error::Error;
use crate::net::{Proxies, Tls};
use crate::secret::Secret;

const HOST: &str = "g1-sb.servicebus.windows.net";

fn network() -> Network {
    Network::new(Tls::new(None).unwrap(), Proxies::none())
}

fn device(change: impl FnOnce(&mut RelaySettings)) -> Arc<RelayListener> {
    let text = "Endpoint=sb://ns.servicebus.windows.net/;SharedAccessKeyName=r;SharedAccessKey=c2VjcmV0;EntityPath=site/Gw";
    let mut settings = RelaySettings::new("a test", RelayAccess::ConnectionString(Secret::new(text)));
    change(&mut settings);
    Arc::new(RelayListener::new(&settings).unwrap())
}

/// A listener in service, and its service.
struct Served {
    service: WebSocketStream<DuplexStream>,
    offers: Offers,
    serving: JoinHandle<Result<()>>,
}

impl Served {
    async fn start(device: Arc<RelayListener>) -> Self {
        Self::with_reread(device, None).await
    }

    async fn with_reread(device: Arc<RelayListener>, reread: Option<Reread>) -> Self {
        let (io, service) = tokio::io::duplex(1 << 20);
        let token = device.credential.token(device.token_life).await.unwrap();
        let channel = Channel::new(Box::new(io), bytes::Bytes::new(), device.keepalive).await;
        let service = WebSocketStream::from_raw_socket(service, Role::Server, None).await;
        let (mut offers, source) = Offers::channel();
        let mut task = Task::new(device.clone(), network(), reread, source);
        let connected = Connected { channel, token, device };
        let serving = tokio::spawn(async move { task.serve(connected).await });
        assert!(matches!(offers.next().await, Some(Event::InService { .. })));
        Self { service, offers, serving }
    }

    async fn send(&mut self, text: impl Into<String>) {
        self.service.send(Message::text(text.into())).await.unwrap();
    }

    async fn offer(&mut self) -> Offer {
        match self.offers.next().await {
            Some(Event::Offer(offer)) => offer,
            other => panic!("{other:?}"),
        }
    }

    async fn unusable(&mut self) -> String {
        match self.offers.next().await {
            Some(Event::Unusable { problem, .. }) => problem,
            other => panic!("{other:?}"),
        }
    }

    /// The next text message of the listener.
    async fn text(&mut self) -> String {
        loop {
            if let Message::Text(text) = self.service.next().await.unwrap().unwrap() {
                return text.as_str().to_owned();
            }
        }
    }
}

fn accept(host: &str, path: &str, id: &str, headers: &str) -> String {
    format!(
        r#"{{"accept":{{"address":"wss://{host}/$hc/{path}?sb-hc-action=accept&sb-hc-id={id}","id":"{id}",
            "connectHeaders":{{"0":"x",{headers}"Host":"ns"}},"remoteEndpoint":{{"address":"203.0.113.7","port":5}}}}}}"#
    )
}

/// The frame of an offer that crosses the listener's Close, as if it had been sent before the service read that.
fn late_offer(path: &str, id: &str) -> Vec<u8> {
    let message = accept(HOST, path, id, "");
    let length = u16::try_from(message.len()).unwrap().to_be_bytes();
    [&[0x81, 126][..], &length, message.as_bytes()].concat()
}

#[tokio::test]
async fn an_accept_message_is_an_offer() {
    let mut served = Served::start(device(|_| {})).await;
    for (path, headers, stream) in [
        ("site/gw", "", "ssh"),
        ("site/Gw/tcp-80", r#""Iotstream-Device":"GW","#, "tcp-80"),
        ("site%2FGw/a%2Fb%20c", r#""iotstream-device":"%67w","#, "a/b c"),
        ("other", "", "ssh"),
    ] {
        served.send(accept(HOST, path, "", headers)).await;
        let offer = served.offer().await;
        assert_eq!((offer.stream.as_str(), offer.id, offer.is_approved), (stream, None, false), "{path}");
        assert_eq!(offer.requester.as_deref(), Some("203.0.113.7:5"));
    }
    served.send(accept(HOST, "site/gw", "ID_G0_G1", "")).await;
    assert_eq!(served.offer().await.id.as_deref(), Some("ID_G0_G1"));
}

#[tokio::test]
async fn a_bad_address_is_reported_and_other_messages_are_ignored() {
    let mut served = Served::start(device(|_| {})).await;
    for ignored in ["", "nonsense", "[1]", r#"{"accept":{"id":"1"}}"#, r#"{"hello":{"accept":1}}"#] {
        served.send(ignored).await;
    }
    served.service.send(Message::binary(vec![7; 70_000])).await.unwrap();
    for (message, part) in [
        (accept("evil.example", "site/gw", "1", ""), "evil.example"),
        (accept(HOST, "site/gw", "1", "").replace("wss:", "ws:"), "without TLS"),
        (accept("u:p@g.servicebus.windows.net", "site/gw", "1", ""), "names a user"),
        (accept(HOST, "site/gw", &"1".repeat(20_000), ""), "more than 16384 bytes"),
        (accept(HOST, &format!("site/gw/{}", "x".repeat(300)), "1", ""), "longer than 256 bytes"),
    ] {
        served.send(message).await;
        let problem = served.unusable().await;
        assert!(problem.contains(part) && !problem.contains("sb-hc-id"), "{problem}");
    }
}

#[tokio::test]
async fn only_the_named_device_is_offered() {
    let named = |name: &str| format!(r#""Iotstream-Device":"{name}","#);
    let mut served = Served::start(device(|settings| settings.is_shared = true)).await;
    served.send(accept(HOST, "site/gw/a", "", "")).await;
    served.send(accept(HOST, "site/gw/b", "", &named("other"))).await;
    assert!(served.unusable().await.contains("name the device"));
    assert!(served.unusable().await.contains("this is device Gw, not other"));
    served.send(accept(HOST, "site/gw/c", "", &named("gw"))).await;
    assert_eq!(served.offer().await.stream, "c");
    let mut served = Served::start(device(|settings| settings.device = Some("Straße 7".into()))).await;
    served.send(accept(HOST, "site/gw/a", "", &named("gw"))).await;
    served.send(accept(HOST, "site/gw/b", "", &named("stra%C3%9Fe%207"))).await;
    served.send(accept(HOST, "site/gw/c", "", "")).await;
    assert!(served.unusable().await.contains("not gw"));
    assert_eq!((served.offer().await.stream, served.offer().await.stream), ("b".into(), "c".into()));
}

#[tokio::test]
async fn http_requests_are_answered_501() {
    let mut served = Served::start(device(|_| {})).await;
    for id in 0..100 {
        let request =
            format!(r#"{{"request":{{"id":"{id}","method":"POST","requestTarget":"/","body":true}}}}"#);
        served.send(request).await;
        served.service.send(Message::binary(vec![7; 60_000])).await.unwrap();
        let answer = served.text().await;
        let expected = format!(r#""requestId":"{id}""#);
        assert!(answer.contains(&expected) && answer.contains("501"), "{answer}");
    }
}

#[tokio::test(start_paused = true)]
async fn the_token_is_renewed_on_the_channel() {
    let mut served =
        Served::start(device(|settings| settings.token_life = Some(Duration::from_secs(2)))).await;
    for _ in 0..20 {
        let renewal = served.text().await;
        assert!(renewal.starts_with(r#"{"renewToken":{"token":"SharedAccessSignature sr="#), "{renewal}");
        assert!(matches!(served.offers.next().await, Some(Event::Renewed)));
    }
    served.send(accept(HOST, "site/gw", "1", "")).await;
    served.offer().await;
}

/// A listener in service whose credential's file has changed. The renewed credential names a service at the socket.
async fn renewed(token_life: Duration) -> (Served, TcpListener, tempfile::TempDir) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("listen.conn");
    let old = device(|settings| {
        (settings.files, settings.token_life) = (WatchedFiles::of(&path), Some(token_life));
    });
    std::fs::write(&path, "renewed").unwrap();
    let other = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = other.local_addr().unwrap();
    let reread: Reread = Arc::new(move || {
        let text =
            format!("Endpoint=sb://{address}/;SharedAccessKeyName=r;SharedAccessKey=c2VjcmV0;EntityPath=e");
        Ok(device(|settings| {
            settings.access = RelayAccess::ConnectionString(Secret::new(text));
            settings.files = WatchedFiles::of(&path);
        }))
    });
    (Served::with_reread(old, Some(reread)).await, other, directory)
}

#[tokio::test(start_paused = true)]
async fn a_renewed_file_is_used_within_the_hour() {
    let (mut served, other, _directory) = renewed(Duration::from_secs(1 << 20)).await;
    let since = tokio::time::Instant::now();
    let answering = async { while served.service.next().await.is_some() {} };
    tokio::select! {
        () = answering => panic!("the control channel is over"),
        _ = other.accept() => {}
    }
    assert_eq!(since.elapsed().as_secs(), 3600);
}

#[tokio::test]
async fn a_renewed_file_is_used_when_the_token_is_renewed() {
    let (mut served, other, _directory) = renewed(Duration::from_secs(2)).await;
    let dialled = tokio::time::timeout(Duration::from_secs(60), other.accept());
    // The previous token is renewed until the new control channel is open.
    let (dialled, renewal) = tokio::join!(dialled, served.text());
    assert!(dialled.is_ok() && renewal.starts_with(r#"{"renewToken":"#), "{renewal}");
}

#[tokio::test(start_paused = true)]
async fn a_silent_service_is_given_up_after_a_ping() {
    let mut served = Served::start(device(|_| {})).await;
    let since = tokio::time::Instant::now();
    // Anything that arrives is a sign of life.
    for _ in 0..3 {
        assert!(matches!(served.service.next().await, Some(Ok(Message::Ping(_)))));
    }
    served.service.send(Message::Pong(bytes::Bytes::new())).await.unwrap();
    assert!(since.elapsed() >= Duration::from_secs(90));
    let error = loop {
        tokio::select! {
            ended = &mut served.serving => break ended.unwrap().unwrap_err(),
            // Reads without answering.
            _ = served.service.get_mut().read_u8() => {}
        }
    };
    assert!(error.to_string().contains("no answer to a ping for 20s"), "{error}");
    assert!(since.elapsed() >= Duration::from_secs(140), "{:?}", since.elapsed());
}

#[tokio::test]
async fn messages_are_bounded() {
    let ended = async |frames: Vec<u8>, count: usize| {
        let mut served = Served::start(device(|_| {})).await;
        let raw = served.service.get_mut();
        for _ in 0..count {
            if raw.write_all(&frames).await.is_err() {
                break;
            }
        }
        served.serving.await.unwrap().unwrap_err().to_string()
    };
    let long = [&[0x81, 127][..], &(LONGEST_MESSAGE as u64 + 1).to_be_bytes()].concat();
    let fragment = [&[0x01, 126, 0xff, 0xff][..], &[b'x'; 0xffff]].concat();
    let continued = [&[0x00, 126, 0xff, 0xff][..], &[b'x'; 0xffff]].concat();
    for (frames, count, part) in [
        (long, 1, "longer than 262144 bytes"),
        ([fragment, continued.repeat(5)].concat(), 1, "longer than 262144 bytes"),
        (b"HTTP/1.1 200 OK\r\n".repeat(10), 1, "broke the protocol"),
        (vec![0x81, 1, 0xff], 1, "broke the protocol"),
    ] {
        let said = ended(frames, count).await;
        assert!(said.contains(part), "{said}");
    }
    let mut served = Served::start(device(|_| {})).await;
    let padded = accept(HOST, "site/gw", "1", &format!(r#""X":"{}","#, "x".repeat(LONGEST_MESSAGE - 1000)));
    served.send(padded).await;
    served.offer().await;
}

#[tokio::test]
async fn a_close_is_answered_and_told() {
    for (code, reason, is_daily) in [
        (CloseCode::Away, "deleted. TrackingId:1_G0", false),
        (CloseCode::Policy, "expired", false),
        (CloseCode::Error, "InternalServerError: NameRenewalFailed. TrackingId:2_G0", true),
    ] {
        let mut served = Served::start(device(|_| {})).await;
        served.service.close(Some(CloseFrame { code, reason: reason.into() })).await.unwrap();
        assert!(matches!(served.service.next().await, Some(Ok(Message::Close(_)))));
        let error = served.serving.await.unwrap().unwrap_err();
        assert!(error.to_string().contains(reason), "{error}");
        assert_eq!(error.fault().is_some_and(RelayError::is_daily), is_daily);
    }
    let served = Served::start(device(|_| {})).await;
    drop(served.service);
    let error = served.serving.await.unwrap().unwrap_err();
    assert!(matches!(error, Error::Network { .. }), "{error}");
}

#[tokio::test]
async fn a_stop_closes_the_channel_and_serves_crossing_offers() {
    let mut served = Served::start(device(|_| {})).await;
    served.offers.order(Order::Stop);
    match served.service.next().await {
        Some(Ok(Message::Close(Some(close)))) => assert_eq!(close.code, CloseCode::Normal),
        other => panic!("{other:?}"),
    }
    let frames = [late_offer("site/gw/late", "1"), vec![0x88, 0]].concat();
    served.service.get_mut().write_all(&frames).await.unwrap();
    assert_eq!(served.offer().await.stream, "late");
    served.serving.await.unwrap().unwrap();
}

#[tokio::test(start_paused = true)]
async fn no_ping_follows_the_close() {
    let mut served =
        Served::start(device(|settings| settings.keepalive = Some(Duration::from_secs(30)))).await;
    tokio::time::sleep(Duration::from_millis(29_500)).await;
    served.offers.order(Order::Stop);
    assert!(matches!(served.service.next().await, Some(Ok(Message::Close(_)))));
    tokio::time::sleep(Duration::from_secs(1)).await;
    served.service.get_mut().write_all(&late_offer("site/gw/late", "1")).await.unwrap();
    assert_eq!(served.offer().await.stream, "late");
}

#[tokio::test]
async fn tries_of_one_start_are_one_offer() {
    let mut served = Served::start(device(|_| {})).await;
    let again = |path: &str, node: &str| accept(HOST, path, &format!("7d1c_{node}"), "");
    served.send(again("site/gw/a", "G0")).await;
    let first = served.offer().await;
    served.send(again("site/gw/a", "G1_G2")).await;
    // Another stream is another question.
    served.send(again("site/gw/b", "G0")).await;
    assert_eq!(served.offer().await.stream, "b");
    drop(first);
    served.send(again("site/gw/a", "G3")).await;
    assert_eq!(served.offer().await.id.as_deref(), Some("7d1c_G3"), "nobody decides on the first any more");
}

#[tokio::test]
async fn a_flood_of_messages_that_are_not_answered_is_bounded() {
    let mut served = Served::start(device(|_| {})).await;
    let id = "i".repeat(1000);
    let request = format!(r#"{{"request":{{"id":"{id}","body":false}}}}"#);
    // Answers are not read: the listener stops to read before it queues them without end.
    let flood = async {
        for _ in 0..100_000 {
            served.send(&*request).await;
        }
    };
    assert!(tokio::time::timeout(Duration::from_secs(2), flood).await.is_err(), "it reads on");
}

#[tokio::test]
async fn errors_hold_no_secret() {
    let error =
        device(|_| {}).credential.token(Duration::from_secs(1)).await.map(|token| format!("{token:?}"));
    assert!(!error.unwrap().contains("Signature"));
    let given = "Endpoint=sb://ns/;SharedAccessSignature=SharedAccessSignature sr=x&sig=c2VjcmV0&se=9&skn=r;EntityPath=e";
    let settings = RelaySettings::new("a test", RelayAccess::ConnectionString(Secret::new(given)));
    let listener = Arc::new(RelayListener::new(&settings).unwrap());
    assert!(!format!("{listener:?}").contains("c2VjcmV0"));
    let error = listener.listen(network(), None).unwrap_err();
    assert!(error.to_string().contains("expired at 1970-01-01T00:00:09.000Z"), "{error}");
    assert!(!error.to_string().contains("c2VjcmV0"));
}
