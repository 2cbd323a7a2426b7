//! `iotstream socket-unit`, and its units under what stands for systemd: systemd-analyze and systemd-socket-activate.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::Command;
use std::thread;
use std::time::Duration;

use crate::support::{
    DEVICE, Finished, Hub, LIMIT, MARKER, Process, Sandbox, Stdin, closed_port, device_with, finish, need,
    random, run, serve,
};

/// The highest exposure that `systemd-analyze security` may report for the system's unit, in tenths of a point.
const EXPOSED: &str = "20";

/// The page of the device's web server, longer than what sockets hold on the way.
const PAGE: usize = 1 << 20;

fn socket_unit(sandbox: &Sandbox, hub: &Hub, args: &[&str]) -> Command {
    let mut command = sandbox.iotstream();
    command.arg("socket-unit").args(args).arg("--config").arg(hub.dir.join("profiles.toml"));
    command
}

/// The units that the command prints, by their paths.
fn printed(done: &Finished) -> Vec<(&str, &str)> {
    let mut starts: Vec<usize> = done.text().match_indices("# /").map(|(at, _)| at).collect();
    starts.retain(|at| *at == 0 || done.text()[..*at].ends_with('\n'));
    starts.push(done.text().len());
    let units = starts.windows(2).map(|ends| done.text()[ends[0]..ends[1]].split_once('\n').unwrap());
    units.map(|(path, unit)| (path.strip_prefix("# ").unwrap(), unit)).collect()
}

fn line<'a>(unit: &'a str, key: &str) -> &'a str {
    let mut lines = unit.lines().filter_map(|line| line.strip_prefix(&format!("{key}=")));
    lines.next().unwrap_or_else(|| panic!("no {key} in\n{unit}"))
}

/// What `systemd-analyze verify` says.
fn verified(sandbox: &Sandbox, manager: &str, units: &[&Path]) -> String {
    let mut verify = sandbox.command(need("systemd-analyze"));
    // A user's systemd wants this directory.
    verify.env("XDG_RUNTIME_DIR", sandbox.path(""));
    verify.env("SYSTEMD_UNIT_PATH", format!("{}:", units[0].parent().unwrap().display()));
    run(verify.args([manager, "verify"]).args(units), Stdin::Ends(b""), LIMIT).succeeded().stderr
}

#[test]
fn systemd_has_nothing_to_say_about_the_units() {
    let sandbox = Sandbox::new();
    let hub = Hub::start(&sandbox, &["--device", "gw-07"]);
    let odd = "Line(3), 50% $HOME \"x\"; press";
    let profiles = hub.dir.join("profiles.toml");
    let profile = fs::read_to_string(&profiles).unwrap();
    fs::write(&profiles, format!("{profile}\n[profile.emulator.devices]\n{odd:?} = \"gw-07\"\n")).unwrap();
    for (at, args) in [
        &["gw-07", "8080"][..],
        &["gw-07", "80", "--listen", "127.0.1.7:1080", "--unit", "press.web"],
        &["--listen", "[::1]", "gw-07", "5900"],
        &["gw-07", "8080", "--listen", "/run/user/0/50% off.sock"],
        &["gw-07", "80", "--system", "--run-as", "daemon"],
        &["gw-07", "80", "--system", "--run-as", "daemon", "--listen", "/run/web.sock"],
        &[odd, "8080"],
    ]
    .into_iter()
    .enumerate()
    {
        let done = finish(&mut socket_unit(&sandbox, &hub, args)).succeeded();
        let units = printed(&done);
        let [(socket, _), (service, _)] = units[..] else { panic!("{}", done.text()) };
        let name = socket.strip_suffix(".socket").unwrap();
        assert_eq!(service, format!("{name}@.service"));
        let directory = sandbox.path(at.to_string());
        fs::create_dir(&directory).unwrap();
        let files = units.iter().map(|(path, unit)| {
            let file = directory.join(Path::new(path).file_name().unwrap());
            fs::write(&file, unit).unwrap();
            file
        });
        let files: Vec<_> = files.collect();
        let is_system = args.contains(&"--system");
        let manager = if is_system { "--system" } else { "--user" };
        assert_eq!(verified(&sandbox, manager, &[&files[0], &files[1]]), "", "{args:?}\n{}", done.text());
        if is_system {
            let mut security = sandbox.command(need("systemd-analyze"));
            security
                .args(["security", "--offline=true", "--no-pager", "--threshold", EXPOSED])
                .arg(&files[1]);
            finish(&mut security).succeeded();
        }
    }
}

