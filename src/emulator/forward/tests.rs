use tokio::io::{AsyncReadExt, DuplexStream};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep};
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;

use super::reading::PROBE;
use super::*;
use crate::emulator::websocket::frames::Size;

const MAX_FRAME: usize = 65_536;

/// "abc", Close, an empty message and a Ping, masked with zeros.
const DATA: [u8; 9] = [0x82, 0x83, 0, 0, 0, 0, b'a', b'b', b'c'];
const CLOSE: [u8; 6] = [0x88, 0x80, 0, 0, 0, 0];
const EMPTY: [u8; 6] = [0x82, 0x80, 0, 0, 0, 0];
const PING: [u8; 6] = [0x89, 0x80, 0, 0, 0, 0];
/// The frames of a server.
const DATA_OUT: [u8; 5] = [0x82, 3, b'a', b'b', b'c'];
const CLOSE_OUT: [u8; 4] = [0x88, 2, 0x03, 0xe8];
const LOST_OUT: &[u8] = b"\x88\x11\x03\xf3WS disconnected";
const PING_OUT: [u8; 2] = [0x89, 0];
const PONG_OUT: [u8; 2] = [0x8a, 0];
const LONG: Duration = Duration::from_secs(3600);

type Task = JoinHandle<Option<Linger>>;

fn sides() -> [(DuplexStream, Task); 2] {
    sides_with(Rules {
        size: Size::Limited(MAX_FRAME),
        keeps_messages: false,
        closes: Closes::PassedOn,
        pings: Pings::Answered,
        lost: Some((CloseCode::Error, "WS disconnected")),
        idle: None,
        expiry: None,
    })
}

/// Rules that keep messages, and end a side as its peer has ended.
fn keeping() -> Rules {
    Rules {
        size: Size::InParts(4),
        keeps_messages: true,
        closes: Closes::PassedOn,
        pings: Pings::Answered,
        lost: None,
        idle: None,
        expiry: None,
    }
}

fn sides_with(rules: Rules) -> [(DuplexStream, Task); 2] {
    let settings = Settings { latency: Duration::ZERO, window: MAX_FRAME, cut: None, rules };
    let [device, service] = Channel::pair("the device".into(), "the service".into(), &settings);
    [service, device].map(|channel| {
        let (near, far) = tokio::io::duplex(1 << 20);
        let task = tokio::spawn(async move { forward(near, channel).await.map(|(_, linger)| linger) });
        (far, task)
    })
}

async fn expect(side: &mut DuplexStream, bytes: &[u8]) {
    let mut got = vec![0; bytes.len()];
    timeout(LONG, side.read_exact(&mut got)).await.expect("nothing arrives").unwrap();
    assert_eq!(got, bytes);
}

async fn expect_end(side: &mut DuplexStream) {
    let mut rest = Vec::new();
    timeout(LONG, side.read_to_end(&mut rest)).await.expect("it does not end").unwrap();
    assert_eq!(rest, b"");
}

/// Sends more than the peer's connection holds, and less than connection and pipe hold; gives back what the peer gets.
async fn fill(side: &mut DuplexStream) -> Vec<u8> {
    let block = [&[0x82, 0xfe, 0xff, 0xff, 0, 0, 0, 0][..], &vec![7; 65_535]].concat();
    let read = [&[0x82, 0x7e, 0xff, 0xff][..], &vec![7; 65_535]].concat();
    for _ in 0..18 {
        side.write_all(&block).await.unwrap();
    }
    read.repeat(18)
}

#[tokio::test(start_paused = true)]
async fn a_late_answer_after_a_close_is_delivered() {
    let [(mut service, serving), (mut device, _)] = sides();
    service.write_all(&[&DATA[..], &CLOSE].concat()).await.unwrap();
    expect(&mut device, &DATA_OUT).await;
    expect(&mut device, &CLOSE_OUT).await;
    for _ in 0..3 {
        sleep(LONG).await;
        device.write_all(&DATA).await.unwrap();
        expect(&mut service, &DATA_OUT).await;
    }
    device.write_all(&CLOSE).await.unwrap();
    expect(&mut service, &CLOSE_OUT).await;
    expect_end(&mut service).await;
    expect_end(&mut device).await;
    assert_ne!(serving.await.unwrap(), Some(Linger::Reset));
}

