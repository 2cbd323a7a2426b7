//! The agent as a service of Windows.

use std::fs;
use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use windows_tests::service::Service;

use crate::support::{DEVICE, Host, Hub, LIMIT, Sandbox, echo, exe};

/// How long a state that was reported may take to show.
const SOON: Duration = Duration::from_secs(10);

/// wine mixes up services that start at the same time: it fails with error 6 or 232, or shows a state that none has reported.
static ONE: Mutex<()> = Mutex::new(());

/// A service with its configuration and its log.
struct Agent {
    service: Service,
    hub: Hub,
    sandbox: Sandbox,
    _one: MutexGuard<'static, ()>,
}

impl Agent {
    fn new() -> Self {
        let _one = ONE.lock().unwrap_or_else(PoisonError::into_inner);
        let sandbox = Sandbox::new();
        let hub = Hub::start(Host::Linux, &sandbox, &["--device", DEVICE]);
        let (config, log) = (sandbox.path("agent.toml"), sandbox.path("agent.log"));
        let line =
            format!("\"{}\" agent --config \"{}\" --log-file \"{}\"", exe(), config.display(), log.display());
        Self { service: Service::create(&sandbox.unique_name(), &line).unwrap(), hub, sandbox, _one }
    }

    /// Writes a configuration with this target.
    fn configure(&self, stream: &str) {
        let credential = self.hub.directory.join("devices").join("dev-1.conn");
        let config = format!(
            "connection-string-file = '{}'\nca-file = '{}'\n\
             [[target]]\nstream = '{stream}'\nconnect = '127.0.0.1:{}'\n",
            credential.display(),
            self.hub.ca_file(),
            echo(),
        );
        self.sandbox.write("agent.toml", config);
    }

    #[track_caller]
    fn log_says(&self, text: &str) {
        log_says(&self.sandbox.path("agent.log"), text);
    }

    #[track_caller]
    fn echoes(&self, stream: &str) {
        let helper = self.hub.helper(&self.sandbox, &["--stream", stream, DEVICE]);
        assert_eq!(helper.finish("echoed").succeeded().text(), "echoed");
    }
}

#[track_caller]
fn log_says(log: &Path, text: &str) {
    let deadline = Instant::now() + LIMIT;
    loop {
        let said = fs::read_to_string(log).unwrap_or_default();
        if said.contains(text) {
            return;
        }
        assert!(Instant::now() < deadline, "the log does not say '{text}': {said}");
        thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn the_service_starts_reloads_and_stops() {
    let agent = Agent::new();
    agent.configure("first");
    agent.service.start().unwrap();
    agent.service.runs(LIMIT).unwrap();
    agent.log_says("in service");
    agent.echoes("first");

    agent.configure("second");
    agent.service.reload().unwrap();
    agent.log_says("the configuration has been read again");
    agent.echoes("second");

    agent.service.stop().unwrap();
    assert_eq!(agent.service.stops(LIMIT).unwrap(), 0);
}

#[test]
fn a_service_that_fails_says_why() {
    // On a busy machine, wine shows one such service in ten as running for good, although it has ended.
    for last in [false, false, true] {
        let agent = Agent::new();
        agent.service.start().unwrap();
        agent.log_says("agent.toml");
        match agent.service.stops(SOON) {
            Ok(status) => return assert_eq!(status, 78),
            Err(error) => assert!(!last, "{error}"),
        }
    }
}
