//! Many streams, at once and one after the other: memory and descriptors stay bounded.

use std::io::{self, Write};
use std::thread;
use std::time::Duration;

use crate::support::{
    DEVICE, Hub, LIMIT, Sandbox, agent_with_config, echo_device, eventually, exchange, heavy, peak_rss_kib,
    resident_kib,
};

const ECHO: &str = "[[target]]\nstream = \"echo\"\nbuiltin = \"echo\"\n";

#[test]
fn fifty_streams_at_once_each_give_back_their_own_bytes() {
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
    // Past the test runner's capture: the numbers are worth seeing when all is well.
    writeln!(
        io::stderr(),
        "{STREAMS} streams: peak RSS of the agent {agent_peak_kib} KiB, of a helper {helper_peak_kib} KiB"
    )
    .unwrap();
    assert!(helper_peak_kib < 64 << 10, "a helper took {helper_peak_kib} KiB");
    assert!(agent_peak_kib < 256 << 10, "the agent took {agent_peak_kib} KiB");
}

#[test]
fn two_thousand_streams_leave_nothing_behind() {
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
    // What the first rounds have grown, the allocator keeps; later ones are to find it again.
    let (first, last) = resident.split_at(ROUNDS / 2);
    let (first, last) = (first.iter().max().unwrap(), last.iter().min().unwrap());
    assert!(last < &(first + 1024), "{resident:?} KiB");
}

/// Opens streams in this process: starting programs would take most of the time.
struct Opener {
    runtime: tokio::runtime::Runtime,
    network: iotstream::net::Network,
    connection: String,
}

impl Opener {
    fn new(hub: &Hub) -> Self {
        let ca_file = hub.dir.join("ca.pem");
        Self {
            runtime: tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap(),
            network: iotstream::net::Network::new(
                iotstream::net::Tls::new(Some(&ca_file)).unwrap(),
                iotstream::net::Proxies::none(),
            ),
            connection: hub.service_connection_string(),
        }
    }

    /// As many at once as a hub carries, each with a byte there and back.
    fn open_and_close(&self, streams: usize) {
        use iotstream::iothub::{ConnectionString, Identity, Initiate, Key, Resource, SasToken, UnixSeconds};
        use tokio::io::AsyncReadExt;
        let parsed = ConnectionString::parse(&self.connection).unwrap();
        let Key::Shared(key) = &parsed.key else { panic!("no key") };
        let expiry = UnixSeconds(iotstream::clock::unix_seconds(std::time::SystemTime::now()).0 + 600);
        let token = SasToken::sign(&Resource::hub(&parsed.hub), expiry, key, Some("service")).unwrap();
        let carried = tokio::sync::Semaphore::new(50);
        let open = async || {
            let _carried = carried.acquire().await.unwrap();
            let request = iotstream::service::Request {
                hub: parsed.hub.clone(),
                gateway: None,
                authorization: token.text().clone(),
                initiate: Initiate {
                    identity: Identity::new(DEVICE, None).unwrap(),
                    stream: "echo".into(),
                    api_version: iotstream::iothub::DEFAULT_API_VERSION.into(),
                    connect_timeout: Duration::from_secs(60),
                    response_timeout: Duration::from_secs(60),
                },
            };
            let mut phases = iotstream::phase::Phases::default();
            let stream = iotstream::service::open(&self.network, &request, None, &mut phases).await.unwrap();
            let (ours, theirs) = tokio::io::duplex(64);
            let settings = iotstream::tunnel::Settings {
                keepalive: None,
                linger: None,
                drain: Some(Duration::ZERO),
                rest: None,
                half_close: true,
                failed: |_| panic!("the pipe fails"),
                reset: false,
            };
            let meter = iotstream::tunnel::Meter::default();
            let bridge = iotstream::tunnel::bridge(
                tokio::io::split(theirs),
                stream.io,
                &stream.early,
                &settings,
                &meter,
                iotstream::tunnel::Controls { hangup: std::future::pending(), gone: std::future::pending() },
            );
            let user = async {
                use tokio::io::AsyncWriteExt;
                let (mut read, mut write) = tokio::io::split(ours);
                write.write_all(b"x").await.unwrap();
                write.shutdown().await.unwrap();
                let mut back = Vec::new();
                read.read_to_end(&mut back).await.unwrap();
                assert_eq!(back, b"x");
            };
            tokio::join!(bridge, user);
        };
        self.runtime.block_on(futures_util::future::join_all((0..streams).map(|_| open())));
    }
}
