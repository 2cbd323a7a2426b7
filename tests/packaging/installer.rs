//! `install.sh`, with a release of a script in place of the program, from a server on loopback.

use std::fs;
use std::io::{Read, Write};
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use crate::support::{
    Finished, Sandbox, closed_port, finish, http_answer, http_request, mode, need, serve, serve_tls,
    set_mode, sha256,
};

const INSTALLER: &str = include_str!("../../install.sh");
const VERSION: &str = "9.8.7";
/// The tools that the installer needs on any system.
const TOOLS: [&str; 12] =
    ["awk", "cat", "chmod", "cp", "dirname", "gzip", "mkdir", "mktemp", "mv", "rm", "sh", "uname"];

fn source(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(name)
}

/// What a server has of a release.
#[derive(Clone)]
struct Release {
    sums: String,
    /// The archive's name and content.
    archive: (String, Vec<u8>),
    /// How much of the archive arrives.
    sent: usize,
}

impl Release {
    /// The archive for a target, in the layout of `.ci/release`.
    fn of(sandbox: &Sandbox, target: &str) -> Self {
        let name = format!("iotstream-{VERSION}-{target}");
        let directory = sandbox.path("release").join(&name);
        fs::create_dir_all(&directory).unwrap();
        let program = directory.join("iotstream");
        fs::write(&program, format!("#!/bin/sh\necho 'iotstream {VERSION}'\n")).unwrap();
        set_mode(&program, 0o755);
        for (section, pages) in [("man1", "*.1"), ("man5", "*.5"), ("man7", "*.7")] {
            fs::create_dir_all(directory.join("man").join(section)).unwrap();
            let copy = format!("cp man/{pages} \"$0/man/{section}/\"");
            finish(Command::new("sh").args(["-c", &copy]).arg(&directory).current_dir(source("")))
                .succeeded();
        }
        finish(Command::new("cp").arg("-r").arg(source("completions")).arg(&directory)).succeeded();
        let archive = sandbox.path("release").join(format!("{name}.tar.gz"));
        finish(
            Command::new("tar").arg("-czf").arg(&archive).arg("-C").arg(sandbox.path("release")).arg(&name),
        )
        .succeeded();
        let content = fs::read(&archive).unwrap();
        let sums = format!("{}  ./other.tar.gz\n{}  {name}.tar.gz\n", "0".repeat(64), sha256(&content));
        Self { sums, sent: content.len(), archive: (format!("{name}.tar.gz"), content) }
    }

    fn answer(&self, stream: &mut (impl Read + Write)) {
        let Some(head) = http_request(stream) else { return };
        let path = head.split(' ').nth(1).unwrap();
        if path == "/files/SHA256SUMS" {
            http_answer(stream, "200 OK", "", &self.sums);
        } else if path == format!("/files/{}", self.archive.0) {
            let head = format!(
                "HTTP/1.1 200 OK\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
                self.archive.1.len()
            );
            // The client may have disconnected.
            let _ = stream.write_all(head.as_bytes());
            let _ = stream.write_all(&self.archive.1[..self.sent]).and_then(|()| stream.flush());
        } else {
            http_answer(stream, "404 Not Found", "", "");
        }
    }

    fn serve(self) -> String {
        let release = Arc::new(self);
        let port = serve(move |mut stream| release.answer(&mut stream));
        format!("http://127.0.0.1:{port}/files")
    }
}

/// A PATH with these programs and no others.
fn only(sandbox: &Sandbox, programs: &[&str]) -> PathBuf {
    let directory = sandbox.path("programs");
    fs::create_dir_all(&directory).unwrap();
    for program in TOOLS.iter().chain(programs) {
        symlink(need(program), directory.join(program)).unwrap();
    }
    directory
}

/// A PATH whose `uname` names another system.
fn system(sandbox: &Sandbox, name: &str, machine: &str) -> String {
    let directory = sandbox.path("system");
    fs::create_dir_all(&directory).unwrap();
    sandbox.write_script("system/uname", &format!("[ \"$1\" = -s ] && echo '{name}' || echo '{machine}'"));
    format!("{}:{}", directory.display(), std::env::var("PATH").unwrap())
}

/// The installer as the release script fills it in.
fn installer(sandbox: &Sandbox) -> PathBuf {
    let filled = INSTALLER
        .replace("@VERSION@", VERSION)
        .replace("@REPOSITORY@", "https://example.invalid/someone/something");
    sandbox.write("install.sh", filled)
}

fn install(sandbox: &Sandbox, from: &str) -> Command {
    let mut command = sandbox.command(need("sh"));
    command.arg(installer(sandbox)).args(["--from", from]);
    command
}

