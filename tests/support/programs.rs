use std::env;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;

/// The iotstream that the tests run: the one that IOTSTREAM_BIN names, or cargo's build.
pub fn iotstream() -> &'static str {
    static PROGRAM: LazyLock<String> = LazyLock::new(|| match env::var("IOTSTREAM_BIN") {
        Ok(path) => std::path::absolute(path).unwrap().into_os_string().into_string().unwrap(),
        Err(_) => env!("CARGO_BIN_EXE_iotstream").to_owned(),
    });
    &PROGRAM
}

/// The path of an installed program.
///
/// # Panics
/// When it is not installed, naming the Debian package that has it.
pub fn need(program: &str) -> PathBuf {
    let package = match program {
        "ssh" | "scp" | "sftp" | "ssh-keygen" => "openssh-client",
        "sshd" => "openssh-server",
        "dropbear" | "dropbearkey" => "dropbear-bin",
        "systemd-analyze" | "systemd-socket-activate" => "systemd",
        "nc" => "netcat-openbsd",
        "unshare" | "setpriv" => "util-linux",
        "Xtigervnc" => "tigervnc-standalone-server",
        "vncviewer" => "tigervnc-viewer",
        "xfreerdp" => "freerdp2-x11",
        "freerdp-shadow-cli" => "freerdp2-shadow-x11",
        "borg" => "borgbackup",
        "plink" => "putty-tools",
        other => other,
    };
    let path = env::var_os("PATH").unwrap_or_default();
    let beyond = ["/usr/sbin", "/usr/local/sbin", "/sbin"].map(PathBuf::from);
    env::split_paths(&path)
        .chain(beyond)
        .map(|dir| dir.join(program))
        .find(|path| path.is_file())
        .unwrap_or_else(|| panic!("{program} is not installed: apt-get install {package}, or run .ci/setup"))
}

/// The path of a program that .ci/python installs from PyPI.
///
/// # Panics
/// When it is not there.
pub fn python_program(program: &str) -> PathBuf {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/tools/python/bin").join(program);
    assert!(path.exists(), "{} is not there: run .ci/setup", path.display());
    path
}