#[tokio::test(start_paused = true)]
async fn a_late_reader_gets_every_byte() {
    let [(mut service, serving), (mut device, _)] = sides();
    let sent = fill(&mut service).await;
    service.write_all(&CLOSE).await.unwrap();
    sleep(LONG).await;
    expect(&mut device, &sent).await;
    expect(&mut device, &CLOSE_OUT).await;
    device.write_all(&CLOSE).await.unwrap();
    expect(&mut service, &CLOSE_OUT).await;
    assert_ne!(serving.await.unwrap(), Some(Linger::Reset));
}

#[tokio::test(start_paused = true)]
async fn a_late_reader_gets_the_answer() {
    let [(mut service, serving), (mut device, _)] = sides();
    service.write_all(&CLOSE).await.unwrap();
    expect(&mut device, &CLOSE_OUT).await;
    let sent = fill(&mut device).await;
    device.write_all(&CLOSE).await.unwrap();
    sleep(LONG).await;
    expect(&mut service, &sent).await;
    expect(&mut service, &CLOSE_OUT).await;
    assert_ne!(serving.await.unwrap(), Some(Linger::Reset));
}

#[tokio::test(start_paused = true)]
async fn a_late_reader_gets_the_upload_after_both_have_closed() {
    let [(mut service, _), (mut device, serving)] = sides();
    device.write_all(&CLOSE).await.unwrap();
    expect(&mut service, &CLOSE_OUT).await;
    let sent = fill(&mut service).await;
    service.write_all(&CLOSE).await.unwrap();
    drop(service);
    sleep(LONG).await;
    expect(&mut device, &sent).await;
    expect(&mut device, &CLOSE_OUT).await;
    assert_ne!(serving.await.unwrap(), Some(Linger::Reset));
}

#[tokio::test(start_paused = true)]
async fn a_late_user_gets_what_a_lost_device_sent() {
    let [(mut service, _), (mut device, _)] = sides();
    let sent = fill(&mut device).await;
    drop(device);
    sleep(LONG).await;
    expect(&mut service, &sent).await;
    expect(&mut service, LOST_OUT).await;
}

#[tokio::test(start_paused = true)]
async fn a_reader_that_stalls_does_not_outlive_its_peer() {
    let [(mut service, _), (device, serving)] = sides();
    fill(&mut service).await;
    let start = Instant::now();
    drop(service);
    assert_eq!(serving.await.unwrap(), Some(Linger::Reset));
    assert!(start.elapsed() <= STALL + PROBE, "{:?}", start.elapsed());
    drop(device);
}

#[tokio::test(start_paused = true)]
async fn a_slow_reader_gets_what_a_lost_side_sent() {
    let [(mut service, _), (mut device, _)] = sides();
    let sent = fill(&mut service).await;
    drop(service);
    for part in sent.chunks(1 << 16) {
        sleep(Duration::from_secs(1)).await;
        expect(&mut device, part).await;
    }
    expect(&mut device, LOST_OUT).await;
    expect_end(&mut device).await;
}

