//! The helper reads what the device's agent has reported while the hub waits for the device, and keeps a copy.

use std::fs;
use std::io;
use std::net::{Shutdown, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering::SeqCst;
use std::sync::{Arc, Mutex, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::support::sas::unix_seconds;
use crate::support::{
    DEVICE, Finished, HOST_KEY, Hub, LIMIT, Process, Sandbox, Stdin, agent, echo_device, eventually, mode,
    report, run, serve, set_mode,
};

/// The copies of reports of one kind: `json`, or `try` for the file beside each.
fn files(sandbox: &Sandbox, extension: &str) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(sandbox.path(".local/state/iotstream/reports")) else { return Vec::new() };
    let mut paths: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
    paths.retain(|path| path.extension().is_some_and(|found| found == extension));
    paths
}

/// The one copy.
#[track_caller]
fn copy(sandbox: &Sandbox) -> Value {
    let [copy] = &files(sandbox, "json")[..] else { panic!("not one copy") };
    serde_json::from_str(&fs::read_to_string(copy).unwrap()).unwrap()
}

/// Makes the one copy `seconds` older.
fn age(sandbox: &Sandbox, seconds: u64) {
    let mut aged = copy(sandbox);
    aged["fetched"] = (aged["fetched"].as_u64().unwrap() - seconds).into();
    fs::write(&files(sandbox, "json")[0], aged.to_string()).unwrap();
}

/// Opens a stream to a device without an agent, for which the hub waits for a second.
fn ask_in_vain(sandbox: &Sandbox, hub: &Hub) -> Finished {
    let mut helper = hub.helper(sandbox);
    helper.args(["-vv", "--connect-timeout", "1s", DEVICE]);
    let done = run(&mut helper, Stdin::Ends(b"x"), LIMIT);
    assert_eq!(done.status.code(), Some(69), "{}", done.stderr);
    assert!(done.stderr.contains("is not connected"), "{}", done.stderr);
    done
}

/// Sends a few bytes to an echo stream and back, with the default log.
fn echoed(sandbox: &Sandbox, hub: &Hub) {
    let done = run(hub.helper(sandbox).args(["--stream", "echo", DEVICE]), Stdin::Ends(b"there"), LIMIT);
    let done = done.succeeded();
    assert_eq!((done.text(), done.stderr.as_str()), ("there", ""));
}

/// What `host-keys` prints when ssh presents `key`, or has none yet.
fn host_keys(sandbox: &Sandbox, config: &Path, key: Option<&str>) -> Finished {
    let key = key.unwrap_or("NONE NONE").split(' ');
    let mut command = sandbox.iotstream();
    command.args(["host-keys", "--config"]).arg(config).arg("--presented").args(key);
    let done = run(command.args(["--", DEVICE, DEVICE, "22"]), Stdin::Ends(b""), LIMIT);
    assert_eq!(done.status.code(), Some(0), "{}", done.stderr);
    done
}

fn ssh_with(key: &str) -> Value {
    json!({ "iotstream": { "agent": "0.2.0", "streams": { "s0": { "name": "ssh", "keys": { "k0": key } } } } })
}

#[test]
fn a_copy_is_kept_while_the_hub_waits_for_the_device() {
    let sandbox = Sandbox::new();
    let hub = Hub::start(&sandbox, &["--device", DEVICE]);
    report(&hub, DEVICE, &ssh_with(HOST_KEY));
    let others = json!({ "wifi": { "password": "hunter2" }, "iotstream": { "streams": {
        "s0": { "keys": { "k1": format!("@revoked {HOST_KEY}"), "k2": format!("ssh-rsa\nx") } },
        "s1": { "name": "a\u{1b}b", "keys": [HOST_KEY] },
    } } });
    report(&hub, DEVICE, &others);
    let before = unix_seconds();
    let done = ask_in_vain(&sandbox, &hub);
    let kept = copy(&sandbox);
    assert!((before..=unix_seconds()).contains(&kept["fetched"].as_u64().unwrap()), "{kept}");
    let streams = &kept["report"]["streams"];
    assert_eq!((&kept["report"]["device"], &kept["report"]["agent"]), (&json!(DEVICE), &json!("0.2.0")));
    assert_eq!(streams.as_array().unwrap().len(), 1, "{kept}");
    assert_eq!((&streams[0]["name"], &streams[0]["keys"][0]["key"]), (&json!("ssh"), &json!(HOST_KEY)));
    assert!(streams[0]["keys"][0]["since"].as_str().unwrap().ends_with('Z'), "{kept}");
    assert_eq!(streams[0]["keys"].as_array().unwrap().len(), 1, "{kept}");
    let (path, text) = (&files(&sandbox, "json")[0], kept.to_string());
    assert_eq!((mode(path), mode(path.parent().unwrap())), (0o600, 0o700));
    assert!(!text.contains("hunter2") && !done.stderr.contains("hunter2"));
    for key in hub.keys() {
        assert!(!text.contains(&key) && !done.stderr.contains(&key));
    }
    assert!(!text.contains("SharedAccess"), "{text}");
}

#[test]
fn a_copy_is_renewed_when_it_is_old_enough() {
    let sandbox = Sandbox::new();
    let hub = Hub::start(&sandbox, &["--device", DEVICE]);
    let version = || copy(&sandbox)["report"]["agent"].clone();
    let reports = |version: &str| report(&hub, DEVICE, &json!({ "iotstream": { "agent": version } }));
    // Without host keys, after ten minutes.
    reports("0.2.0");
    ask_in_vain(&sandbox, &hub);
    reports("0.2.1");
    age(&sandbox, 500);
    ask_in_vain(&sandbox, &hub);
    assert_eq!(version(), "0.2.0");
    age(&sandbox, 101);
    ask_in_vain(&sandbox, &hub);
    assert_eq!(version(), "0.2.1");
    // With host keys, after a minute.
    report(&hub, DEVICE, &ssh_with(HOST_KEY));
    age(&sandbox, 601);
    ask_in_vain(&sandbox, &hub);
    reports("0.2.2");
    ask_in_vain(&sandbox, &hub);
    assert_eq!(version(), "0.2.0");
    age(&sandbox, 61);
    ask_in_vain(&sandbox, &hub);
    assert_eq!(version(), "0.2.2");
    // A copy that cannot be read, or that others could have changed.
    let path = &files(&sandbox, "json")[0];
    fs::write(path, "{\"fetched\":").unwrap();
    ask_in_vain(&sandbox, &hub);
    assert_eq!(version(), "0.2.2");
    reports("0.2.3");
    set_mode(path, 0o666);
    ask_in_vain(&sandbox, &hub);
    assert_eq!((version(), mode(path)), (json!("0.2.3"), 0o600));
}

#[test]
fn a_twin_that_cannot_be_read_costs_a_stream_nothing_and_is_not_asked_for_again_soon() {
    for fault in ["twin=429@1", "twin=500@1", "twin=drop@1", "twin=refused@1"] {
        let sandbox = Sandbox::new();
        let hub = Hub::start(&sandbox, &["--device", DEVICE, "--inject", fault]);
        for _ in 0..2 {
            ask_in_vain(&sandbox, &hub);
            assert_eq!(files(&sandbox, "json").len(), 0, "{fault}");
            let [tried] = &files(&sandbox, "try")[..] else { panic!("{fault}: not one try") };
            let tried = fs::read_to_string(tried).unwrap();
            let (time, problem) = tried.split_once('\n').unwrap();
            assert!(time.parse::<u64>().is_ok() && problem.contains("localhost"), "{fault}: {tried}");
        }
        // Ten minutes later.
        let tried = &files(&sandbox, "try")[0];
        fs::write(tried, format!("{:013}\n", (unix_seconds() - 601) * 1000)).unwrap();
        ask_in_vain(&sandbox, &hub);
        assert_eq!(files(&sandbox, "json").len(), 1, "{fault}");
        assert_eq!(fs::read_to_string(tried).unwrap(), "", "{fault}");
    }
}

#[test]
fn a_hub_that_does_not_answer_delays_neither_the_stream_nor_its_end() {
    let sandbox = Sandbox::new();
    let hub = Hub::start(&sandbox, &["--device", DEVICE, "--inject", "twin=silent"]);
    let echo = serve(|stream| drop(io::copy(&mut &stream, &mut &stream)));
    let _agent = agent(&sandbox, &hub, DEVICE, &[("echo", echo)]);
    let begin = Instant::now();
    for _ in 0..3 {
        echoed(&sandbox, &hub);
    }
    assert!(begin.elapsed() < Duration::from_secs(10), "{:?}", begin.elapsed());
    assert_eq!(files(&sandbox, "json").len(), 0);
}

#[test]
fn helpers_at_the_same_time_ask_once() {
    let sandbox = Sandbox::new();
    // A second request would be answered.
    let hub = Hub::start(&sandbox, &["--device", DEVICE, "--inject", "twin=silent@1"]);
    let mut first = Process::start("first", hub.helper(&sandbox).args(["--connect-timeout", "60s", DEVICE]));
    eventually(LIMIT, || files(&sandbox, "try").pop().ok_or("no try".into()));
    thread::scope(|scope| {
        for _ in 0..6 {
            scope.spawn(|| ask_in_vain(&sandbox, &hub));
        }
    });
    assert_eq!(files(&sandbox, "json").len(), 0);
    // A process that has ended is not waited for.
    first.kill();
    ask_in_vain(&sandbox, &hub);
    assert_eq!(files(&sandbox, "json").len(), 1);
}

/// A relay to a hub that holds its second connection until it is told to go on.
struct Relay {
    config: PathBuf,
    release: mpsc::Sender<()>,
    /// Its connections up to now.
    count: Arc<AtomicUsize>,
}

impl Relay {
    fn start(sandbox: &Sandbox, hub: &Hub) -> Self {
        let port = hub.port().parse().unwrap();
        let (release, released) = mpsc::channel();
        let count = Arc::new(AtomicUsize::new(0));
        let port = relay(port, count.clone(), released);
        let profiles = fs::read_to_string(hub.dir.join("profiles.toml")).unwrap();
        let profiles = profiles.replace(&format!("localhost:{}", hub.port()), &format!("localhost:{port}"));
        Self { config: sandbox.write("relayed.toml", profiles), release, count }
    }

    fn helper(&self, sandbox: &Sandbox, args: &[&str]) -> Process {
        let mut helper = sandbox.iotstream();
        Process::start("helper", helper.arg("--config").arg(&self.config).args(args).arg(DEVICE))
    }
}

fn relay(port: u16, count: Arc<AtomicUsize>, released: mpsc::Receiver<()>) -> u16 {
    let shared = Arc::new((count, Mutex::new(released)));
    serve(move |near| {
        if shared.0.fetch_add(1, SeqCst) == 1 {
            let _ = shared.1.lock().unwrap().recv();
        }
        let far = TcpStream::connect(("127.0.0.1", port)).unwrap();
        let (back, from) = (near.try_clone().unwrap(), far.try_clone().unwrap());
        let returning = thread::spawn(move || {
            let _ = io::copy(&mut &from, &mut &back);
            let _ = back.shutdown(Shutdown::Write);
        });
        let _ = io::copy(&mut &near, &mut &far);
        let _ = far.shutdown(Shutdown::Write);
        let _ = returning.join();
    })
}

#[test]
fn an_open_stream_does_not_end_the_reading() {
    let sandbox = Sandbox::new();
    // The request for the stream is answered after the second connection has begun.
    let hub = Hub::start(&sandbox, &["--device", DEVICE, "--inject", "latency=300ms"]);
    let echo = serve(|stream| drop(io::copy(&mut &stream, &mut &stream)));
    let _agent = agent(&sandbox, &hub, DEVICE, &[("echo", echo)]);
    let relay = Relay::start(&sandbox, &hub);
    let mut helper = relay.helper(&sandbox, &["--stream", "echo"]);
    helper.say("here\n");
    helper.says("here", 1, LIMIT);
    assert_eq!(files(&sandbox, "json").len(), 0);
    relay.release.send(()).unwrap();
    eventually(LIMIT, || files(&sandbox, "json").pop().ok_or("no copy".into()));
    helper.close_stdin();
    assert!(helper.ends(LIMIT).success(), "{}", helper.stderr());
}

#[test]
fn a_module_and_a_device_have_copies_of_their_own() {
    let sandbox = Sandbox::new();
    let hub = Hub::start(&sandbox, &["--device", DEVICE, "gw-07/iotstream"]);
    report(&hub, "gw-07/iotstream", &ssh_with(HOST_KEY));
    let profiles = hub.dir.join("profiles.toml");
    let text = fs::read_to_string(&profiles).unwrap();
    fs::write(&profiles, text.replace("hosts = [", "module = \"iotstream\"\nhosts = [")).unwrap();
    let ask = |device: &str| {
        let mut helper = hub.helper(&sandbox);
        let done = run(helper.args(["--connect-timeout", "1s", device]), Stdin::Ends(b"x"), LIMIT);
        assert_eq!(done.status.code(), Some(69), "{}", done.stderr);
    };
    ask("gw-07");
    assert_eq!(copy(&sandbox)["report"]["device"], "gw-07/iotstream");
    // There is no such module, and the device itself is asked.
    ask(DEVICE);
    let copies = files(&sandbox, "json");
    let texts: Vec<String> = copies.iter().map(|path| fs::read_to_string(path).unwrap()).collect();
    assert_eq!(texts.len(), 2, "{texts:?}");
    assert!(texts.iter().any(|text| text.contains(r#""device":"dev-1""#)), "{texts:?}");
}

#[test]
fn an_unusable_directory_costs_no_stream() {
    let (_agent, hub, sandbox) = echo_device("echo");
    let state = sandbox.path(".local/state/iotstream");
    let reports = state.join("reports");
    fs::create_dir_all(&state).unwrap();
    set_mode(&state, 0o700);
    fs::write(&reports, "a file").unwrap();
    echoed(&sandbox, &hub);
    fs::remove_file(&reports).unwrap();
    fs::create_dir(&reports).unwrap();
    set_mode(&reports, 0o777);
    echoed(&sandbox, &hub);
    assert_eq!(files(&sandbox, "json").len(), 0);
}

#[test]
fn host_keys_waits_for_the_helper_that_asks() {
    let sandbox = Sandbox::new();
    let hub = Hub::start(&sandbox, &["--device", DEVICE]);
    report(&hub, DEVICE, &ssh_with(HOST_KEY));
    let relay = Relay::start(&sandbox, &hub);
    let _helper = relay.helper(&sandbox, &["--connect-timeout", "60s"]);
    eventually(LIMIT, || if relay.count.load(SeqCst) == 2 { Ok(()) } else { Err("no second".into()) });
    let printed = thread::scope(|scope| {
        let asking = scope.spawn(|| host_keys(&sandbox, &relay.config, None));
        // It notes when it began to wait.
        eventually(LIMIT, || match &files(&sandbox, "try")[..] {
            [tried] if fs::metadata(tried).unwrap().len() > 0 => Ok(()),
            tries => Err(format!("{tries:?}")),
        });
        relay.release.send(()).unwrap();
        asking.join().unwrap()
    });
    assert_eq!(printed.text(), format!("{DEVICE} {HOST_KEY}\n"), "{}", printed.stderr);
    assert_eq!(relay.count.load(SeqCst), 2, "it has not asked itself");
}

#[test]
fn the_second_call_knows_why_the_first_was_refused() {
    let sandbox = Sandbox::new();
    // The second request would be answered.
    let hub = Hub::start(&sandbox, &["--device", DEVICE, "--inject", "twin=403@1"]);
    let config = hub.dir.join("profiles.toml");
    let calls = [None, Some(HOST_KEY)].map(|key| host_keys(&sandbox, &config, key));
    assert_eq!((calls[0].text(), &*calls[0].stderr, calls[1].text()), ("", "", ""));
    let told = &calls[1].stderr;
    assert!(told.contains("does not tell what device dev-1 reports: 403"), "{told}");
}

#[test]
fn a_key_that_the_copy_lacks_is_asked_for() {
    const OTHER: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAABAgMEBQYHCAkKCwwNDg8QERITFBUWFxgZGhscHR4f";
    let sandbox = Sandbox::new();
    let hub = Hub::start(&sandbox, &["--device", DEVICE]);
    let config = hub.dir.join("profiles.toml");
    let text = fs::read_to_string(&config).unwrap();
    fs::write(&config, text.replace("hosts = [", "host-keys = \"follow\"\nhosts = [")).unwrap();
    report(&hub, DEVICE, &ssh_with(HOST_KEY));
    assert_eq!(host_keys(&sandbox, &config, None).text(), format!("{DEVICE} {HOST_KEY}\n"));
    report(&hub, DEVICE, &ssh_with(OTHER));
    let second = host_keys(&sandbox, &config, Some(OTHER));
    assert_eq!(second.text(), format!("{DEVICE} {OTHER}\n"), "{}", second.stderr);
}

#[test]
fn both_calls_find_a_device_without_the_default_module() {
    let sandbox = Sandbox::new();
    let hub = Hub::start(&sandbox, &["--device", DEVICE]);
    let config = hub.dir.join("profiles.toml");
    let text = fs::read_to_string(&config).unwrap();
    fs::write(&config, text.replace("hosts = [", "module = \"iotstream\"\nhosts = [")).unwrap();
    report(&hub, DEVICE, &ssh_with(HOST_KEY));
    for key in [None, Some(HOST_KEY)] {
        let done = host_keys(&sandbox, &config, key);
        assert_eq!(done.text(), format!("{DEVICE} {HOST_KEY}\n"), "{}", done.stderr);
    }
}
