//! Many streams, at once and one after the other: memory and descriptors stay bounded.

use std::io::{self, Write};
use std::thread;
use std::time::Duration;

use futures_util::future::join_all;
use futures_util::{SinkExt, StreamExt};
use tokio::sync::Semaphore;
use tokio_tungstenite::tungstenite::protocol::Message;

use super::ECHO;
use crate::support::hub_client::HubClient;
use crate::support::{
    DEVICE, Hub, LIMIT, Sandbox, agent_with_config, echo_device, eventually, exchange, heavy, peak_rss_kib,
    resident_kib,
};

#[test]
fn fifty_simultaneous_streams_each_return_their_own_bytes() {
    const STREAMS: usize = 50;
    const LENGTH: u64 = 4 << 20;
    let _turn = heavy();
    let (agent, hub, sandbox) = echo_device("echo");
    let helper_peak_kib = thread::scope(|scope| {
        let streams: Vec<_> = (0..STREAMS)
            .map(|_| {
                let (hub, sandbox) = (&hub, &sandbox);
                scope.spawn(move || {
                    let mut helper = hub.helper(sandbox);
                    helper.args([
                        "--connect-timeout",
                        "60s",
                        "--response-timeout",
                        "60s",
                        "--stream",
                        "echo",
                    ]);
                    let done = exchange(helper.arg(DEVICE), LENGTH, Duration::from_secs(180));
                    assert_eq!(done.received, done.sent);
                    assert_eq!((done.beyond, done.status.code()), (0, Some(0)));
                    done.peak_rss_kib
                })
            })
            .collect();
        streams.into_iter().map(|stream| stream.join().unwrap()).max().unwrap()
    });
    let agent_peak_kib = peak_rss_kib(agent.pid());
    // Directly to stderr, which the test runner does not capture: the figures are of interest when the test passes.
    writeln!(
        io::stderr(),
        "{STREAMS} streams: peak RSS of the agent {agent_peak_kib} KiB, of a helper {helper_peak_kib} KiB"
    )
    .unwrap();
    assert!(helper_peak_kib < 64 << 10, "a helper took {helper_peak_kib} KiB");
    assert!(agent_peak_kib < 256 << 10, "the agent took {agent_peak_kib} KiB");
}

#[test]
fn two_thousand_streams_leak_neither_memory_nor_descriptors() {
    const ROUNDS: usize = 10;
    const STREAMS: usize = 200;
    let _turn = heavy();
    let sandbox = Sandbox::new();
    let hub = Hub::start(&sandbox, &["--device", DEVICE]);
    let agent = agent_with_config(&sandbox, &hub, DEVICE, &format!("max-sessions = 1000\n{ECHO}"));
    let descriptors = || std::fs::read_dir(format!("/proc/{}/fd", agent.pid())).unwrap().count();
    let opener = Opener::new(&hub);
    let before = descriptors();
    let mut resident = Vec::new();
    for _ in 0..ROUNDS {
        opener.open_and_close(STREAMS);
        eventually(LIMIT, || {
            let now = descriptors();
            if now == before { Ok(()) } else { Err(format!("{now} descriptors, {before} before")) }
        });
        resident.push(resident_kib(agent.pid()));
    }
    writeln!(
        std::io::stderr(),
        "resident after each of {ROUNDS} rounds of {STREAMS} streams: {resident:?} KiB"
    )
    .unwrap();
    // The allocator keeps the memory of the first rounds; later rounds reuse it.
    let (first, last) = resident.split_at(ROUNDS / 2);
    let (first, last) = (first.iter().max().unwrap(), last.iter().min().unwrap());
    assert!(last < &(first + 1024), "{resident:?} KiB");
}

/// Opens streams in this process: starting programs would take most of the time.
struct Opener {
    runtime: tokio::runtime::Runtime,
    client: HubClient,
}

impl Opener {
    fn new(hub: &Hub) -> Self {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        Self { runtime, client: HubClient::new(hub) }
    }

    /// At most 50 at once, a hub's quota, each with a byte there and back.
    fn open_and_close(&self, streams: usize) {
        let carried = Semaphore::new(50);
        let open = async || {
            let _carried = carried.acquire().await.unwrap();
            let headers = [("iothub-streaming-connect-timeout-in-seconds", "60")];
            let path = format!("/twins/{DEVICE}/streams/echo?api-version=2020-09-30");
            let answer = self.client.initiate(&path, &headers).await;
            let (url, token) = answer.service_side();
            let mut stream = self.client.join(url, token).await.unwrap();
            stream.send(Message::binary("x")).await.unwrap();
            let echoed = stream.next().await.unwrap().unwrap();
            assert_eq!(echoed, Message::binary("x"));
            stream.close(None).await.unwrap();
            while let Some(Ok(message)) = stream.next().await {
                assert!(message.is_close(), "{message:?}");
            }
        };
        self.runtime.block_on(join_all((0..streams).map(|_| open())));
    }
}
