//! The packages that cargo-deb and cargo-generate-rpm make, and what dpkg, man, the shells and systemd do with them.
//! They contain the test's build of the program instead of a release build.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;
use std::time::Duration;

use crate::support::{Stdin, run};

const PROGRAM: &str = env!("CARGO_BIN_EXE_iotstream");
const INSTALLED: &str = "/usr/bin/iotstream";
const UNIT: &str = "iotstream-agent.service";

/// dpkg keeps it until the package is purged.
const LOGROTATE: &str = "/etc/logrotate.d/iotstream";

/// The files in both packages, besides the manual pages and zsh's completions.
const FILES: [&str; 7] = [
    LOGROTATE,
    INSTALLED,
    "/usr/lib/systemd/system/iotstream-agent.service",
    "/usr/share/bash-completion/completions/iotstream",
    "/usr/share/doc/iotstream/CHANGELOG.md",
    "/usr/share/doc/iotstream/README.md",
    "/usr/share/fish/vendor_completions.d/iotstream.fish",
];

fn source(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(name)
}

/// A missing tool is built, which takes minutes.
const BUILDING: Duration = Duration::from_secs(1800);

/// Runs a command and returns what it prints.
#[track_caller]
fn output(command: &mut Command) -> String {
    run(command, Stdin::Ends(b""), BUILDING).succeeded().text().to_owned()
}

/// A target directory with the test's build as the release, stripped as in the release profile.
fn workshop() -> &'static Path {
    static WORKSHOP: OnceLock<PathBuf> = OnceLock::new();
    WORKSHOP.get_or_init(|| {
        output(Command::new(source(".ci/tools")).args(["cargo-deb", "cargo-generate-rpm"]));
        let directory = Path::new(env!("CARGO_TARGET_TMPDIR")).join("packages");
        fs::create_dir_all(directory.join("release")).expect("a directory");
        output(Command::new("strip").arg("-o").arg(directory.join("release/iotstream")).arg(PROGRAM));
        directory
    })
}

/// A package made by one of the tools of `.ci/tools`.
fn package(tool: &str, arguments: &[&str], file: &str) -> PathBuf {
    let package = workshop().join(file);
    let mut command = Command::new(source("target/tools/bin").join(tool));
    command.current_dir(source("")).env("CARGO_TARGET_DIR", workshop());
    output(command.args(arguments).arg("--output").arg(&package));
    package
}

fn deb() -> &'static Path {
    static DEB: OnceLock<PathBuf> = OnceLock::new();
    DEB.get_or_init(|| {
        let arguments = ["deb", "--no-build", "--no-strip", "--locked", "--fast"];
        package("cargo-deb", &arguments, "iotstream.deb")
    })
}

/// The installed paths of the pages in `man/`.
fn pages(suffix: &str) -> BTreeSet<String> {
    let pages = fs::read_dir(source("man")).expect("the pages");
    let names = pages.map(|page| page.expect("a page").file_name().into_string().expect("UTF-8"));
    names
        .map(|name| {
            let section = name.rsplit('.').next().expect("a section");
            format!("/usr/share/man/man{section}/{name}{suffix}")
        })
        .collect()
}

fn files_with(pages: BTreeSet<String>, more: &[&str]) -> BTreeSet<String> {
    pages.into_iter().chain(FILES.iter().chain(more).map(|&file| file.to_owned())).collect()
}

/// A separate root directory in which dpkg regards this system's packages as installed.
struct Root(tempfile::TempDir);

impl Root {
    fn with_package() -> Self {
        let root = Self(tempfile::tempdir().expect("a temporary directory"));
        for directory in ["info", "updates"] {
            fs::create_dir_all(root.path("/var/lib/dpkg").join(directory)).expect("a directory");
        }
        let status = root.path("/var/lib/dpkg/status");
        fs::copy("/var/lib/dpkg/status", &status).expect("a Debian system");
        root.dpkg(&["-i", deb().to_str().expect("UTF-8")]);
        root
    }

    fn path(&self, absolute: &str) -> PathBuf {
        self.0.path().join(absolute.trim_start_matches('/'))
    }

    /// Dependencies are checked, root is not needed, and the manual pages are installed even where a container image
    /// excludes them.
    fn dpkg(&self, arguments: &[&str]) {
        let mut command = Command::new("dpkg");
        command.arg("--root").arg(self.0.path()).arg("--log").arg(self.path("/var/lib/dpkg/log"));
        command.args(["--force-not-root", "--force-bad-path", "--path-include=/usr/share/*"]);
        // There is no shell in the root.
        command.arg("--force-script-chrootless");
        output(command.args(arguments));
    }