#[tokio::test(start_paused = true)]
async fn a_side_that_is_not_read_from_is_pinged() {
    let [(mut service, serving), (device, _)] = sides();
    fill(&mut service).await;
    // More than the pipe holds.
    let flood = tokio::spawn(async move {
        for _ in 0..20 {
            expect(&mut service, &PING_OUT).await;
        }
        service
    });
    let [(mut other, _), (_peer, _)] = sides();
    assert!(timeout(PROBE * 3, other.read_u8()).await.is_err(), "an idle side is pinged");
    drop(flood.await);
    drop(device);
    serving.await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_close_is_passed_on_unchanged() {
    let [(mut service, _), (mut device, _)] = sides();
    let close = [&[0x88, 0x84, 0, 0, 0, 0][..], b"\x03\xf3no"].concat();
    device.write_all(&[&DATA[..], &close].concat()).await.unwrap();
    expect(&mut service, &DATA_OUT).await;
    expect(&mut service, b"\x88\x04\x03\xf3no").await;
    service.write_all(&CLOSE).await.unwrap();
    expect(&mut device, &CLOSE_OUT).await;
    expect_end(&mut device).await;
}

#[tokio::test(start_paused = true)]
async fn an_end_after_a_close_ends_the_peer() {
    let [(mut service, _), (mut device, serving)] = sides();
    service.write_all(&[&DATA[..], &CLOSE].concat()).await.unwrap();
    expect(&mut device, &[&DATA_OUT[..], &CLOSE_OUT].concat()).await;
    device.write_all(&DATA).await.unwrap();
    expect(&mut service, &DATA_OUT).await;
    let start = Instant::now();
    drop(service);
    expect_end(&mut device).await;
    assert!(start.elapsed() < LINGER);
    assert_eq!(serving.await.unwrap(), Some(Linger::WhileTaking(STALL)));
    assert!(start.elapsed() <= LINGER);
}

#[tokio::test(start_paused = true)]
async fn an_answer_cut_after_a_close_is_reported() {
    let [(mut service, _), (mut device, _)] = sides();
    service.write_all(&CLOSE).await.unwrap();
    expect(&mut device, &CLOSE_OUT).await;
    device.write_all(&DATA).await.unwrap();
    drop(device);
    expect(&mut service, &DATA_OUT).await;
    expect(&mut service, LOST_OUT).await;
    expect_end(&mut service).await;
}

#[tokio::test(start_paused = true)]
async fn a_violation_ends_both_sides() {
    let [(mut service, serving), (mut device, _)] = sides();
    // A Close with 1006, which may not be sent.
    service.write_all(&[&DATA[..], &[0x88, 0x82, 0, 0, 0, 0, 0x03, 0xee]].concat()).await.unwrap();
    expect(&mut service, &[0x88, 2, 0x03, 0xea]).await;
    expect(&mut device, &DATA_OUT).await;
    expect(&mut device, LOST_OUT).await;
    assert_ne!(serving.await.unwrap(), Some(Linger::Reset));
}

#[tokio::test(start_paused = true)]
async fn empty_messages_are_passed_on_and_a_flood_is_capped() {
    let [(mut service, _), (mut device, _)] = sides();
    service.write_all(&[&EMPTY[..], &DATA, &EMPTY].concat()).await.unwrap();
    expect(&mut device, &[&[0x82, 0][..], &DATA_OUT, &[0x82, 0]].concat()).await;
    sleep(Duration::from_secs(1)).await;
    // Some of a flood is passed on, and what follows is not late.
    let start = Instant::now();
    let run = EMPTY.repeat(10_000);
    for _ in 0..10 {
        service.write_all(&run).await.unwrap();
    }
    service.write_all(&CLOSE).await.unwrap();
    let mut got = Vec::new();
    while !got.ends_with(&CLOSE_OUT) {
        timeout(LONG, device.read_buf(&mut got)).await.expect("nothing arrives").unwrap();
    }
    let passed = (got.len() - CLOSE_OUT.len()) / 2;
    assert!((100..20_000).contains(&passed), "{passed}");
    assert!(start.elapsed() < Duration::from_secs(5), "{:?}", start.elapsed());
}

#[tokio::test(start_paused = true)]
async fn a_flood_of_pings_does_not_stop_the_data() {
    let [(service, _), (mut device, _)] = sides();
    let (mut from_gateway, mut to_gateway) = tokio::io::split(service);
    let flood = tokio::spawn(async move {
        let run = PING.repeat(1000);
        while to_gateway.write_all(&run).await.is_ok() {}
    });
    device.write_all(&DATA).await.unwrap();
    let mut got = Vec::new();
    while !got.windows(DATA_OUT.len()).any(|frame| frame == DATA_OUT) {
        assert!(got.len() < 1 << 16, "only pongs arrive");
        timeout(LONG, from_gateway.read_buf(&mut got)).await.expect("nothing arrives").unwrap();
    }
    let pongs = got.chunks(2).take_while(|frame| **frame == PONG_OUT).count();
    // One for each write, not one for each Ping.
    assert!(pongs < 1000, "{pongs}");
    flood.abort();
}

#[tokio::test(start_paused = true)]
async fn messages_keep_their_type_and_borders() {
    let [(mut service, _), (mut device, _)] = sides_with(keeping());
    // Text, an empty message, three fragments, and a message that is passed on in parts.
    let text = [0x81, 0x82, 0, 0, 0, 0, b'h', b'i'];
    let fragments =
        [[0x01, 0x81, 0, 0, 0, 0, b'a'], [0x00, 0x81, 0, 0, 0, 0, b'b'], [0x80, 0x81, 0, 0, 0, 0, b'c']];
    let large = [&[0x82, 0x86, 0, 0, 0, 0][..], b"sixsix"].concat();
    service.write_all(&[&text[..], &EMPTY, fragments.as_flattened(), &large].concat()).await.unwrap();
    expect(&mut device, b"\x81\x02hi\x82\x00\x01\x01a\x00\x01b\x80\x01c\x02\x04sixs\x80\x02ix").await;
    service.write_all(&CLOSE).await.unwrap();
    expect(&mut device, &[0x88, 0]).await;
}

#[tokio::test(start_paused = true)]
async fn an_end_without_a_close_is_passed_on_as_one() {
    let [(service, _), (mut device, _)] = sides_with(keeping());
    drop(service);
    expect_end(&mut device).await;
}

#[tokio::test(start_paused = true)]
async fn a_close_that_is_answered_at_once_loses_what_the_peer_sends() {
    let close = [0x88, 0x84, 0, 0, 0, 0, 0x0f, 0xa0, b'u', b'p'];
    for (answer, expected) in [(Answer::Same, &b"\x88\x04\x0f\xa0up"[..]), (Answer::Normal, &CLOSE_OUT)] {
        let [(mut service, _), (mut device, _)] =
            sides_with(Rules { closes: Closes::Answered(answer), ..keeping() });
        service.write_all(&close).await.unwrap();
        expect(&mut service, expected).await;
        expect_end(&mut service).await;
        expect(&mut device, b"\x88\x04\x0f\xa0up").await;
        device.write_all(&DATA.repeat(1000)).await.unwrap();
        device.write_all(&CLOSE).await.unwrap();
        expect_end(&mut device).await;
    }
}

#[tokio::test(start_paused = true)]
async fn pings_are_passed_on_or_ignored_on_request() {
    let [(mut service, _), (mut device, _)] = sides_with(Rules { pings: Pings::PassedOn, ..keeping() });
    service.write_all(&[0x89, 0x81, 0, 0, 0, 0, b'p']).await.unwrap();
    expect(&mut device, b"\x89\x01p").await;
    device.write_all(&[0x8a, 0x81, 0, 0, 0, 0, b'p']).await.unwrap();
    expect(&mut service, b"\x8a\x01p").await;

    let [(mut service, _), (mut device, _)] = sides_with(Rules { pings: Pings::Ignored, ..keeping() });
    service.write_all(&[&PING[..], &DATA].concat()).await.unwrap();
    device.write_all(&DATA).await.unwrap();
    expect(&mut device, &DATA_OUT).await;
    expect(&mut service, &DATA_OUT).await;
}

#[tokio::test(start_paused = true)]
async fn an_idle_stream_is_cut() {
    let limit = Duration::from_secs(120);
    let [(mut service, _), (mut device, _)] = sides_with(Rules { idle: Some(limit), ..keeping() });
    let start = Instant::now();
    for _ in 0..3 {
        sleep(Duration::from_secs(100)).await;
        device.write_all(&PING).await.unwrap();
        expect(&mut device, &PONG_OUT).await;
    }
    tokio::join!(expect_end(&mut service), expect_end(&mut device));
    assert!(start.elapsed() >= Duration::from_secs(300) + limit);
}

#[tokio::test(start_paused = true)]
async fn both_sides_are_closed_at_the_expiry() {
    let when = Instant::now() + LONG / 2;
    let expiry = Some((when, CloseCode::Policy, "over".to_owned()));
    let [(mut service, _), (mut device, _)] = sides_with(Rules { expiry, ..keeping() });
    tokio::join!(expect(&mut service, b"\x88\x06\x03\xf0over"), expect(&mut device, b"\x88\x06\x03\xf0over"));
    assert!(Instant::now() >= when);
}
