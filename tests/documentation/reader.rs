//! A reader of a page, who runs what it shows. `sh until WORDS` is a server, which is ready once it has said these;
//! `console` is a terminal session, whose output is compared; `toml FILE` is a file to write, which the program has to
//! accept.

use std::fs::{self, DirBuilder};
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;
use std::process::Command;

use pulldown_cmark::{CodeBlockKind, Event, Parser, Tag, TagEnd};

use super::terminal_session;
use crate::support::{
    Hub, LIMIT, Process, Sandbox, SshFiles, Sshd, Stdin, agent_command, finish, in_service, iotstream, need,
    run, serve,
};

pub struct Example {
    pub how: String,
    pub text: String,
}

/// The code blocks of a page; the info string of a fence says how to run one.
pub fn examples(prose: &str) -> Vec<Example> {
    let (mut examples, mut inside) = (Vec::<Example>::new(), false);
    for event in Parser::new(prose) {
        match event {
            Event::Start(Tag::CodeBlock(kind)) => {
                let how = match kind {
                    CodeBlockKind::Fenced(how) => how.into_string(),
                    CodeBlockKind::Indented => String::new(),
                };
                examples.push(Example { how, text: String::new() });
                inside = true;
            }
            Event::Text(text) if inside => examples.last_mut().unwrap().text += &text,
            Event::End(TagEnd::CodeBlock) => inside = false,
            _ => {}
        }
    }
    examples
}

/// A reader with the device gw-07 online, gw-08 offline, and a profile, except for what the examples set up themselves.
pub struct Reader {
    // In the order in which they end: the directory last.
    servers: Vec<Process>,
    _sshd: Sshd,
    /// Ports, directories and names in the examples, and what replaces them here.
    places: Vec<(&'static str, String)>,
    hub: Hub,
    sandbox: Sandbox,
}

impl Reader {
    pub fn new(examples: &[Example]) -> Self {
        let sandbox = Sandbox::new();
        let files = SshFiles::make(&sandbox);
        // An agent of the examples is the module whose connection string they store.
        let has_agent = examples.iter().any(|example| example.how.contains("in service"));
        let (module, identity) =
            if has_agent { ("gw-07/iotstream", "gw-07%2Fiotstream") } else { ("gw-08", "gw-07") };
        let hub = Hub::start(&sandbox, &["--device", "gw-07", "gw-08", module, "--relay-entity", "gw-07"]);
        let sshd = Sshd::start(&sandbox, &files);
        let etc = sandbox.path("etc/iotstream");
        DirBuilder::new().recursive(true).mode(0o700).create(&etc).unwrap();
        fs::copy(hub.device_file(identity), etc.join("device.conn")).unwrap();
        install_programs(&sandbox, &hub);
        fs::create_dir(sandbox.path("site")).unwrap();
        fs::write(sandbox.path("site/index.html"), "a page").unwrap();
        let places = vec![
            ("/etc/iotstream", etc.display().to_string()),
            ("~", sandbox.path("").display().to_string()),
            ("127.0.0.1:22", format!("127.0.0.1:{}", sshd.port)),
            ("127.0.0.1:8080", format!("127.0.0.1:{}", serve(drop))),
            ("127.0.0.1:8443", "127.0.0.1:0".into()),
            ("127.0.0.1:8883", "127.0.0.1:0".into()),
            ("/tmp/hub", sandbox.path("rehearsal").display().to_string()),
            ("/srv/site", sandbox.path("published").display().to_string()),
            ("contoso.azure-devices.net:443", hub.name()),
            ("contoso.azure-devices.net", hub.name()),
        ];
        let mut servers = Vec::new();
        if !has_agent {
            let mut agent =
                agent_command(&sandbox, &hub, "gw-07", &[("ssh", sshd.port), ("tcp-2222", sshd.port)]);
            for builtin in ["echo", "discard", "source"] {
                agent.arg("--target").arg(format!("{builtin}=builtin:{builtin}"));
            }
            let mut agent = in_service(&mut agent);
            agent.says("reported 1 host key of stream ssh", 1, LIMIT);
            servers.push(agent);
        }
        let reader = Self { servers, _sshd: sshd, places, hub, sandbox };
        if !examples.iter().any(|example| example.text.contains("profile add")) {
            let module = if has_agent { "--module iotstream" } else { "" };
            let text = format!(
                "az iot hub connection-string | iotstream profile add factory --hosts '*.factory' {module}\n\
                 iotstream ssh-config --write\n"
            );
            run(&mut reader.shell(&text), Stdin::Ends(b""), LIMIT).succeeded();
        }
        reader
    }

