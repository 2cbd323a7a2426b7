//! ssh's two calls, answered from reports in memory.

use std::path::Path;
use std::sync::{Arc, Mutex};

use super::*;
use crate::backend::{Checked, Dialer, Joined, Pending, ReportedStream};
use crate::state::pinned_host_keys::{PinFile, PinnedDevice};
use crate::state::rate::Turn;
use crate::time::phase::Phases;

/// What the hub says.
#[derive(Clone, Debug)]
enum Hub {
    Reports(Reported),
    Away,
    Silent,
}

/// A device whose report may be stored.
#[derive(Debug)]
struct FakeDialer {
    stream: &'static str,
    copy: Option<Reported>,
    hub: Hub,
    /// How often the hub was asked.
    asked: Arc<Mutex<u32>>,
}

impl Dialer for FakeDialer {
    fn describe(&self) -> String {
        unreachable!()
    }

    fn device(&self) -> String {
        unreachable!()
    }

    fn service(&self) -> String {
        "hub".into()
    }

    fn stream(&self) -> &str {
        self.stream
    }

    fn streams_per_second(&self) -> Option<u32> {
        unreachable!()
    }

    fn daily_quota(&self) -> Option<u64> {
        unreachable!()
    }

    fn open<'a>(&'a self, _: Option<Turn<'a>>, _: &'a mut Phases) -> Pending<'a, Result<Joined>> {
        unreachable!()
    }

    fn reported<'a>(&'a self, wanted: Wanted<'a>) -> Pending<'a, Result<Reported>> {
        let is_enough = |copy: &&Reported| {
            let keys = copy.stream(self.stream).map_or(&[][..], |stream| &stream.keys);
            match wanted {
                Wanted::Keys => !keys.is_empty(),
                Wanted::Key(key) => keys.iter().any(|reported| reported.key == *key),
                Wanted::Now => false,
            }
        };
        let copy = self.copy.as_ref().filter(is_enough).cloned();
        Box::pin(async move {
            if let Some(copy) = copy {
                return Ok(copy);
            }
            *self.asked.lock().unwrap() += 1;
            match &self.hub {
                Hub::Reports(reported) => Ok(reported.clone()),
                Hub::Away => Err(Error::network(Phase::TCP, "hub", "connection refused")),
                Hub::Silent => std::future::pending().await,
            }
        })
    }

    fn check(&self) -> Pending<'_, Checked> {
        unreachable!()
    }
}

fn key(number: u8) -> PublicKey {
    PublicKey::of_blob(&[&[0, 0, 0, 11][..], b"ssh-ed25519", &[number]].concat()).unwrap()
}

fn report(streams: &[(&str, &[u8])]) -> Reported {
    let key = |&number: &u8| ReportedKey { key: key(number), since: Some("2026-11-26T10:00:30.1Z".into()) };
    let stream = |(name, keys): &(&str, &[u8])| ReportedStream {
        name: (*name).to_owned(),
        ports: None,
        keys: keys.iter().map(key).collect(),
    };
    Reported {
        device: "gw-07".into(),
        agent: Some("0.2.0".into()),
        streams: streams.iter().map(stream).collect(),
    }
}

/// A user's pins, and what device and hub say at the moment.
struct World {
    pins: tempfile::TempDir,
    policy: HostKeyPolicy,
    stream: &'static str,
    copy: Option<Reported>,
    hub: Hub,
    asked: Arc<Mutex<u32>>,
}

impl World {
    fn new(hub: Hub) -> Self {
        let pins = tempfile::tempdir().unwrap();
        let (policy, asked) = (HostKeyPolicy::Pin, Arc::default());
        Self { pins, policy, stream: "ssh", copy: None, hub, asked }
    }

    fn reporting(keys: &[u8]) -> Self {
        Self::new(Hub::Reports(report(&[("ssh", keys)])))
    }

    fn pin_file(&self) -> PinFile {
        let device = PinnedDevice { service: "hub".into(), device: "gw-07".into(), module: None };
        PinFile::within(self.pins.path().join("host-keys"), device)
    }

    fn device(&self) -> Device {
        let Self { stream, copy, hub, asked, .. } = self;
        Device {
            name: "gw".into(),
            dialer: Arc::new(FakeDialer {
                stream,
                copy: copy.clone(),
                hub: hub.clone(),
                asked: asked.clone(),
            }),
            policy: self.policy,
            pins: self.pin_file(),
            accept: "iotstream host-keys --accept gw".into(),
        }
    }