/// Fails with this message, and installs nothing.
#[track_caller]
fn refuses(sandbox: &Sandbox, command: &mut Command, message: &str) {
    let done = finish(command);
    assert_eq!(done.status.code(), Some(1), "{}", done.stderr);
    assert!(done.stderr.contains(message), "{}", done.stderr);
    assert_eq!(installed(sandbox), "", "{}", done.stderr);
}

/// The files below the user's ~/.local.
fn installed(sandbox: &Sandbox) -> String {
    let find = "[ ! -d .local ] || find .local -type f | LC_ALL=C sort";
    finish(sandbox.command("sh").args(["-c", find])).succeeded().text().to_owned()
}

#[track_caller]
fn is_installed(sandbox: &Sandbox, done: Finished) -> String {
    let done = done.succeeded();
    let program = sandbox.path(".local/bin/iotstream");
    assert_eq!(mode(&program), 0o755);
    let said = finish(Command::new(&program).arg("--version"));
    assert_eq!(said.text(), format!("iotstream {VERSION}\n"));
    done.text().to_owned()
}

const HERE: &str = "x86_64-unknown-linux-musl";

#[test]
fn it_installs_the_program_its_pages_and_its_completions() {
    let sandbox = Sandbox::new();
    let from = Release::of(&sandbox, HERE).serve();
    let path = system(&sandbox, "Linux", "x86_64");
    let said = is_installed(&sandbox, finish(install(&sandbox, &from).env("PATH", &path)));
    assert!(said.contains(&format!("{from}/SHA256SUMS\n")), "{said}");
    assert!(said.contains("/bin/iotstream --repo someone/something\n"), "{said}");
    assert!(said.contains("add "), "{said}");
    let files = installed(&sandbox);
    let pages = fs::read_dir(source("man")).unwrap().count();
    assert_eq!(files.lines().count(), 1 + pages + 3, "{files}");
    for file in [
        "share/bash-completion/completions/iotstream",
        "share/fish/vendor_completions.d/iotstream.fish",
        "share/man/man1/iotstream.1",
        "share/man/man5/iotstream-profiles.5",
        "share/man/man7/iotstream-recipes.7",
        "share/zsh/site-functions/_iotstream",
    ] {
        assert!(files.lines().any(|line| line == format!(".local/{file}")), "{file} is not in {files}");
    }
    // Again, over itself, with the directory in PATH.
    let path = format!("{}:{path}", sandbox.path(".local/bin").display());
    let said = is_installed(&sandbox, finish(install(&sandbox, &from).env("PATH", path)));
    assert!(!said.contains("add "), "{said}");
    assert_eq!(installed(&sandbox), files);
}

#[test]
fn it_installs_below_another_prefix() {
    let sandbox = Sandbox::new();
    let from = Release::of(&sandbox, HERE).serve();
    let path = system(&sandbox, "Linux", "x86_64");
    finish(install(&sandbox, &from).args(["--prefix", "a b/c"]).env("PATH", path)).succeeded();
    assert_eq!(installed(&sandbox), "");
    assert!(sandbox.path("a b/c/bin/iotstream").exists());
    assert!(sandbox.path("a b/c/share/man/man1/iotstream.1").exists());
}

#[test]
fn it_uses_wget_where_there_is_no_curl_and_any_of_the_checksum_programs() {
    for programs in [["wget", "sha256sum"], ["curl", "shasum"], ["curl", "openssl"]] {
        let sandbox = Sandbox::new();
        let from = Release::of(&sandbox, HERE).serve();
        let path = only(&sandbox, &[programs[0], programs[1], "tar", "perl"]);
        is_installed(&sandbox, finish(install(&sandbox, &from).env("PATH", path)));
    }
}

#[test]
fn it_chooses_the_archive_of_the_system() {
    for (name, machine, target) in [
        ("Linux", "aarch64", "aarch64-unknown-linux-musl"),
        ("Linux", "armv7l", "armv7-unknown-linux-musleabihf"),
        ("Darwin", "arm64", "aarch64-apple-darwin"),
        ("Darwin", "x86_64", "x86_64-apple-darwin"),
    ] {
        let sandbox = Sandbox::new();
        let from = Release::of(&sandbox, target).serve();
        let path = system(&sandbox, name, machine);
        is_installed(&sandbox, finish(install(&sandbox, &from).env("PATH", path)));
    }
}

#[test]
fn it_refuses_a_system_without_a_build() {
    for (name, machine, message) in [
        ("Linux", "riscv64", "no build for Linux on riscv64"),
        ("MINGW64_NT-10.0", "x86_64", "use install.ps1"),
    ] {
        let sandbox = Sandbox::new();
        let path = system(&sandbox, name, machine);
        let from = format!("http://127.0.0.1:{}/files", closed_port());
        refuses(&sandbox, install(&sandbox, &from).env("PATH", path), message);
    }
}

