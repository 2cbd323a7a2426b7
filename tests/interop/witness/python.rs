//! The venv that the Python peers run in, with pinned packages; made once.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;
use std::time::Duration;

use crate::support::{Process, Sandbox};

const INSTALLING: Duration = Duration::from_secs(600);
const MISSING: &str = "the witnesses need Python 3.11 or newer with venv and pip \
                       (Debian, Ubuntu: apt install python3-venv; Fedora: dnf install python3), or a ready \
                       venv named by IOTSTREAM_TEST_VENV";

fn scripts() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/witness")
}

/// A command that runs one of the Python peers.
pub fn witness(sandbox: &Sandbox, script: &str) -> Command {
    static PYTHON: OnceLock<PathBuf> = OnceLock::new();
    let mut command = sandbox.command(PYTHON.get_or_init(python));
    // Bytecode would be written into the source tree.
    command.arg("-B").arg(scripts().join(script)).env("PYTHONUNBUFFERED", "1");
    command
}

fn python() -> PathBuf {
    let given = std::env::var_os("IOTSTREAM_TEST_VENV").map(PathBuf::from);
    let venv = given.clone().unwrap_or_else(|| target_directory().join("witness-venv"));
    let python = venv.join("bin/python");
    if given.is_some() && python.exists() {
        return python;
    }

    // Several test processes may get here at once; the lock ends with the file handle.
    let lock = File::create(venv.with_extension("lock")).expect("the venv's directory is writable");
    lock.lock().expect("a lock file can be locked");
    let requirements = scripts().join("requirements.txt");
    let wanted = fs::read(&requirements).expect("requirements.txt is beside the witnesses");
    let installed = venv.join("installed-requirements.txt");
    if fs::read(&installed).is_ok_and(|found| found == wanted) {
        return python;
    }
    run("python3 -m venv", Command::new("python3").args(["-m", "venv", "--clear"]).arg(&venv));
    let mut pip = Command::new(&python);
    pip.args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--requirement"]);
    run("pip install", pip.arg(&requirements));
    fs::write(installed, wanted).expect("the venv is writable");
    python
}

fn target_directory() -> PathBuf {
    let tmp = Path::new(env!("CARGO_TARGET_TMPDIR"));
    tmp.parent().expect("cargo's tmp is in its target directory").to_owned()
}

fn run(name: &str, command: &mut Command) {
    if let Err(error) = Command::new(command.get_program()).arg("--version").output() {
        panic!("{name}: {error}; {MISSING}");
    }
    let done = Process::start(name, command).finish(INSTALLING);
    assert!(done.status.success(), "{name} failed: {}\n{MISSING}", done.stderr);
}
