//! What is asked of a twin and when, without a hub connection.

use std::collections::BTreeSet;

use proptest::prelude::*;
use serde_json::json;
use tokio::time::{advance, timeout};

use super::*;
use crate::backend::iothub::proto::merged;
use crate::backend::{HostKeys, Offers, StreamReport};
use crate::secret::Secret;
use crate::text::public_key::PublicKey;

const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(3600);

fn credential(device: &str) -> DeviceCredential {
    let text =
        Secret::new(format!("HostName=hub;DeviceId={device};SharedAccessKey=MDEyMzQ1Njc4OWFiY2RlZg=="));
    DeviceCredential::new("a test", &text, None, &mut Vec::new()).unwrap()
}

fn key(number: u8) -> PublicKey {
    PublicKey::of_blob(&[0, 0, 0, 1, b'x', number]).unwrap()
}

fn report(keys: &[u8]) -> Arc<Report> {
    let keys = HostKeys::Known(keys.iter().copied().map(key).collect());
    Arc::new(Report { streams: vec![StreamReport { name: "ssh".into(), ports: None, keys }] })
}

fn untold() -> Arc<Report> {
    Arc::new(Report {
        streams: vec![StreamReport { name: "ssh".into(), ports: None, keys: HostKeys::Untold }],
    })
}

/// A twin with a hub connection, and the agent's end.
fn connected() -> (Twin, Offers) {
    let (offers, source) = Offers::channel();
    let mut twin = Twin::new(source.reports);
    twin.connected(&credential("dev-1"));
    (twin, offers)
}

/// The next step within a second.
async fn at_once(twin: &mut Twin) -> Step {
    timeout(Duration::from_secs(1), twin.next()).await.expect("a step")
}

#[track_caller]
fn assert_idle<T>(waited: Result<Step, T>) {
    if let Ok(step) = waited {
        panic!("{step:?}");
    }
}

/// Nothing is asked for a week.
async fn is_idle(twin: &mut Twin) {
    assert_idle(timeout(7 * 24 * HOUR, twin.next()).await);
}

fn answer(id: u32, status: u16, body: impl Into<String>) -> TwinReply {
    TwinReply::Answer(TwinAnswer { id, status, body: body.into().into_bytes() })
}

/// A hub with a twin.
#[derive(Debug, Default)]
struct Hub {
    reported: Value,
    gets: usize,
    patches: usize,
}

impl Hub {
    /// Does what is asked.
    fn obey(&mut self, step: &Step) -> TwinReply {
        match step {
            Step::Subscribe => TwinReply::Subscription(true),
            Step::Request(TwinRequest::Get, id) => {
                self.gets += 1;
                answer(*id, 200, json!({ "desired": {}, "reported": self.reported }).to_string())
            }
            Step::Request(TwinRequest::Report(patch), id) => {
                self.patches += 1;
                self.reported = merged(self.reported.take(), patch);
                answer(*id, 204, "")
            }
        }
    }

    /// Obeys until nothing more is asked at once.
    async fn serve(&mut self, twin: &mut Twin) {
        while let Ok(step) = timeout(Duration::from_secs(1), twin.next()).await {
            twin.receive(self.obey(&step));
        }
    }

    fn keys(&self) -> BTreeSet<String> {
        let streams = self.reported["iotstream"]["streams"].as_object().into_iter().flatten();
        let keys = streams.filter_map(|(_, stream)| stream["keys"].as_object()).flatten();
        keys.map(|(_, key)| key.as_str().unwrap().to_owned()).collect()
    }
}

fn texts(keys: &[u8]) -> BTreeSet<String> {
    keys.iter().map(|number| key(*number).to_string()).collect()
}

