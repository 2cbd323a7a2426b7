use std::fs::File;
use std::io::{Read, Write};

use super::recipe::Recipe;
use super::servers::{listens, web};
use crate::support::{LIMIT, Process, Stdin, eventually, fill_tree, finish, need, run, tree_sha256};

pub fn one_request(recipe: &mut Recipe) {
    web("127.0.0.1:80", "the device's page\n");
    let answer = recipe.runs();
    assert!(answer.text().ends_with("\r\n\r\nthe device's page\n"), "{answer:?}");
}

pub fn rsync_daemon(recipe: &mut Recipe) {
    fill_tree("/srv/logs".as_ref(), 50);
    let config = recipe.sandbox.write(
        "rsyncd.conf",
        "use chroot = no\nlog file = /dev/stdout\n[logs]\npath = /srv/logs\nread only = yes\n",
    );
    let mut rsync = recipe.sandbox.command(need("rsync"));
    rsync.args(["--daemon", "--no-detach", "--address=127.0.0.1", "--config"]).arg(config);
    let _daemon = Process::start("rsync", &mut rsync);
    listens("127.0.0.1:873");
    recipe.runs();
    assert_eq!(tree_sha256(&recipe.path("logs")), tree_sha256("/srv/logs".as_ref()));
}

pub fn git_daemon(recipe: &mut Recipe) {
    let git = |args: &[&str]| {
        let mut git = recipe.sandbox.command(need("git"));
        git.args(["-c", "user.name=A Tester", "-c", "user.email=tester@example.com"]);
        finish(git.args(args)).succeeded().text().to_owned()
    };
    git(&["init", "-q", "-b", "main", "/srv/site.git"]);
    fill_tree("/srv/site.git/files".as_ref(), 20);
    git(&["-C", "/srv/site.git", "add", "."]);
    git(&["-C", "/srv/site.git", "commit", "-q", "-m", "Seed"]);
    let mut daemon = recipe.sandbox.command(need("git"));
    daemon.args(["daemon", "--verbose", "--listen=127.0.0.1", "--export-all", "--base-path=/srv"]);
    let mut daemon = Process::start("git daemon", &mut daemon);
    daemon.says("Ready to rumble", 1, LIMIT);
    recipe.runs();
    let (site, here) = ("/srv/site.git".to_owned(), recipe.path("site").display().to_string());
    let git =
        |args: &[&str]| finish(recipe.sandbox.command(need("git")).args(args)).succeeded().text().to_owned();
    assert_eq!(git(&["-C", &here, "rev-parse", "HEAD"]), git(&["-C", &site, "rev-parse", "HEAD"]));
}

pub fn gdb(recipe: &mut Recipe) {
    let pump = recipe.path("pump");
    recipe.sandbox.copy_executable(need("sleep"), &pump);
    let running = Process::start("pump", recipe.sandbox.command(&pump).arg("1000"));
    need("gdbserver");
    need("gdb");
    let done =
        run(&mut recipe.block(), Stdin::Ends(b"info inferiors\ninfo registers\ndetach\n"), LIMIT).succeeded();
    let said = format!("{}{}", done.text(), done.stderr);
    assert!(said.contains(&format!("process {}", running.pid())) && said.contains("rip"), "{said}");
    assert!(said.contains("detached"), "{said}");
}

pub fn serial_console(recipe: &mut Recipe) {
    // A /dev of the recipe's own, with the serial port, and the other end of its cable.
    let script = r#"mkdir dev
        mount -t tmpfs tmpfs dev
        for file in null zero random urandom tty; do touch dev/$file; mount --bind /dev/$file dev/$file; done
        mkdir dev/pts
        mount -t devpts -o newinstance,ptmxmode=0666 devpts dev/pts
        ln -s pts/ptmx dev/ptmx
        ln -s /proc/self/fd dev/fd
        mount --rbind dev /dev"#;
    finish(recipe.sandbox.command("sh").args(["-e", "-c", script])).succeeded();
    let mut cable = recipe.sandbox.command(need("socat"));
    cable.args(["-d", "-d", "PTY,raw,echo=0,link=/dev/ttyUSB0", "STDIO"]);
    let mut cable = Process::start("serial cable", &mut cable);
    cable.says("starting data transfer loop", 1, LIMIT);

    let mut console = Process::start("console", &mut recipe.block());
    let link = recipe.path("run/gw-07.console");
    eventually(LIMIT, || link.exists().then_some(()).ok_or_else(|| "the link appears".to_owned()));
    let mut terminal = File::options().read(true).write(true).open(&link).unwrap();
    terminal.write_all(b"show version\r").unwrap();
    assert_eq!(cable.reads(13, LIMIT), b"show version\r");
    cable.say("\x00 1.0\x03\r\n");
    let mut answer = [0; 8];
    terminal.read_exact(&mut answer).unwrap();
    assert_eq!(&answer, b"\x00 1.0\x03\r\n");
    drop(terminal);
    console.ends(LIMIT);
}
