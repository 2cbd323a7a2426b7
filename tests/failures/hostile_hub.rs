//! Hubs that send without end: memory stays bounded, and the program stays responsive.

use std::io::{ErrorKind, Read, Write};
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use rustix::process::Signal;

use crate::support::{
    Finished, INTERRUPT, LIMIT, Process, Sandbox, Stdin, Terminal, TlsStream, eventually, http_answer,
    http_request, in_service, peak_rss_kib, resident_kib, run, serve_tls,
};

const KEY: &str = "c2VjcmV0";

/// The type and the body of the next MQTT packet.
fn packet(stream: &mut impl Read) -> std::io::Result<(u8, Vec<u8>)> {
    let mut byte = [0];
    stream.read_exact(&mut byte)?;
    let kind = byte[0];
    let (mut length, mut shift) = (0, 0);
    loop {
        stream.read_exact(&mut byte)?;
        length |= usize::from(byte[0] & 0x7f) << shift;
        shift += 7;
        if byte[0] & 0x80 == 0 {
            break;
        }
    }
    let mut body = vec![0; length];
    stream.read_exact(&mut body)?;
    Ok((kind, body))
}

fn offer(stream: &str, number: usize) -> Vec<u8> {
    let url = "wss%3A%2F%2Flocalhost%3A1%2Fx";
    let topic = format!("$iothub/streams/POST/{stream}/?$rid={number}&$url={url}&$auth=t");
    let length = topic.len() + 2;
    let mut packet =
        vec![0x30, u8::try_from(length % 128).unwrap() | 0x80, u8::try_from(length / 128).unwrap()];
    packet.extend(u16::try_from(topic.len()).unwrap().to_be_bytes());
    packet.extend(topic.as_bytes());
    packet
}

/// Accepts a device's login and sends it offers until it disconnects; reads its answers if `reads` is set.
fn flood(mut stream: TlsStream, reads: bool, sent: &AtomicUsize) -> std::io::Result<()> {
    packet(&mut stream)?;
    stream.write_all(&[0x20, 2, 0, 0])?;
    let (_, subscribe) = packet(&mut stream)?;
    stream.write_all(&[0x90, 4, subscribe[0], subscribe[1], 0, 0])?;
    stream.sock.set_read_timeout(Some(Duration::from_millis(1)))?;
    for turn in 0.. {
        let several: Vec<u8> = (turn * 100..(turn + 1) * 100)
            .flat_map(|number| offer(["asked", "unknown"][number % 2], number))
            .collect();
        stream.write_all(&several)?;
        stream.flush()?;
        sent.fetch_add(100, Relaxed);
        if !reads {
            continue;
        }
        loop {
            match stream.read(&mut [0; 65536]) {
                Ok(0) => return Ok(()),
                Ok(_) => {}
                Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => break,
                Err(error) => return Err(error),
            }
        }
    }
    Ok(())
}

/// An agent at a hub that floods it, and the count of offers sent.
fn flooded(sandbox: &Sandbox, reads: bool) -> (Process, Arc<AtomicUsize>) {
    let sent = Arc::new(AtomicUsize::new(0));
    let counted = sent.clone();
    let (port, ca_file) = serve_tls(sandbox, move |stream| {
        // The agent ends the connection, which fails a read or write.
        let _ = flood(stream, reads, &counted);
    });
    let config = format!(
        "connection-string = \"HostName=localhost;DeviceId=dev-1;SharedAccessKey={KEY}\"\n\
         transport = \"mqtt\"\nmqtt-port = {port}\nca-file = {ca_file:?}\nmax-sessions = 4\n\
         approve-timeout = \"1h\"\n\
         [[target]]\nstream = \"asked\"\nbuiltin = \"echo\"\napprove = {{ command = [\"sleep\", \"600\"] }}\n"
    );
    let mut command = sandbox.iotstream();
    command.args(["agent", "-v", "--config"]).arg(sandbox.write("agent.toml", config));
    (in_service(&mut command), sent)
}

/// Signals are handled, whatever the hub does.
fn obeys(agent: &mut Process) {
    const AT_ONCE: Duration = Duration::from_secs(10);
    agent.signal(Signal::HUP);
    agent.says("the configuration has been read again", 1, AT_ONCE);
    agent.signal(Signal::TERM);
    assert_eq!(agent.ends(AT_ONCE).code(), Some(0));
}