#[test]
fn the_units_are_written_for_the_user_and_never_over_another_file() {
    let sandbox = Sandbox::new();
    let hub = Hub::start(&sandbox, &["--device", DEVICE]);
    let unit = |name: &str| sandbox.path(".config/systemd/user").join(name);
    let (socket, service) = (unit("iotstream-dev-1-8080.socket"), unit("iotstream-dev-1-8080@.service"));
    let shown = finish(&mut socket_unit(&sandbox, &hub, &[DEVICE, "8080"])).succeeded();
    let write = |args: &[&str]| {
        finish(&mut socket_unit(&sandbox, &hub, &[&[DEVICE, "8080", "--write"], args].concat()))
    };
    for _ in 0..2 {
        let done = write(&[]).succeeded();
        assert!(
            done.text().contains("systemctl --user restart iotstream-dev-1-8080.socket\n"),
            "{}",
            done.text()
        );
        for (path, text) in printed(&shown) {
            assert_eq!(fs::read_to_string(path).unwrap().trim_end(), text.trim_end());
            assert_eq!(fs::metadata(path).unwrap().permissions().mode() & 0o777, 0o644);
        }
    }
    fs::write(&service, "[Service]\n").unwrap();
    let before = fs::read(&socket).unwrap();
    let done = write(&["--listen", "127.0.0.1:9090"]);
    assert_eq!(done.status.code(), Some(78), "{}", done.stderr);
    assert!(done.stderr.contains("this command has not written it"), "{}", done.stderr);
    assert_eq!((fs::read(&socket).unwrap(), fs::read(&service).unwrap()), (before, b"[Service]\n".to_vec()));

    let directory = sandbox.path("units");
    let to = format!("--write={}", directory.display());
    finish(&mut socket_unit(&sandbox, &hub, &[DEVICE, "8080", &to, "--unit", "web"])).succeeded();
    assert!(directory.join("web.socket").exists() && directory.join("web@.service").exists());
}

#[test]
fn who_can_connect_is_said_and_wrong_names_are_refused() {
    let sandbox = Sandbox::new();
    let hub = Hub::start(&sandbox, &["--device", DEVICE]);
    let done =
        finish(&mut socket_unit(&sandbox, &hub, &[DEVICE, "80", "--listen", "0.0.0.0:8080"])).succeeded();
    for said in [done.text(), &done.stderr] {
        assert!(said.contains("Every host that reaches this machine can connect."), "{said}");
    }
    let done = finish(&mut socket_unit(&sandbox, &hub, &[DEVICE, "80"])).succeeded();
    assert!(done.text().contains("\n# Every user of this machine can connect.\n"), "{}", done.text());
    assert!(done.stderr.contains("a user cannot listen on port 80"), "{}", done.stderr);
    let done =
        finish(&mut socket_unit(&sandbox, &hub, &[DEVICE, "80", "--listen", "/run/x.sock"])).succeeded();
    assert!(done.text().contains("\nSocketMode=0600\nRemoveOnStop=yes\n"), "{}", done.text());
    for (args, part) in [
        (&["--listen", "8080"][..], "--listen: '8080' is neither"),
        (&["--unit", "web.socket"], "--unit: 'web.socket'"),
        (&["--unit", "a@b"], "--unit: 'a@b'"),
        (&["--system"], "--run-as"),
        (&["--run-as", "daemon"], "--system"),
        (&["--system", "--run-as", "no body"], "--run-as: 'no body'"),
        (&["--proxy", "http://me:secret@proxy:3128"], "--proxy has a password"),
    ] {
        let done = finish(&mut socket_unit(&sandbox, &hub, &[&[DEVICE, "80"], args].concat()));
        assert_eq!(done.status.code(), Some(2), "{args:?}: {}", done.stderr);
        assert!(done.stderr.contains(part) && !done.stderr.contains("secret"), "{args:?}: {}", done.stderr);
    }
    let nobody = finish(&mut socket_unit(&sandbox, &hub, &[DEVICE, "80", "--profile", "none"]));
    assert_eq!(nobody.status.code(), Some(78), "{}", nobody.stderr);
}