    fn here(&self, text: &str) -> String {
        self.places.iter().fold(text.to_owned(), |text, (there, here)| text.replace(there, here))
    }

    fn shell(&self, text: &str) -> Command {
        let program = Path::new(iotstream());
        let mut path = vec![self.sandbox.path("bin"), program.parent().unwrap().to_owned()];
        path.extend(std::env::split_paths(&std::env::var_os("PATH").unwrap_or_default()));
        let mut shell = self.sandbox.command("sh");
        shell.args(["-e", "-c", text]).env("PATH", std::env::join_paths(path).unwrap());
        // The emulator stands for a hub that every system trusts; a device that is offline should not take long.
        shell.env("SSL_CERT_FILE", self.hub.dir.join("ca.pem")).env("IOTSTREAM_CONNECT_TIMEOUT", "1s");
        shell
    }

    /// # Panics
    /// When the example does not work, or its info string is unknown.
    pub fn follows(&mut self, example: &Example) {
        let text = self.here(&example.text);
        match example.how.split_once(' ').unwrap_or((&example.how, "")) {
            ("sh", "") => {
                // What a person pastes is the module's connection string.
                let pasted = fs::read(self.here("/etc/iotstream/device.conn")).unwrap_or_default();
                let stdin = if text.contains("# paste") { Stdin::Ends(&pasted) } else { Stdin::Ends(b"") };
                let done = run(&mut self.shell(&text), stdin, LIMIT);
                assert!(done.status.success(), "{text}\n{}\n{}", done.text(), done.stderr);
            }
            ("sh", until) => {
                let words = until.strip_prefix("until ").unwrap();
                let mut shell = self.shell(&format!("exec {text}"));
                let mut server = Process::start("server", &mut shell);
                server.says(words, 1, LIMIT);
                self.servers.push(server);
            }
            ("console", "") => self.sits_through(&text),
            ("toml" | "sshconfig", file) if !file.is_empty() => self.writes(file, &text),
            // This would change the system, such as the hosts file.
            ("text", "") => {}
            (how, _) => panic!("nobody knows how to follow '{how}':\n{text}"),
        }
    }

    fn sits_through(&self, text: &str) {
        for (command, shown) in terminal_session::commands(text) {
            let done = run(&mut self.shell(&format!("exec 2>&1\n{command}")), Stdin::Ends(b""), LIMIT);
            assert_eq!(!done.status.success(), terminal_session::fails(&shown), "{command}: {done:?}");
            assert!(
                terminal_session::shows(&shown, done.text()),
                "{command} says\n{}and not\n{shown}",
                done.text()
            );
        }
    }

    fn writes(&self, file: &str, text: &str) {
        let path = self.sandbox.write(&self.here(file), text);
        let mut program = self.sandbox.iotstream();
        match path.file_name().and_then(|name| name.to_str()).unwrap() {
            "profiles.toml" => {
                finish(program.args(["profile", "list", "--config"]).arg(&path)).succeeded();
            }
            "agent.toml" => {
                let done = finish(program.args(["agent", "--check", "--json", "--config"]).arg(&path));
                let findings: serde_json::Value = serde_json::from_str(done.text()).unwrap();
                let first = (&findings[0]["check"], &findings[0]["status"]);
                assert_eq!(first, (&"configuration".into(), &"pass".into()), "{file}: {}", done.text());
            }
            // ssh reads it.
            "config" => {}
            other => panic!("nobody knows what is in {other}"),
        }
    }
}

/// The programs that the examples run besides iotstream: ssh without the user's own settings, and stand-ins for those
/// that would ask the cloud or a secret store.
fn install_programs(sandbox: &Sandbox, hub: &Hub) {
    let at = |name: &str| sandbox.path(name).display().to_string();
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
    let module = format!("exec cat {}", hub.device_file("gw-07%2Fiotstream").display());
    let relay = |file: &str| format!("exec cat {}", hub.dir.join("relay").join(file).display());
    let az = format!(
        "case \"$*\" in relay*hyco*keys\\ list*) {listen} ;; relay*keys\\ list*) {send} ;; relay*create*) exit 0 ;; \
         *device-identity*) {device} ;; *module-identity*) {module} ;; *dps*) echo Z3JvdXAga2V5 ;; *) {service} ;; esac",
        listen = relay("gw-07.listen.conn"),
        send = relay("send.conn"),
    );
    fs::create_dir(sandbox.path("bin")).unwrap();
    for (name, text) in [("ssh", ssh), ("az", az), ("pass", service)] {
        sandbox.write_script(&format!("bin/{name}"), &text);
    }
}
