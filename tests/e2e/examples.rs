//! The examples of the manual pages, run as their reader would: those of a page one after the other, in a home of their
//! own. `sh until WORDS` is a server, which goes on once it has said these; `toml FILE` is a file to write.

use std::fs::{self, DirBuilder, Permissions};
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::Command;

use pulldown_cmark::{CodeBlockKind, Event, Parser, Tag, TagEnd};

use crate::support::{Bench, Hub, LIMIT, Process, SshFiles, Sshd, Stdin, agent, need, run, serve};

struct Example {
    how: String,
    text: String,
}

/// The code of a page that says how it is to be run.
fn examples(prose: &str) -> Vec<Example> {
    let (mut examples, mut inside) = (Vec::<Example>::new(), false);
    for event in Parser::new(prose) {
        match event {
            Event::Start(Tag::CodeBlock(CodeBlockKind::Fenced(how))) if !how.is_empty() => {
                examples.push(Example { how: how.into_string(), text: String::new() });
                inside = true;
            }
            Event::Text(text) if inside => examples.last_mut().unwrap().text += &text,
            Event::End(TagEnd::CodeBlock) => inside = false,
            _ => {}
        }
    }
    examples
}

/// A reader with the device gw-07 at work, gw-08 off, and a profile, but for what the examples see to themselves.
struct Reader {
    // In the order in which they are to end: the directory last.
    servers: Vec<Process>,
    _sshd: Sshd,
    /// What is not in a reader's place here: ports and directories of the system's.
    places: Vec<(&'static str, String)>,
    hub: Hub,
    bench: Bench,
}

impl Reader {
    fn new(examples: &[Example]) -> Self {
        let bench = Bench::new();
        let files = SshFiles::make(&bench);
        let hub = Hub::start(&bench, &["--device", "gw-07", "gw-08"]);
        let sshd = Sshd::start(&bench, &files);
        let etc = bench.path("etc/iotstream");
        DirBuilder::new().recursive(true).mode(0o700).create(&etc).unwrap();
        fs::copy(hub.device_file("gw-07"), etc.join("device.conn")).unwrap();
        install_programs(&bench, &hub);
        let places = vec![
            ("/etc/iotstream", etc.display().to_string()),
            ("~", bench.path("").display().to_string()),
            ("127.0.0.1:22", format!("127.0.0.1:{}", sshd.port)),
            ("127.0.0.1:8080", format!("127.0.0.1:{}", serve(drop))),
            ("127.0.0.1:8443", "127.0.0.1:0".into()),
            ("127.0.0.1:8883", "127.0.0.1:0".into()),
        ];
        let mut servers = Vec::new();
        if !examples.iter().any(|example| example.how.contains("in service")) {
            servers.push(agent(&bench, &hub, "gw-07", &[("ssh", sshd.port), ("tcp-2222", sshd.port)]));
        }
        let reader = Self { servers, _sshd: sshd, places, hub, bench };
        if !examples.iter().any(|example| example.text.contains("profile add")) {
            let text = "az iot hub connection-string | iotstream profile add factory --hosts '*.factory'\n\
                        iotstream ssh-config --write\n";
            run(&mut reader.shell(text), Stdin::Ends(b""), LIMIT).succeeded();
        }
        reader
    }

    fn here(&self, text: &str) -> String {
        self.places.iter().fold(text.to_owned(), |text, (there, here)| text.replace(there, here))
    }

    fn shell(&self, text: &str) -> Command {
        let program = Path::new(env!("CARGO_BIN_EXE_iotstream"));
        let mut path = vec![self.bench.path("bin"), program.parent().unwrap().to_owned()];
        path.extend(std::env::split_paths(&std::env::var_os("PATH").unwrap_or_default()));
        let mut shell = self.bench.command("sh");
        shell.args(["-e", "-c", text]).env("PATH", std::env::join_paths(path).unwrap());
        // The emulator stands for a hub that everybody trusts, and has no time to wait for a device that is off.
        shell.env("SSL_CERT_FILE", self.hub.dir.join("ca.pem")).env("IOTSTREAM_CONNECT_TIMEOUT", "1s");
        shell
    }

    fn follows(&mut self, example: &Example) {
        let text = self.here(&example.text);
        match example.how.split_once(' ') {
            None => {
                let done = run(&mut self.shell(&text), Stdin::Ends(b""), LIMIT);
                assert!(done.status.success(), "{}\n{}\n{}", text, done.text(), done.stderr);
            }
            Some(("sh", until)) => {
                let words = until.strip_prefix("until ").unwrap();
                let mut shell = self.shell(&format!("exec {text}"));
                let mut server = Process::start(&self.bench, "server", &mut shell);
                server.says(words, 1, LIMIT);
                self.servers.push(server);
            }
            Some((_, file)) => {
                self.bench.write(&self.here(file), text);
            }
        }
    }
}

/// What the examples run besides iotstream: ssh without the user's own settings, and what would ask the cloud or a
/// secret store.
fn install_programs(bench: &Bench, hub: &Hub) {
    let at = |name: &str| bench.path(name).display().to_string();
    let ssh = format!(
        "[ \"$1\" != -F ] || exec {ssh} \"$@\"\nexec {ssh} -F {} -i {} -o UserKnownHostsFile={} -o HostKeyAlias=the-device \
         -o GlobalKnownHostsFile=none -o BatchMode=yes -o IdentitiesOnly=yes -o IdentityAgent=none \"$@\"",
        at(".ssh/config"),
        at("user_key"),
        at("known_hosts"),
        ssh = need("ssh").display(),
    );
    let service = format!("exec cat {}", hub.dir.join("service.conn").display());
    let device = format!("exec cat {}", hub.device_file("gw-07").display());
    let az = format!("case \"$*\" in *device-identity*) {device} ;; *) {service} ;; esac");
    fs::create_dir(bench.path("bin")).unwrap();
    for (name, text) in [("ssh", ssh), ("az", az), ("pass", service)] {
        let program = bench.write(&format!("bin/{name}"), format!("#!/bin/sh\n{text}\n"));
        fs::set_permissions(program, Permissions::from_mode(0o700)).unwrap();
    }
}

#[test]
fn the_examples_of_the_manual_pages_do_what_they_say() {
    let prose = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/man/prose");
    let mut pages: Vec<PathBuf> = fs::read_dir(prose).unwrap().map(|page| page.unwrap().path()).collect();
    pages.sort();
    for page in pages {
        let examples = examples(&fs::read_to_string(&page).unwrap());
        assert!(!examples.is_empty(), "{} has no examples", page.display());
        let mut reader = Reader::new(&examples);
        for example in &examples {
            reader.follows(example);
        }
    }
}