    /// All files except dpkg's own.
    fn files(&self) -> BTreeSet<String> {
        let mut command = Command::new("find");
        let files = output(command.arg(self.0.path()).args(["!", "-type", "d", "-printf", "/%P\n"]));
        files.lines().filter(|file| !file.starts_with("/var/lib/dpkg/")).map(str::to_owned).collect()
    }

    /// A command that finds the installed program, and no user's configuration.
    fn command(&self, program: &str) -> Command {
        let share = self.path("/usr/share");
        let path = format!("{}:/usr/local/bin:/usr/bin:/bin", self.path("/usr/bin").display());
        let mut command = Command::new(program);
        command.env_clear().env("HOME", self.0.path()).env("PATH", path).env("XDG_DATA_DIRS", share);
        command.envs([("TERM", "xterm"), ("LC_ALL", "C.UTF-8")]);
        command
    }

    /// `man`, `whatis` and their like for the installed pages.
    fn manual(&self, program: &str, arguments: &[&str]) -> String {
        let mut command = self.command(program);
        command.env("MANPAGER", "cat").env("MANWIDTH", "80");
        output(command.arg("-M").arg(self.path("/usr/share/man")).args(arguments))
    }
}

#[test]
fn the_committed_unit_is_current() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let config = directory.path().join("agent.toml");
    let target = "[[target]]\nstream = \"ssh\"\nconnect = \"127.0.0.1:22\"\n";
    fs::write(&config, target).expect("a configuration");
    let printed = output(Command::new(PROGRAM).args(["agent", "--install", "--config"]).arg(&config));
    let unit = printed
        .replace(&format!("\"{PROGRAM}\""), &format!("\"{INSTALLED}\""))
        .replace(config.to_str().expect("UTF-8"), "/etc/iotstream/agent.toml");
    assert!(unit.contains(
        "ExecStart=\"/usr/bin/iotstream\" agent --restartable -v --config \"/etc/iotstream/agent.toml\"\n"
    ));
    let committed = source(".packaging").join(UNIT);
    if std::env::var_os("UPDATE").is_some() {
        fs::write(&committed, &unit).expect("the unit can be written");
    }
    let committed = fs::read_to_string(committed).unwrap_or_default();
    assert!(committed == unit, ".packaging/{UNIT} is stale: run UPDATE=1 cargo test --test all packages");
}

#[test]
fn dpkg_installs_the_deb_and_removes_it_completely() {
    let root = Root::with_package();
    let more = ["/usr/share/doc/iotstream/copyright", "/usr/share/zsh/vendor-completions/_iotstream"];
    assert_eq!(root.files(), files_with(pages(".gz"), &more), "left is what was installed");
    let version = output(root.command("iotstream").arg("--version"));
    assert_eq!(version, concat!("iotstream ", env!("CARGO_PKG_VERSION"), "\n"));
    root.dpkg(&["-r", "iotstream"]);
    assert_eq!(root.files(), BTreeSet::from([LOGROTATE.to_owned()]), "left is what was left behind");
}

#[test]
fn a_purge_removes_the_state_and_the_link_of_the_unit_and_leaves_the_configuration() {
    let root = Root::with_package();
    let wanted = root.path("/etc/systemd/system/multi-user.target.wants");
    for directory in [&wanted, &root.path("/var/lib/private/iotstream"), &root.path("/etc/iotstream")] {
        fs::create_dir_all(directory).expect("a directory");
    }
    let unit = root.path("/usr/lib/systemd/system").join(UNIT);
    symlink(unit, wanted.join(UNIT)).expect("what systemctl enable makes");
    symlink("private/iotstream", root.path("/var/lib/iotstream")).expect("what StateDirectory makes");
    fs::write(root.path("/var/lib/private/iotstream/assignment"), "state").expect("a file");
    fs::write(root.path("/etc/iotstream/connection-string"), "secret").expect("a file");

    root.dpkg(&["-r", "iotstream"]);
    assert!(root.path("/var/lib/iotstream/assignment").exists(), "removed before the purge");
    root.dpkg(&["--purge", "iotstream"]);
    assert_eq!(root.files(), BTreeSet::from(["/etc/iotstream/connection-string".to_owned()]));
}