    /// The keys and the problem of a call.
    fn call(&self, presented: &Presented) -> (Vec<PublicKey>, Option<String>) {
        let answer = self.device().answer(presented, Duration::from_millis(100));
        let problem = answer.problem.map(|problem| match problem {
            Problem::Error(error) => error.to_string(),
            Problem::Sentence(sentence) => sentence,
        });
        (answer.keys, problem)
    }

    /// What ssh is told when the server presents a key.
    fn presents(&self, number: u8) -> (Vec<PublicKey>, Option<String>) {
        self.call(&Presented::Key(key(number)))
    }

    fn pinned(&self) -> Vec<PublicKey> {
        let pins = self.pin_file().read().unwrap().remove(self.stream).unwrap_or_default();
        pins.into_iter().map(|pin| pin.key).collect()
    }

    fn asked(&self) -> u32 {
        *self.asked.lock().unwrap()
    }
}

const CHANGED: &str = "gw reports other host keys since 2026-11-26 10:00 UTC; `iotstream host-keys --accept gw` if it was set up anew";

#[test]
fn the_first_keys_are_pinned_once_the_server_presents_one() {
    let world = World::reporting(&[1, 2]);
    assert_eq!(world.call(&Presented::NothingYet), (vec![key(1), key(2)], None));
    assert_eq!(world.pinned(), []);
    assert_eq!(world.presents(2), (vec![key(1), key(2)], None));
    assert_eq!(world.pinned(), [key(1), key(2)]);
    // A key of another server is not told, and pins nothing.
    let world = World::reporting(&[1]);
    let (keys, problem) = world.presents(9);
    assert_eq!((keys, world.pinned()), (vec![key(1)], vec![]));
    let problem = problem.unwrap();
    assert!(
        problem.starts_with("the server that answers as gw has the host key ssh-ed25519 SHA256:"),
        "{problem}"
    );
    // Without the key of the server, the first call pins.
    assert_eq!(world.call(&Presented::Unknown), (vec![key(1)], None));
    assert_eq!(world.pinned(), [key(1)]);
}

#[test]
fn a_stored_report_from_before_a_rotation_pins_nothing_old() {
    let world = World { copy: Some(report(&[("ssh", &[1])])), ..World::reporting(&[2]) };
    assert_eq!(world.call(&Presented::NothingYet), (vec![key(1)], None));
    assert_eq!(world.asked(), 0);
    assert_eq!(world.presents(2), (vec![key(2)], None));
    assert_eq!((world.asked(), world.pinned()), (1, vec![key(2)]));
}

#[test]
fn pinned_keys_that_are_still_reported_are_trusted_and_no_others() {
    let mut world = World::reporting(&[1, 2]);
    world.presents(1);
    // One is added, one removed.
    world.hub = Hub::Reports(report(&[("ssh", &[2, 3])]));
    assert_eq!(world.presents(2), (vec![key(2)], None));
    let (keys, problem) = world.presents(3);
    assert_eq!(keys, [key(2)]);
    let problem = problem.unwrap();
    assert!(problem.starts_with("gw reports the host key ssh-ed25519 SHA256:"), "{problem}");
    assert!(problem.ends_with(" since 2026-11-26 10:00 UTC, which is not pinned; `iotstream host-keys --accept gw` if it was set up anew"));
    world.hub = Hub::Reports(report(&[("ssh", &[3, 4])]));
    for presented in
        [Presented::NothingYet, Presented::Unknown, Presented::Key(key(3)), Presented::Key(key(1))]
    {
        assert_eq!(world.call(&presented), (vec![], Some(CHANGED.into())));
    }
    world.hub = Hub::Reports(report(&[("ssh", &[])]));
    let (keys, problem) = world.presents(1);
    assert!(
        keys.is_empty()
            && problem.unwrap().starts_with("gw no longer reports host keys for the stream 'ssh'")
    );
    assert_eq!(world.pinned(), [key(1), key(2)]);
}

#[test]
fn follow_trusts_whatever_is_reported_and_pins_nothing() {
    let mut world = World { policy: HostKeyPolicy::Follow, ..World::reporting(&[1]) };
    assert_eq!(world.presents(1), (vec![key(1)], None));
    world.hub = Hub::Reports(report(&[("ssh", &[2])]));
    assert_eq!(world.presents(2), (vec![key(2)], None));
    assert_eq!(world.pinned(), []);
}

