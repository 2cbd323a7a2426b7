//! A recipe of the page, its device and its user, in a network and with mounts of their own.

use std::collections::VecDeque;
use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use crate::documentation::{Example, man_examples};
use crate::support::{
    Finished, Hub, LIMIT, Process, Sandbox, SshFiles, Sshd, Stdin, agent_with_config, finish, iotstream,
    need, run, set_mode, ssh_config,
};

pub const PAGE: &str = include_str!("../../man/iotstream-recipes.7");

/// The title of what precedes the first recipe.
pub const SHARED: &str = "";

pub const DEVICE: &str = "gw-07";

/// The machine behind the device.
pub const BEHIND: &str = "192.168.1.7";

pub struct Section {
    pub title: String,
    pub blocks: Vec<Example>,
}

pub fn sections() -> Vec<Section> {
    let (shared, recipes) = PAGE.split_once("\n.SS ").expect("a recipe");
    let section = |title: &str, text: &str| Section { title: title.into(), blocks: man_examples(text) };
    let recipes = recipes.split("\n.SS ").map(|recipe| {
        let (title, text) = recipe.split_once('\n').expect("a text");
        section(title.trim_matches('"'), text)
    });
    [section(SHARED, shared)].into_iter().chain(recipes).collect()
}

/// Set in the process that runs a recipe.
const INSIDE: &str = "RECIPE_INSIDE";

/// Programs reach each other's ports only within a recipe, and what they mount is gone when it ends. The user's home is below
/// /mnt, because services of systemd may have a /tmp of their own.
const OWN: &str = r#"ip link set lo up
ip addr add "$1/32" dev lo
mkdir -p /tmp/.X11-unix
for directory in /srv /run /mnt /etc/systemd/system /tmp/.X11-unix; do mount -t tmpfs tmpfs $directory; done
shift
exec "$@""#;

/// Runs `test`, which is the test `name` of this folder, in another process of this program with a network, mounts and
/// process ids of its own. All its processes end with it.
pub fn in_own_network(name: &str, title: &str, test: fn(&mut Recipe)) {
    if env::var_os(INSIDE).is_some() {
        let mut recipe = Recipe::follow(title);
        test(&mut recipe);
        return assert!(recipe.blocks.is_empty(), "not run: {}", recipe.blocks[0].text);
    }
    let outside = Sandbox::new();
    let mut command = outside.command(need("unshare"));
    if !rustix::process::getuid().is_root() {
        command.args(["--map-current-user", "--keep-caps"]);
    }
    command.args(["--net", "--mount", "--pid", "--fork", "--mount-proc", "--kill-child"]);
    command.args(["sh", "-e", "-c", OWN, "sh", BEHIND]);
    command.arg(env::current_exe().unwrap()).args(["--exact", &format!("recipes::{name}"), "--nocapture"]);
    let mut path = env::var_os("PATH").unwrap_or_default();
    path.push(":/usr/sbin:/sbin");
    command.env("PATH", path).env("TMPDIR", "/mnt").env("IOTSTREAM_BIN", iotstream()).env(INSIDE, "1");
    let done = run(&mut command, Stdin::Ends(b""), Duration::from_secs(180));
    let said = String::from_utf8_lossy(&done.stdout);
    assert!(done.status.success() && said.contains("1 passed"), "{said}\n{}", done.stderr);
}

/// The device gw-07 and its user, configured as the page says, and the blocks that are to run.
pub struct Recipe {
    // In the order in which they end: the directory last.
    _agent: Process,
    _sshd: Sshd,
    hub: Hub,
    files: SshFiles,
    blocks: VecDeque<Example>,
    pub sandbox: Sandbox,
}

impl Recipe {
    fn follow(title: &str) -> Self {
        let mut all = sections();
        let recipe = all.iter().position(|section| section.title == title).expect("the page's section");
        let (blocks, mut settings): (Vec<_>, Vec<_>) =
            all.swap_remove(recipe).blocks.into_iter().partition(|block| block.how == "sh");
        settings.extend(all.swap_remove(0).blocks);
        assert!(!blocks.is_empty(), "{title} has no block for the shell");
        let of = |how: &str| -> String {
            settings.iter().filter(|block| block.how == how).map(|block| block.text.as_str()).collect()
        };
        let (targets, hosts) = (of("toml agent.toml"), of("sshconfig"));
        assert!(settings.iter().all(|block| ["toml agent.toml", "sshconfig"].contains(&block.how.as_str())));

        let sandbox = Sandbox::new();
        let files = SshFiles::make(&sandbox);
        let hub = Hub::start(&sandbox, &["--device", DEVICE]);
        let sshd = Sshd::start(&sandbox, &files);
        let ssh = format!("[[target]]\nstream = \"ssh\"\nconnect = \"127.0.0.1:{}\"\n", sshd.port);
        let agent = agent_with_config(&sandbox, &hub, DEVICE, &format!("{targets}{ssh}"));
        let recipe = Self { _agent: agent, _sshd: sshd, hub, files, blocks: blocks.into(), sandbox };
        recipe.configure_the_user(&hosts);
        recipe
    }

    /// The user's profile, ssh's configuration, and iotstream in PATH.
    fn configure_the_user(&self, hosts: &str) {
        for directory in ["bin", "run", ".ssh", "files"] {
            fs::create_dir(self.sandbox.path(directory)).unwrap();
            set_mode(&self.sandbox.path(directory), 0o700);
        }
        let service = self.hub.service_connection_string();
        let mut add = self.sandbox.iotstream();
        add.args(["profile", "add", "factory", "--hosts", "*.factory", "--ca-file"])
            .arg(self.hub.dir.join("ca.pem"));
        run(&mut add, Stdin::Ends(service.as_bytes()), LIMIT).succeeded();
        // A service with a /tmp of its own must find the program, too.
        let program = self.sandbox.write("bin/iotstream", "");
        // ssh and those that start it find the user's files by the user's name, not by HOME.
        let common = ssh_config(&self.sandbox, &self.files, "common", "none");
        let config = format!("{hosts}{}", fs::read_to_string(common).unwrap());
        let config = self.sandbox.write("ssh_config", config);
        let script = r#"mount --bind "$1" /etc/ssh/ssh_config
            mount --bind "$3" "$4"
            home=$(getent passwd "$(id -u)" | cut -d: -f6)
            if [ -d "$home/.ssh" ]; then mount --bind "$2" "$home/.ssh"; fi"#;
        let mut mount = self.sandbox.command("sh");
        mount
            .args(["-e", "-c", script, "sh"])
            .arg(config)
            .arg(self.sandbox.path(".ssh"))
            .arg(iotstream())
            .arg(program);
        finish(&mut mount).succeeded();
    }

    pub fn path(&self, name: impl AsRef<Path>) -> PathBuf {
        self.sandbox.path(name)
    }

    /// The next block of the page, in a shell of the user's.
    pub fn block(&mut self) -> Command {
        let block = self.blocks.pop_front().expect("another block for the shell");
        let mut shell = self.sandbox.command("sh");
        let mut path = self.path("bin").into_os_string();
        path.push(":");
        path.push(env::var_os("PATH").unwrap_or_default());
        shell
            .args(["-e", "-u", "-c", &block.text])
            .env("PATH", path)
            .env("XDG_RUNTIME_DIR", self.path("run"));
        shell
    }

    /// Runs the next block to its end.
    #[track_caller]
    pub fn runs(&mut self) -> Finished {
        finish(&mut self.block()).succeeded()
    }

    /// Leaves the blocks that have not run.
    pub fn skips(&mut self, why: &str) {
        eprintln!("{why}");
        self.blocks.clear();
    }
}
