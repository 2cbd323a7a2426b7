//! The listener against a scripted hub.

mod renewals;

use std::sync::Arc;

use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};
use tokio::net::TcpListener;
use tokio::time::Instant;

use super::dial::MqttIo;
use super::hub_connection::HubConnection;
use super::hub_listener::Device;
use super::login::log_in;
use super::task::{Continuation, LoggedIn, Task};
use super::*;
use crate::backend::iothub::error::Error as HubError;
use crate::backend::iothub::proto::Refusal;
use crate::backend::settings::{DeviceAccess, DeviceSettings};
use crate::backend::{Cause, Event, HostKeys, Order, Rejection, Report, StreamReport};
use crate::config::WatchedFiles;
use crate::net::{Network, Proxies, Tls};
use crate::secret::Secret;

fn listener() -> Arc<HubListener> {
    listener_at("hub", WatchedFiles::default())
}

fn listener_at(hub: &str, files: WatchedFiles) -> Arc<HubListener> {
    let text = format!("HostName={hub};DeviceId=dev-1;SharedAccessKey=MDEyMzQ1Njc4OWFiY2RlZg==");
    let text = Secret::new(text);
    let source = Configured::of_connection_string("a test", &text, None, &mut Vec::new()).unwrap();
    let access = DeviceAccess::ConnectionString { source: "a test".into(), text, certificate: None };
    Arc::new(HubListener::new(Arc::new(source), &DeviceSettings { files, ..DeviceSettings::new(access) }))
}

fn device() -> Arc<Device> {
    let listener = listener();
    Arc::new(listener.device(listener.source.known().unwrap()))
}

fn network() -> Network {
    Network::new(Tls::new(None).unwrap(), Proxies::none())
}

/// Publishes an offer to the device.
async fn publish(hub: &mut DuplexStream, topic: &str) {
    let body = [&u16::try_from(topic.len()).unwrap().to_be_bytes(), topic.as_bytes()].concat();
    let length = u16::try_from(body.len()).unwrap();
    let [low, high] = [u8::try_from(length % 128).unwrap() | 128, u8::try_from(length / 128).unwrap()];
    hub.write_all(&[&[0x30, low, high], &body[..]].concat()).await.unwrap();
}

/// Reads until `text` has arrived `times` times.
async fn heard(hub: &mut DuplexStream, text: &str, times: usize) -> String {
    let mut all = String::new();
    while all.matches(text).count() < times {
        let mut block = [0; 4096];
        let count = hub.read(&mut block).await.unwrap();
        assert_ne!(count, 0, "{all}");
        all += &String::from_utf8_lossy(&block[..count]);
    }
    all
}

/// A device after its login, and its hub.
async fn logged_in() -> (HubConnection<MqttIo>, DuplexStream) {
    let (io, mut hub) = tokio::io::duplex(65_536);
    let (device, network) = (device(), network());
    let (connection, ()) = tokio::join!(log_in(Box::new(io), None, &device, &network), async {
        for (asked, acknowledgement) in
            [("MQTT", &b"\x20\x02\0\0"[..]), ("streams/res/#", b"\x90\x04\0\x01\0\0")]
        {
            heard(&mut hub, asked, 1).await;
            hub.write_all(acknowledgement).await.unwrap();
        }
    });
    (connection.unwrap(), hub)
}

#[tokio::test]
async fn reports_each_kind_of_refusal() {
    let (device, network) = (device(), network());
    let told = async |connack: [u8; 4], suback: [u8; 6]| {
        let (io, mut hub) = tokio::io::duplex(65_536);
        let (connection, ()) = tokio::join!(log_in(Box::new(io), None, &device, &network), async {
            heard(&mut hub, "MQTT", 1).await;
            hub.write_all(&connack).await.unwrap();
            if connack[3] == 0 {
                heard(&mut hub, "streams/res/#", 1).await;
                hub.write_all(&suback).await.unwrap();
            }
        });
        let error = connection.map(|_| ()).unwrap_err();
        match error.fault() {
            Some(HubError::Login { refusal, .. }) => *refusal,
            _ => panic!("{error}"),
        }
    };
    for (code, refusal) in [(1, Refusal::NoMqtt311), (2, Refusal::UnknownId), (3, Refusal::Unavailable)] {
        assert_eq!(told([0x20, 2, 0, code], [0; 6]).await, refusal);
    }
    let refused = told([0x20, 2, 0, 0], [0x90, 4, 0, 1, 0x80, 0]).await;
    assert_eq!(refused, Refusal::NoStreams);
}

#[tokio::test]
async fn an_unusable_offer_is_rejected_and_reported() {
    let (connection, mut hub) = logged_in().await;
    let (mut offers, source) = Offers::channel();
    let mut task = Task::new(listener(), network(), None, source);
    let url = "wss%3A%2F%2Fgateway%2Fx";
    let bad = [
        "$url=ws%3A%2F%2Fgateway%2Fx&$auth=t",
        "$url=wss%3A%2F%2F%2Fx&$auth=t",
        "$url=nonsense&$auth=t",
        "$url=%FF&$auth=t",
        "$auth=t",
        &format!("$url={url}"),
        &format!("$url={url}&$auth="),
    ];
    let sending = async {
        for (at, rest) in bad.iter().enumerate() {
            publish(&mut hub, &format!("$iothub/streams/POST/ssh/?$rid={at}&{rest}")).await;
        }
        heard(&mut hub, "/res/", bad.len()).await
    };
    let told = async {
        let mut told = String::new();
        assert!(matches!(offers.next().await, Some(Event::InService { .. })));
        for _ in bad {
            match offers.next().await {
                Some(Event::Unusable { stream, problem }) => told += &format!("{stream}: {problem}\n"),
                other => panic!("{other:?}"),
            }
        }
        told
    };
    let (answered, told) = tokio::select! {
        _ = task.serve(LoggedIn { device: device(), connection, renewal: None }) => panic!("the hub connection is over"),
        both = async { tokio::join!(sending, told) } => both,
    };
    for at in 0..bad.len() {
        let rejection = format!("$iothub/streams/res/400/?$rid={at}");
        assert!(answered.contains(&rejection), "{rejection} in {answered}");
    }
    assert!(told.contains("ssh: hub: ") && told.contains("ws://") && told.contains("has no $url"), "{told}");
}

