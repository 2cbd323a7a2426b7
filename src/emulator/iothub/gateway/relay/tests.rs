use std::sync::Arc;
use std::time::SystemTime;

use tokio::io::{AsyncReadExt, DuplexStream};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep};

use super::reading::PROBE;
use super::*;
use crate::backend::iothub::proto::Identity;
use crate::emulator::iothub::gateway::side::path;
use crate::emulator::iothub::gateway::streams::Streams;

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
    let streams = Streams::new().unwrap();
    let pending = streams.open(Duration::ZERO, MAX_FRAME, None).unwrap();
    let identity = Identity::new("d", None).unwrap();
    let join = |side| {
        let token = streams.token(&pending.id, side, SystemTime::now()).unwrap();
        let path = path("h", &identity, &pending.id, side);
        let (channel, joined) =
            Arc::clone(&streams).join(&path, Some(token.expose()), SystemTime::now()).unwrap();
        let (near, far) = tokio::io::duplex(1 << 20);
        let task = tokio::spawn(async move {
            let linger = relay(near, channel, MAX_FRAME).await.map(|(_, linger)| linger);
            drop(joined);
            linger
        });
        (far, task)
    };
    let sides = [join(Side::Service), join(Side::Device)];
    pending.accept();
    sides
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