#[test]
fn keys_of_one_stream_are_not_told_for_another() {
    let world = World { stream: "tcp-2222", ..World::reporting(&[1]) };
    assert_eq!(
        world.presents(1),
        (vec![], Some("gw-07 reports no host keys for the stream 'tcp-2222'".into()))
    );
    let no_agent = Reported { agent: None, streams: vec![], ..report(&[]) };
    let world = World { hub: Hub::Reports(no_agent), ..world };
    assert_eq!(world.presents(1), (vec![], Some("gw-07 reports no host keys".into())));
}

#[test]
fn without_an_answer_of_the_hub_the_pinned_keys_are_told() {
    for hub in [Hub::Away, Hub::Silent] {
        let mut world = World::new(hub.clone());
        let (keys, problem) = world.presents(1);
        assert!(keys.is_empty() && problem.is_some(), "{problem:?}");
        assert_eq!(world.pinned(), []);
        world.hub = Hub::Reports(report(&[("ssh", &[1])]));
        world.presents(1);
        world.hub = hub;
        assert_eq!(world.presents(1), (vec![key(1)], None));
        // A stored report that lacks the key.
        world.copy = Some(report(&[("ssh", &[2])]));
        assert_eq!(world.presents(1), (vec![], Some(CHANGED.into())));
    }
}

#[test]
fn an_old_report_does_not_say_what_is_reported_now() {
    for hub in [Hub::Away, Hub::Silent] {
        let copy = Some(report(&[("ssh", &[1])]));
        let world = World { policy: HostKeyPolicy::Follow, copy, ..World::new(hub) };
        let (keys, problem) = world.presents(2);
        assert_eq!(keys, [key(1)]);
        assert!(problem.unwrap().contains("whether gw reports it is not known: "));
    }
}

#[test]
fn a_pin_file_that_cannot_be_used_is_no_first_use() {
    let world = World::reporting(&[1]);
    world.presents(1);
    let path = world.pin_file().path().to_owned();
    std::fs::write(&path, "{}").unwrap();
    for presented in [Presented::NothingYet, Presented::Key(key(1))] {
        let (keys, problem) = world.call(&presented);
        assert_eq!((keys, problem.unwrap()), (vec![], format!("{}: it is damaged", path.display())));
    }
    // One that cannot be written costs the pin, not the connection.
    let world = World::reporting(&[1]);
    std::fs::write(world.pins.path().join("host-keys"), "a file").unwrap();
    let (keys, problem) = world.presents(1);
    assert!(keys.is_empty(), "what is there is not a directory, and cannot be read: {problem:?}");
}

#[test]
fn a_key_that_cannot_be_pinned_is_told_with_a_warning() {
    use std::os::unix::fs::PermissionsExt;
    let world = World::reporting(&[1]);
    let directory = world.pins.path().join("host-keys");
    std::fs::create_dir(&directory).unwrap();
    std::fs::set_permissions(&directory, std::fs::Permissions::from_mode(0o777)).unwrap();
    let (keys, problem) = world.presents(1);
    let problem = problem.unwrap();
    assert_eq!(keys, [key(1)]);
    assert!(
        problem.starts_with("the host keys cannot be pinned in ")
            && problem.contains("is writable by other users"),
        "{problem}"
    );
}

#[test]
fn first_uses_at_the_same_time_tell_the_same_keys() {
    let world = World::reporting(&[1, 2]);
    let path: &Path = world.pins.path();
    let answers: Vec<_> = thread::scope(|scope| {
        let calls: Vec<_> = (0..16).map(|_| scope.spawn(|| world.presents(1))).collect();
        calls.into_iter().map(|call| call.join().unwrap()).collect()
    });
    assert!(answers.iter().all(|answer| *answer == (vec![key(1), key(2)], None)), "{answers:?}");
    assert_eq!(std::fs::read_dir(path.join("host-keys")).unwrap().count(), 1);
}

#[test]
fn what_the_server_presents_is_read() {
    let words =
        |words: &[&str]| Presented::of(&words.iter().map(|&word| word.to_owned()).collect::<Vec<_>>());
    assert_eq!(words(&["NONE", "NONE"]), Presented::NothingYet);
    let shown = key(1).to_string();
    let (key_type, encoded) = shown.split_once(' ').unwrap();
    assert_eq!(words(&[key_type, encoded]), Presented::Key(key(1)));
    for unknown in [
        &[][..],
        &[key_type, "NONE"],
        &["", ""],
        &["ssh-rsa", encoded],
        &["ssh-ed25519-cert-v01@openssh.com", "AAAA"],
    ] {
        assert_eq!(words(unknown), Presented::Unknown, "{unknown:?}");
    }
}