#[tokio::test]
async fn a_stop_waits_for_answers_to_open_offers() {
    let (connection, mut hub) = logged_in().await;
    let (mut offers, source) = Offers::channel();
    let mut task = Task::new(listener(), network(), None, source);
    let serving =
        tokio::spawn(
            async move { task.serve(LoggedIn { device: device(), connection, renewal: None }).await },
        );
    publish(&mut hub, "$iothub/streams/POST/ssh/?$rid=7&$url=wss%3A%2F%2Fgateway%2Fx&$auth=t").await;
    assert!(matches!(offers.next().await, Some(Event::InService { .. })));
    let Some(Event::Offer(offer)) = offers.next().await else { panic!("no offer") };
    offers.order(Order::Stop);
    // UNSUBSCRIBE, and its packet id.
    let mut unsubscribe = [0; 4];
    hub.read_exact(&mut unsubscribe).await.unwrap();
    hub.write_all(&[0xb0, 2, unsubscribe[2], unsubscribe[3]]).await.unwrap();
    offer.reply.reject(&Rejection::new(Cause::Target, "no"));
    let mut rest = Vec::new();
    hub.read_to_end(&mut rest).await.unwrap();
    let answer = b"$iothub/streams/res/400/?$rid=7";
    assert!(rest.windows(answer.len()).any(|part| part == answer), "{rest:?}");
    // DISCONNECT.
    assert!(rest.ends_with(&[0xe0, 0]), "{rest:?}");
    assert!(matches!(serving.await.unwrap(), Ok(Continuation::Stop)));
}

#[tokio::test]
async fn an_offer_is_withdrawn_with_its_hub_connection() {
    let (connection, mut hub) = logged_in().await;
    let (mut offers, source) = Offers::channel();
    let mut task = Task::new(listener(), network(), None, source);
    let serving = tokio::spawn(async move {
        task.serve(LoggedIn { device: device(), connection, renewal: None }).await.map(drop)
    });
    publish(&mut hub, "$iothub/streams/POST/ssh/?$rid=7&$url=wss%3A%2F%2Fgateway%2Fx&$auth=t").await;
    assert!(matches!(offers.next().await, Some(Event::InService { .. })));
    let Some(Event::Offer(offer)) = offers.next().await else { panic!("no offer") };
    drop(hub);
    offer.reply.withdrawn().await;
    let error = serving.await.unwrap().unwrap_err();
    assert!(error.to_string().contains("it ended the connection"), "{error}");
}

#[tokio::test(start_paused = true)]
async fn a_twin_that_does_not_answer_delays_no_offer() {
    let (connection, mut hub) = logged_in().await;
    let (mut offers, source) = Offers::channel();
    let stream = StreamReport { name: "ssh".into(), ports: None, keys: HostKeys::Untold };
    offers.report(Arc::new(Report { streams: vec![stream] }));
    let mut task = Task::new(listener(), network(), None, source);
    let logged_in = LoggedIn { device: device(), connection, renewal: None };
    let serving = tokio::spawn(async move { task.serve(logged_in).await });
    assert!(matches!(offers.next().await, Some(Event::InService { .. })));
    heard(&mut hub, "$iothub/twin/res/#", 1).await;
    // During the request, and after its time limit.
    for _ in 0..2 {
        publish(&mut hub, "$iothub/streams/POST/ssh/?$rid=7&$url=wss%3A%2F%2Fgateway%2Fx&$auth=t").await;
        let Some(Event::Offer(offer)) = offers.next().await else { panic!("no offer") };
        offer.reply.reject(&Rejection::new(Cause::Target, "no"));
        heard(&mut hub, "$iothub/streams/res/400/?$rid=7", 1).await;
        tokio::time::advance(std::time::Duration::from_secs(31)).await;
    }
    // The next request, over the same connection.
    heard(&mut hub, "$iothub/twin/res/#", 1).await;
    assert!(!serving.is_finished());
}

/// A file of the credential that is renewed, for an agent in service: the next login uses what it names.
#[tokio::test(start_paused = true)]
async fn a_renewed_file_is_used_within_the_hour() {
    let (connection, mut hub) = logged_in().await;
    let other = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let name = other.local_addr().unwrap().to_string();
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("dev-1.conn");
    let old = listener_at("hub", WatchedFiles::of(&path));
    std::fs::write(&path, "renewed").unwrap();
    let reread: Reread = Arc::new(move || Ok(listener_at(&name, WatchedFiles::of(&path))));
    let (_offers, source) = Offers::channel();
    let mut task = Task::new(old, network(), Some(reread), source);
    let logged_in = LoggedIn { device: device(), connection, renewal: None };
    let pings = async {
        let mut ping = [0; 2];
        loop {
            hub.read_exact(&mut ping).await.unwrap();
            assert_eq!(ping, [0xc0, 0]);
            hub.write_all(&[0xd0, 0]).await.unwrap();
        }
    };
    let since = Instant::now();
    tokio::select! {
        _ = task.serve(logged_in) => panic!("the hub connection is over"),
        () = pings => {}
        _ = other.accept() => {}
    }
    assert_eq!(since.elapsed().as_secs(), 3600);
}