#[test]
fn a_flood_of_offers_does_not_grow_memory() {
    let sandbox = Sandbox::new();
    let (mut agent, sent) = flooded(&sandbox, true);
    let enough = |count: usize| {
        eventually(LIMIT, || {
            let sent = sent.load(Relaxed);
            if sent >= count { Ok(()) } else { Err(format!("{sent} of {count} offers")) }
        });
    };
    enough(5_000);
    let before = resident_kib(agent.pid());
    enough(60_000);
    let peak = peak_rss_kib(agent.pid());
    assert!(peak < before + 2 * 1024, "{before} KiB after 5,000 offers, {peak} KiB after 60,000");
    agent.says("there are 4 streams already", 1, LIMIT);
    obeys(&mut agent);
}

#[test]
fn a_hub_that_does_not_read_does_not_block_signals() {
    let sandbox = Sandbox::new();
    let (mut agent, sent) = flooded(&sandbox, false);
    // Once the agent takes no more offers, its answers are stuck.
    eventually(LIMIT, || {
        let before = sent.load(Relaxed);
        std::thread::sleep(Duration::from_millis(500));
        let now = sent.load(Relaxed);
        if now == before && now > 0 { Ok(()) } else { Err(format!("{now} offers are taken, and more")) }
    });
    assert!(peak_rss_kib(agent.pid()) < 100 * 1024);
    obeys(&mut agent);
}

/// `iotstream devices` at a hub on `port`.
fn devices(sandbox: &Sandbox, port: u16, ca_file: &Path) -> Command {
    let profiles = format!(
        "default = \"h\"\n[profile.h]\nca-file = {ca_file:?}\n\
         connection-string = \"HostName=localhost:{port};SharedAccessKeyName=service;SharedAccessKey={KEY}\"\n"
    );
    let mut command = sandbox.iotstream();
    command.args(["devices", "--config"]).arg(sandbox.write("profiles.toml", profiles));
    command
}

/// The same at a hub that serves pages of `per_page` devices without end.
fn endless(per_page: usize) -> Finished {
    let sandbox = Sandbox::new();
    let count = Arc::new(AtomicUsize::new(0));
    let (port, ca_file) = serve_tls(&sandbox, move |mut stream| {
        if http_request(&mut stream).is_none() {
            return;
        }
        let page = count.fetch_add(1, Relaxed);
        let long = "9".repeat(10_000);
        let devices: Vec<String> = (0..per_page)
            .map(|number| {
                // One of them is not a valid time.
                let time = if number == 0 { &long } else { "2026-11-23T03:00:00Z" };
                format!("{{\"deviceId\":\"d-{page}-{number}\",\"lastActivityTime\":\"{time}\"}}")
            })
            .collect();
        let body = format!("[{}]", devices.join(","));
        http_answer(&mut stream, "200 OK", &format!("x-ms-continuation: page-{page}\r\n"), &body);
    });
    run(&mut devices(&sandbox, port, &ca_file), Stdin::Ends(b""), LIMIT)
}

#[test]
fn an_endless_list_of_devices_is_cut_off() {
    for (per_page, problem) in
        [(50_001, "more than 1000000 devices"), (0, "after 100 pages without a new one")]
    {
        let done = endless(per_page);
        assert_eq!(done.status.code(), Some(76), "{}", done.stderr);
        assert!(done.stderr.contains(problem), "{}", done.stderr);
        assert!(done.stdout.is_empty());
    }
}

#[test]
fn a_huge_retry_after_is_capped_at_a_minute_and_shown() {
    let sandbox = Sandbox::new();
    let (port, ca_file) = serve_tls(&sandbox, |mut stream| {
        if http_request(&mut stream).is_some() {
            http_answer(&mut stream, "429 Too Many Requests", "Retry-After: 4294967295\r\n", "");
        }
    });
    let command = devices(&sandbox, port, &ca_file);
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    let line: Vec<_> = words.map(|word| word.to_str().unwrap()).collect();
    let mut terminal = Terminal::open(&sandbox);
    terminal.types(&format!("{}\n", line.join(" ")));
    terminal.asks("0 devices; the hub throttles, going on in 60 s", 1);
    terminal.types(INTERRUPT);
}