#[tokio::test(start_paused = true)]
async fn the_twin_is_read_once_and_written_on_change_only() {
    let (mut twin, offers) = connected();
    is_idle(&mut twin).await;
    offers.report(report(&[1, 2]));
    assert_eq!(at_once(&mut twin).await, Step::Subscribe);
    twin.receive(TwinReply::Subscription(true));
    assert!(matches!(at_once(&mut twin).await, Step::Request(TwinRequest::Get, 2)));
    twin.receive(answer(2, 200, r#"{"reported":{"other":1,"$version":9}}"#));
    let Step::Request(TwinRequest::Report(patch), 3) = at_once(&mut twin).await else { panic!("no patch") };
    assert_eq!(patch["iotstream"]["agent"], env!("CARGO_PKG_VERSION"));
    twin.receive(answer(3, 204, ""));
    is_idle(&mut twin).await;

    let mut hub = Hub { reported: merged(json!({ "other": 1 }), &patch), ..Hub::default() };
    for (told, keys) in
        [(report(&[1, 2]), &[1, 2][..]), (untold(), &[1, 2]), (report(&[2]), &[2]), (report(&[]), &[])]
    {
        offers.report(told);
        hub.serve(&mut twin).await;
        assert_eq!(hub.keys(), texts(keys));
    }
    assert_eq!((hub.gets, hub.patches), (0, 2));
    assert_eq!(hub.reported["other"], 1);
    is_idle(&mut twin).await;
}

#[tokio::test(start_paused = true)]
async fn another_identity_has_another_twin() {
    let (mut twin, offers) = connected();
    let (mut first, mut second) = (Hub::default(), Hub::default());
    offers.report(report(&[1]));
    first.serve(&mut twin).await;
    for _ in 0..3 {
        assert!(!twin.disconnected());
        twin.connected(&credential("dev-1"));
        is_idle(&mut twin).await;
    }
    twin.connected(&credential("dev-2"));
    second.serve(&mut twin).await;
    assert_eq!((second.keys(), second.gets, second.patches), (texts(&[1]), 1, 1));
    // The twin of a device that was deleted and registered again is empty.
    let mut renewed = Hub::default();
    twin.forget();
    twin.connected(&credential("dev-2"));
    renewed.serve(&mut twin).await;
    assert_eq!(renewed.keys(), texts(&[1]));
    assert_eq!((first.gets, first.patches), (1, 1));
}

#[tokio::test(start_paused = true)]
async fn a_hub_that_throttles_or_fails_is_asked_again_less_and_less() {
    let (mut twin, offers) = connected();
    offers.report(report(&[1]));
    assert_eq!(at_once(&mut twin).await, Step::Subscribe);
    twin.receive(TwinReply::Subscription(true));
    let mut longest = Duration::ZERO;
    for (turn, status) in [429, 503, 500, 429, 599, 429, 503, 500, 429, 429].into_iter().enumerate() {
        let asked = Instant::now();
        let Step::Request(TwinRequest::Get, id) = twin.next().await else { panic!("no request") };
        let waited = asked.elapsed();
        if turn > 0 {
            assert!(waited >= longest / 2 && waited >= MINUTE / 2 && waited <= HOUR, "{turn}: {waited:?}");
        }
        longest = longest.max(waited);
        twin.receive(answer(id, status, r#"{"message":"slow down"}"#));
    }
    assert!(longest >= HOUR / 2, "{longest:?}");
    // A patch that fails may be written or not: the twin is read again.
    advance(HOUR).await;
    let mut hub = Hub::default();
    let get = at_once(&mut twin).await;
    twin.receive(hub.obey(&get));
    let Step::Request(TwinRequest::Report(_), id) = at_once(&mut twin).await else { panic!("no patch") };
    twin.receive(answer(id, 503, ""));
    let asked = Instant::now();
    assert!(matches!(twin.next().await, Step::Request(TwinRequest::Get, _)));
    assert!(asked.elapsed() <= MINUTE, "the success has ended the long pauses");
}

#[tokio::test(start_paused = true)]
async fn a_request_without_an_answer_is_given_up_and_its_late_answer_ignored() {
    let (mut twin, offers) = connected();
    let mut hub = Hub::default();
    offers.report(report(&[1]));
    let begin = Instant::now();
    assert_eq!(at_once(&mut twin).await, Step::Subscribe);
    assert_eq!(twin.next().await, Step::Subscribe);
    assert!(begin.elapsed() >= ANSWER_LIMIT + MINUTE / 2, "{:?}", begin.elapsed());
    // The answer to the first one does for both.
    twin.receive(TwinReply::Subscription(true));
    let first = at_once(&mut twin).await;
    let late = hub.obey(&first);
    let second = twin.next().await;
    assert_ne!(first, second);
    twin.receive(late);
    assert_idle(timeout(Duration::from_secs(1), twin.next()).await);
    twin.receive(hub.obey(&second));
    hub.serve(&mut twin).await;
    assert_eq!(hub.keys(), texts(&[1]));
    is_idle(&mut twin).await;
}

#[tokio::test(start_paused = true)]
async fn a_refused_report_waits_for_another_one() {
    let (mut twin, offers) = connected();
    let mut hub = Hub::default();
    for (number, status) in [(1, 400), (2, 401), (3, 404), (4, 302)] {
        offers.report(report(&[number]));
        loop {
            match at_once(&mut twin).await {
                Step::Request(TwinRequest::Report(_), id) => {
                    twin.receive(answer(id, status, "<html>\x1b[2J"));
                    break;
                }
                step => twin.receive(hub.obey(&step)),
            }
        }
        is_idle(&mut twin).await;
        offers.report(report(&[number]));
        is_idle(&mut twin).await;
        assert!(!twin.disconnected());
        twin.connected(&credential("dev-1"));
        is_idle(&mut twin).await;
    }
    offers.report(report(&[5]));
    hub.serve(&mut twin).await;
    assert_eq!(hub.keys(), texts(&[5]));
}

#[tokio::test(start_paused = true)]
async fn a_hub_without_twins_is_not_asked_again() {
    let (mut twin, offers) = connected();
    offers.report(report(&[1]));
    assert_eq!(at_once(&mut twin).await, Step::Subscribe);
    twin.receive(TwinReply::Subscription(false));
    is_idle(&mut twin).await;
    assert!(!twin.disconnected());
    twin.connected(&credential("dev-1"));
    is_idle(&mut twin).await;
    // An answer that is no twin is no better.
    twin.connected(&credential("dev-2"));
    assert_eq!(at_once(&mut twin).await, Step::Subscribe);
    twin.receive(TwinReply::Subscription(true));
    let Step::Request(TwinRequest::Get, id) = at_once(&mut twin).await else { panic!("no request") };
    twin.receive(answer(id, 200, "[]"));
    is_idle(&mut twin).await;
}

#[tokio::test(start_paused = true)]
async fn a_hub_connection_that_ends_during_a_request_delays_the_next_by_hours() {
    let (mut twin, offers) = connected();
    offers.report(report(&[1]));
    let mut before = Duration::ZERO;
    assert_eq!(at_once(&mut twin).await, Step::Subscribe);
    assert!(twin.disconnected());
    twin.connected(&credential("dev-1"));
    for at in 0..8 {
        let since = Instant::now();
        assert_eq!(twin.next().await, Step::Subscribe);
        let waited = since.elapsed();
        // A network may cut a hub connection at any time, once.
        assert!(at > 0 || (MINUTE / 2..=MINUTE).contains(&waited), "{waited:?}");
        assert!(waited >= before.min(24 * HOUR) && waited <= 48 * HOUR, "{waited:?} after {before:?}");
        before = waited.max(HOUR);
        assert!(twin.disconnected());
        // The next hub connections end without a request.
        twin.connected(&credential("dev-1"));
        assert!(!twin.disconnected());
        twin.connected(&credential("dev-1"));
    }
    offers.report(report(&[2]));
    assert_idle(timeout(12 * HOUR, twin.next()).await);
    let mut hub = Hub::default();
    let step = twin.next().await;
    twin.receive(hub.obey(&step));
    hub.serve(&mut twin).await;
    assert_eq!(hub.keys(), texts(&[2]));
}

#[tokio::test(start_paused = true)]
async fn a_request_that_a_hand_over_interrupts_is_made_again() {
    let (mut twin, offers) = connected();
    let mut hub = Hub::default();
    offers.report(report(&[1]));
    assert_eq!(at_once(&mut twin).await, Step::Subscribe);
    twin.connected(&credential("dev-1"));
    assert_eq!(at_once(&mut twin).await, Step::Subscribe);
    twin.receive(TwinReply::Subscription(true));
    let get = at_once(&mut twin).await;
    twin.receive(hub.obey(&get));
    // The hub has written the patch, and its answer is lost.
    let patch = at_once(&mut twin).await;
    hub.obey(&patch);
    twin.connected(&credential("dev-1"));
    offers.report(report(&[]));
    hub.serve(&mut twin).await;
    assert_eq!(hub.keys(), texts(&[]));
    is_idle(&mut twin).await;
}

/// What happens next.
#[derive(Clone, Debug)]
enum Happens {
    /// The hub answers as it should.
    Answer,
    /// It answers with this status, and may have done what is asked.
    Fail(u16, bool),
    /// It does what is asked, and its answer comes late or never.
    Silence {
        is_late: bool,
    },
    Report(Vec<u8>),
    Untold,
    HandOver,
    Disconnect,
    Wait(u64),
}

fn happenings() -> impl Strategy<Value = Vec<Happens>> {
    let keys = proptest::collection::vec(0..5_u8, 0..4);
    proptest::collection::vec(
        prop_oneof![
            4 => Just(Happens::Answer),
            1 => (prop_oneof![Just(400), Just(429), Just(503)], any::<bool>())
                .prop_map(|(status, is_done)| Happens::Fail(status, is_done)),
            1 => any::<bool>().prop_map(|is_late| Happens::Silence { is_late }),
            2 => keys.prop_map(Happens::Report),
            1 => Just(Happens::Untold),
            1 => Just(Happens::HandOver),
            1 => Just(Happens::Disconnect),
            2 => (0..10_000_u64).prop_map(Happens::Wait),
        ],
        0..40,
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]
    #[test]
    fn whatever_happens_the_last_report_is_what_the_twin_says(happens in happenings()) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
        runtime.block_on(async {
            let (mut twin, offers) = connected();
            let mut hub = Hub::default();
            let mut late = None;
            for happens in happens {
                let step = timeout(Duration::from_millis(1), twin.next()).await.ok();
                match (happens, step) {
                    (Happens::Answer, Some(step)) => twin.receive(hub.obey(&step)),
                    (Happens::Fail(status, is_done), Some(step)) => {
                        if is_done {
                            hub.obey(&step);
                        }
                        twin.receive(match step {
                            Step::Subscribe => TwinReply::Subscription(status != 400),
                            Step::Request(_, id) => answer(id, status, ""),
                        });
                    }
                    (Happens::Silence { is_late }, Some(step)) => {
                        let reply = hub.obey(&step);
                        late = is_late.then_some(reply).or(late);
                    }
                    (Happens::Report(keys), step) => {
                        step.into_iter().for_each(|step| twin.receive(hub.obey(&step)));
                        offers.report(report(&keys));
                    }
                    (Happens::Untold, step) => {
                        step.into_iter().for_each(|step| twin.receive(hub.obey(&step)));
                        offers.report(untold());
                    }
                    (Happens::HandOver, _) => twin.connected(&credential("dev-1")),
                    (Happens::Disconnect, step) => {
                        assert!(twin.disconnected() || step.is_none());
                        twin.connected(&credential("dev-1"));
                    }
                    (Happens::Wait(seconds), step) => {
                        step.into_iter().for_each(|step| twin.receive(hub.obey(&step)));
                        let waited = timeout(Duration::from_secs(seconds), twin.next()).await;
                        waited.into_iter().for_each(|step| twin.receive(hub.obey(&step)));
                        late.take().into_iter().for_each(|late| twin.receive(late));
                    }
                    (_, None) => {}
                }
            }
            // A report that is new ends every refusal, and a week every pause.
            offers.report(report(&[7]));
            let asked = hub.gets + hub.patches;
            let all = async {
                loop {
                    let step = twin.next().await;
                    twin.receive(hub.obey(&step));
                }
            };
            let _ = timeout(7 * 24 * HOUR, all).await;
            assert_eq!(hub.keys(), texts(&[7]));
            assert!(hub.gets + hub.patches - asked <= 3, "no request is made in vain");
        });
    }
}

#[tokio::test(start_paused = true)]
async fn reports_that_follow_each_other_are_written_together() {
    let (mut twin, offers) = connected();
    let mut hub = Hub::default();
    offers.report(untold());
    assert_idle(timeout(GATHERING / 2, twin.next()).await);
    for keys in [&[1][..], &[1, 2], &[1, 2, 3]] {
        offers.report(report(keys));
        assert_idle(timeout(GATHERING / 2, twin.next()).await);
    }
    hub.serve(&mut twin).await;
    assert_eq!((hub.gets, hub.patches, hub.keys()), (1, 1, texts(&[1, 2, 3])));
}