/// A socket whose connections run the ExecStart of a unit, without any other variable than a unit has.
fn activated(sandbox: &Sandbox, hub: &Hub, port: u16, listen: &str) -> Process {
    let done =
        finish(&mut socket_unit(sandbox, hub, &[DEVICE, &port.to_string(), "--listen", listen])).succeeded();
    let (_, service) = printed(&done)[1];
    assert_eq!(line(service, "SuccessExitStatus"), "74");
    let mut command = Command::new(need("systemd-socket-activate"));
    command.env_clear().env(MARKER, sandbox.mark().split_once('=').unwrap().1).env("HOME", sandbox.path(""));
    command.args(["--accept", "--inetd", "-E", MARKER, "-E", "HOME", "-l", listen]);
    command.args(line(service, "ExecStart").split(' '));
    let mut process = Process::start("systemd-socket-activate", &mut command);
    process.says("Listening on", 1, LIMIT);
    process
}

fn get(mut stream: impl Read + Write) -> Vec<u8> {
    stream.write_all(b"GET / HTTP/1.0\r\n\r\n").unwrap();
    let mut page = Vec::new();
    stream.read_to_end(&mut page).unwrap();
    page
}

/// A web server that answers a request with `page` and ends the connection.
fn web(page: &'static [u8]) -> u16 {
    serve(move |stream| {
        let mut request = BufReader::new(&stream).lines();
        while request.next().is_some_and(|line| line.is_ok_and(|line| !line.is_empty())) {}
        // The client may have reset the connection.
        let _ = (&stream).write_all(page);
    })
}

#[test]
fn twenty_connections_at_once_reach_a_web_server() {
    let page: &[u8] = random(PAGE).leak();
    let port = web(page);
    let (agent, hub, sandbox) = device_with(&format!("tcp-{port}"), port);
    let listen = format!("127.0.0.1:{}", closed_port());
    let activated = activated(&sandbox, &hub, port, &listen);
    // A browser that leaves in the middle of a page.
    let mut left = TcpStream::connect(&listen).unwrap();
    left.write_all(b"GET / HTTP/1.0\r\n\r\n").unwrap();
    left.read_exact(&mut [0; 100]).unwrap();
    drop(left);
    let clients: Vec<_> = (0..20)
        .map(|_| TcpStream::connect(&listen).unwrap())
        .map(|stream| thread::spawn(move || get(stream)))
        .collect();
    for client in clients {
        assert!(client.join().unwrap() == page);
    }
    sandbox.leaves_only(Duration::from_secs(10), &[&agent, &hub.process, &activated]);
}

#[test]
fn each_side_may_end_first() {
    // It answers once the request has ended, and with all of it.
    let port = serve(|mut stream| {
        let mut all = Vec::new();
        stream.read_to_end(&mut all).unwrap();
        stream.write_all(&all).unwrap();
    });
    let (agent, hub, sandbox) = device_with(&format!("tcp-{port}"), port);
    let path = sandbox.path("echo.sock");
    let mut activated = activated(&sandbox, &hub, port, path.to_str().unwrap());
    let sent = random(4 * PAGE);
    let stream = UnixStream::connect(&path).unwrap();
    let mut writing = stream.try_clone().unwrap();
    let writer = {
        let sent = sent.clone();
        thread::spawn(move || {
            writing.write_all(&sent).unwrap();
            writing.shutdown(Shutdown::Write).unwrap();
        })
    };
    let mut back = Vec::new();
    (&stream).read_to_end(&mut back).unwrap();
    writer.join().unwrap();
    assert!(back == sent, "{} of {} bytes", back.len(), sent.len());
    sandbox.leaves_only(Duration::from_secs(10), &[&agent, &hub.process, &activated]);

    // A client that has gone before the answer leaves no helper either, and the status is one that the unit calls a success.
    drop(UnixStream::connect(&path).unwrap());
    activated.says("died with code 74", 1, LIMIT);
    sandbox.leaves_only(Duration::from_secs(10), &[&agent, &hub.process, &activated]);
}