#[test]
fn man_finds_the_pages() {
    let root = Root::with_package();
    let page = root.manual("man", &["iotstream"]);
    assert!(page.starts_with("IOTSTREAM(1)") && page.contains("\nNAME\n       iotstream - "), "{page}");
    let page = root.manual("man", &["5", "iotstream-agent.toml"]);
    assert!(page.starts_with("IOTSTREAM-AGENT.TOML(5)"), "{page}");

    // On a real system, dpkg has a trigger of man-db's do this.
    output(root.command("mandb").args(["--quiet", "--create"]).arg(root.path("/usr/share/man")));
    for page in pages("") {
        let (name, section) = page.rsplit_once('.').expect("a section");
        let name = name.rsplit('/').next().expect("a name");
        let known = root.manual("whatis", &[name]);
        assert!(known.starts_with(&format!("{name} ({section})")), "{known}");
    }
    assert!(root.manual("apropos", &["ProxyCommand"]).contains("iotstream-connect (1)"));
}

#[test]
fn bash_loads_the_completions() {
    let root = Root::with_package();
    let script = "source /usr/share/bash-completion/bash_completion; _completion_loader iotstream; \
                  COMP_WORDS=(iotstream emul); COMP_CWORD=1; COMP_LINE='iotstream emul'; COMP_POINT=14; COMP_TYPE=9; \
                  _clap_complete_iotstream iotstream emul iotstream 2>/dev/null; \
                  complete -p iotstream && printf '%s\\n' \"${COMPREPLY[@]}\"";
    let completed = output(root.command("bash").args(["--norc", "-c", script]));
    assert!(completed.lines().any(|word| word.trim() == "emulator"), "{completed}");
}

#[test]
fn fish_loads_the_completions() {
    let root = Root::with_package();
    let completed = output(root.command("fish").args(["-c", "complete -C 'iotstream emul'"]));
    assert!(completed.starts_with("emulator"), "{completed}");
}

#[test]
fn zsh_loads_the_completions_and_completes_at_the_first_tab() {
    let root = Root::with_package();
    // Either the completion appears on the terminal, or the bell rings.
    let script = "zmodload zsh/zpty && zpty shell zsh -f -i; zpty -w shell \
                  \"fpath=($FUNCTIONS \\$fpath); autoload -Uz compinit && compinit -D -u; PS1='rea''dy '\"; \
                  zpty -r shell seen $'*ready *'; zpty -w -n shell $'iotstream emul\\t'; \
                  zpty -r shell seen $'*(ator|\\a)*'; print -r -- $seen";
    let mut command = root.command("timeout");
    command.env("FUNCTIONS", root.path("/usr/share/zsh/vendor-completions"));
    let completed = output(command.args(["60", "zsh", "-f", "-c", script]));
    assert!(completed.contains("ator"), "{completed:?}");
}

#[test]
fn systemd_accepts_the_installed_unit() {
    let root = Root::with_package();
    let unit = fs::read_to_string(root.path("/usr/lib/systemd/system").join(UNIT)).expect("the unit");
    let here = root.path(UNIT);
    let program = root.path(INSTALLED);
    fs::write(&here, unit.replace(INSTALLED, program.to_str().expect("UTF-8"))).expect("a unit");
    output(Command::new("systemd-analyze").arg("verify").arg(&here));
}

#[test]
fn the_rpm_has_the_same_files() {
    let rpm = package("cargo-generate-rpm", &["generate-rpm", "--payload-compress", "none"], "iotstream.rpm");
    let query = |what: &[&str]| output(Command::new("rpm").args(["-q", "-p"]).args(what).arg(&rpm));
    let files = query(&["--list"]).lines().map(str::to_owned).collect::<BTreeSet<_>>();
    let more = ["/usr/share/licenses/iotstream/LICENSE", "/usr/share/zsh/site-functions/_iotstream"];
    assert_eq!(files, files_with(pages(""), &more), "left is what is in it");
    assert!(query(&["--requires"]).contains("libc.so.6"));
    assert!(query(&["--recommends"]).contains("openssh-clients"));
    let script = |name: &str| fs::read_to_string(source(".packaging/rpm").join(name)).expect("the script");
    let (post, preun) = (script("post"), script("preun"));
    let expected = format!("postinstall scriptlet:\n{post}\npreuninstall scriptlet:\n{preun}");
    assert_eq!(query(&["--scripts"]).trim_end(), expected.trim_end());
}
