//! The helper dials the gateway of the last connection while it waits for the hub's answer.

use std::fs;
use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::Ordering::SeqCst;
use std::sync::atomic::{AtomicBool, AtomicUsize};
use std::thread;
use std::time::{Duration, Instant};

use crate::support::*;

const LIMIT: Duration = Duration::from_secs(20);

/// Runs an echo through `helper`, and returns its log.
fn echoed(mut helper: Command) -> String {
    let done = run(helper.args(["-v", "--stream", "echo", DEVICE]), Stdin::Ends(b"there and back"), LIMIT)
        .succeeded();
    assert_eq!(done.text(), "there and back");
    done.stderr
}

/// The file with the cached gateway of the one hub.
fn memory(sandbox: &Sandbox) -> PathBuf {
    let state = sandbox.path(".local/state/iotstream");
    let mut files = fs::read_dir(&state).unwrap().map(|entry| entry.unwrap().path());
    files.find(|path| path.file_name().unwrap().to_string_lossy().starts_with("gateway-")).unwrap()
}

/// The phases of a connection, in the order in which they end.
fn phases(log: &str) -> Vec<&str> {
    let known = ["dns", "tcp", "tls", "device", "gateway"];
    log.lines()
        .filter(|line| line.ends_with(" ms"))
        .filter_map(|line| known.into_iter().find(|phase| line.contains(&format!(" {phase} localhost:"))))
        .collect()
}

#[test]
fn the_cached_gateway_is_dialled_while_the_hub_asks_the_device() {
    let sandbox = Sandbox::new();
    let hub = Hub::start(&sandbox, &["--device", DEVICE, "--inject", "latency=300ms"]);
    let echo = serve(|stream| drop(std::io::copy(&mut &stream, &mut &stream)));
    let _agent = agent(&sandbox, &hub, DEVICE, &[("echo", echo)]);
    let first = echoed(hub.helper(&sandbox));
    assert_eq!(phases(&first), ["dns", "tcp", "tls", "device", "dns", "tcp", "tls", "gateway"], "{first}");
    assert_eq!(fs::read_to_string(memory(&sandbox)).unwrap(), format!("localhost:{}\n", hub.port()));
    let second = echoed(hub.helper(&sandbox));
    let order = phases(&second);
    assert_eq!(order[order.len() - 2..], ["device", "gateway"], "{second}");
    assert_eq!(order.iter().filter(|phase| **phase == "tls").count(), 2, "{second}");
}

#[test]
fn a_wrong_cache_entry_costs_no_time_and_is_corrected() {
    let (_agent, hub, sandbox) = echo_device("echo");
    echoed(hub.helper(&sandbox));
    let silent = serve(|mut stream| drop(stream.read_to_end(&mut Vec::new())));
    let right = fs::read_to_string(memory(&sandbox)).unwrap();
    let wrong = [
        format!("localhost:{}\n", closed_port()),
        format!("localhost:{silent}\n"),
        "no.such.name.invalid:443\n".into(),
        "\0 what is this".into(),
        String::new(),
    ];
    for guess in wrong {
        fs::write(memory(&sandbox), &guess).unwrap();
        let since = Instant::now();
        let log = echoed(hub.helper(&sandbox));
        assert!(since.elapsed() < Duration::from_secs(5), "{guess:?} {log}");
        eventually(LIMIT, || match fs::read_to_string(memory(&sandbox)).unwrap() {
            text if text == right => Ok(()),
            text => Err(text),
        });
    }
}

/// A relay to `port` that, once it is `impatient`, ends the connections of the second and the fourth request without an
/// answer, as a gateway does with an idle connection.
fn relay(port: u16, impatient: Arc<AtomicBool>) -> u16 {
    let requests = Arc::new(AtomicUsize::new(0));
    serve(move |near| {
        let far = TcpStream::connect(("127.0.0.1", port)).unwrap();
        let (mut back, mut from) = (near.try_clone().unwrap(), far.try_clone().unwrap());
        thread::spawn(move || {
            let _ = std::io::copy(&mut from, &mut back);
            let _ = back.shutdown(Shutdown::Write);
        });
        let _ = records(near, far, &requests, &impatient);
    })
}

/// Relays TLS records. Of those with application data, the first is the end of the handshake, and the second is the
/// request.
fn records(
    mut near: TcpStream,
    mut far: TcpStream,
    requests: &AtomicUsize,
    impatient: &AtomicBool,
) -> std::io::Result<()> {
    let mut seen = 0;
    loop {
        let mut header = [0; 5];
        if near.read_exact(&mut header).is_err() {
            return far.shutdown(Shutdown::Write);
        }
        let mut record = vec![0; usize::from(u16::from_be_bytes([header[3], header[4]]))];
        near.read_exact(&mut record)?;
        if header[0] == 23 {
            seen += 1;
            if seen == 2 && impatient.load(SeqCst) && requests.fetch_add(1, SeqCst) % 2 == 1 {
                near.shutdown(Shutdown::Both)?;
                return far.shutdown(Shutdown::Both);
            }
        }
        far.write_all(&header)?;
        far.write_all(&record)?;
    }
}

#[test]
fn a_gateway_that_closes_an_idle_connection_is_dialled_again() {
    let (_agent, hub, sandbox) = echo_device("echo");
    let impatient = Arc::new(AtomicBool::new(false));
    let port = relay(hub.port().parse().unwrap(), impatient.clone());
    let here =
        |text: String| text.replace(&format!("localhost:{}", hub.port()), &format!("localhost:{port}"));
    let profiles = here(fs::read_to_string(hub.dir.join("profiles.toml")).unwrap());
    let ca = hub.dir.join("ca.pem");
    let config = sandbox.write("relayed.toml", profiles);
    let helper = || {
        let mut helper = sandbox.iotstream();
        helper.arg("--config").arg(&config).arg("--ca-file").arg(&ca);
        helper
    };
    // What the agent reports is read over a connection of its own, and then not for a while.
    let reports = sandbox.path(".local/state/iotstream/reports");
    eventually(LIMIT, || {
        echoed(helper());
        let mut kept = fs::read_dir(&reports).into_iter().flatten().map(|entry| entry.unwrap().path());
        kept.find(|path| path.extension().is_some_and(|found| found == "json")).ok_or("no copy".into())
    });
    fs::remove_file(memory(&sandbox)).unwrap();
    impatient.store(true, SeqCst);
    // Without a cached gateway, the second connection is the one to the gateway, and its end is an error.
    let first = run(helper().args(["--stream", "echo", DEVICE]), Stdin::Ends(b"x"), LIMIT);
    assert_eq!(first.status.code(), Some(75), "{}", first.stderr);
    let state = sandbox.path(".local/state/iotstream");
    fs::create_dir_all(&state).unwrap();
    let name = format!("gateway-localhost%3A{port}");
    fs::write(state.join(name), format!("localhost:{port}\n")).unwrap();
    let log = echoed(helper());
    assert!(log.contains("dialling again"), "{log}");
}