#[test]
fn it_refuses_an_archive_with_another_checksum() {
    for tool in ["sha256sum", "openssl"] {
        let sandbox = Sandbox::new();
        let mut release = Release::of(&sandbox, HERE);
        let last = release.archive.1.last_mut().unwrap();
        *last ^= 1;
        let from = release.serve();
        let path = only(&sandbox, &["curl", "tar", tool]);
        refuses(
            &sandbox,
            install(&sandbox, &from).env("PATH", path),
            "the checksum of iotstream-9.8.7-x86_64",
        );
    }
}

#[test]
fn it_refuses_an_archive_without_a_checksum() {
    let sandbox = Sandbox::new();
    let mut release = Release::of(&sandbox, HERE);
    // The sum of a file whose name only ends in the archive's.
    release.sums = release.sums.replace("  iotstream", "  not-iotstream");
    let path = system(&sandbox, "Linux", "x86_64");
    let from = release.serve();
    refuses(&sandbox, install(&sandbox, &from).env("PATH", path), "has no iotstream-9.8.7-x86_64");
}

#[test]
fn it_refuses_a_download_that_was_cut() {
    for client in ["curl", "wget"] {
        let sandbox = Sandbox::new();
        let mut release = Release::of(&sandbox, HERE);
        release.sent /= 2;
        let path = only(&sandbox, &[client, "sha256sum", "tar"]);
        let from = release.serve();
        refuses(&sandbox, install(&sandbox, &from).env("PATH", path), "cannot download http://127.0.0.1");
    }
}

#[test]
fn it_says_which_program_is_missing() {
    for (programs, message) in [
        (["curl", "sha256sum"], "tar is not installed"),
        (["tar", "sha256sum"], "neither curl nor wget is installed"),
        (["tar", "curl"], "none of sha256sum, shasum and openssl is installed"),
    ] {
        let sandbox = Sandbox::new();
        let from = Release::of(&sandbox, HERE).serve();
        let path = only(&sandbox, &programs);
        refuses(&sandbox, install(&sandbox, &from).env("PATH", path), message);
    }
}

#[test]
fn it_stays_with_https_when_it_starts_with_https() {
    let sandbox = Sandbox::new();
    let release = Arc::new(Release::of(&sandbox, HERE));
    let plain = Release::clone(&release).serve();
    let (port, certificate) = serve_tls(&sandbox, {
        let release = release.clone();
        move |mut stream| release.answer(&mut stream)
    });
    let path = only(&sandbox, &["curl", "sha256sum", "tar"]);
    let mut command = install(&sandbox, &format!("https://localhost:{port}/files"));
    refuses(&sandbox, command.env("PATH", &path), "cannot download https://localhost");
    is_installed(&sandbox, finish(command.env("CURL_CA_BUNDLE", &certificate)));

    let sandbox = Sandbox::new();
    let (port, certificate) = serve_tls(&sandbox, move |mut stream| {
        let Some(head) = http_request(&mut stream) else { return };
        let name = head.split(' ').nth(1).unwrap().rsplit('/').next().unwrap();
        http_answer(&mut stream, "302 Found", &format!("Location: {plain}/{name}\r\n"), "");
    });
    let mut command = install(&sandbox, &format!("https://localhost:{port}/files"));
    command.env("PATH", path).env("CURL_CA_BUNDLE", certificate);
    refuses(&sandbox, &mut command, "cannot download https://localhost");
}

#[test]
fn a_copy_that_belongs_to_no_release_says_so() {
    let sandbox = Sandbox::new();
    let copy = source("install.sh");
    refuses(&sandbox, sandbox.command("sh").arg(&copy), "this copy belongs to no release");
    let mut command = sandbox.command("sh");
    refuses(&sandbox, command.arg(&copy).args(["--version", VERSION]), "this copy belongs to no release");
    // With both, it is as good as a release's.
    let from = Release::of(&sandbox, HERE).serve();
    let path = system(&sandbox, "Linux", "x86_64");
    is_installed(&sandbox, finish(command.args(["--from", &from]).env("PATH", path)));
}

#[test]
fn a_script_that_was_cut_does_nothing() {
    let sandbox = Sandbox::new();
    let from = Release::of(&sandbox, HERE).serve();
    let whole = fs::read_to_string(installer(&sandbox)).unwrap();
    let path = system(&sandbox, "Linux", "x86_64");
    let lines: Vec<&str> = whole.split_inclusive('\n').collect();
    for count in 0..lines.len() {
        let cut = sandbox.write("cut.sh", lines[..count].concat());
        finish(sandbox.command("sh").arg(cut).args(["--from", &from]).env("PATH", &path));
        assert_eq!(installed(&sandbox), "", "after {count} lines");
    }
}
