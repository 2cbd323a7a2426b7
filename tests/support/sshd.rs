use std::fs;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::{LIMIT, Process, Sandbox, Stdin, need, random, run};

/// Keys and settings of a server and its clients; the system's own are neither read nor written.
pub struct SshFiles {
    pub sshd: PathBuf,
    pub config: PathBuf,
    user_key: PathBuf,
    known_hosts: PathBuf,
}

/// The name of the host key in known_hosts, for any name or port that a client uses.
const HOST_KEY_ALIAS: &str = "the-device";

impl SshFiles {
    pub fn make(sandbox: &Sandbox) -> Self {
        let key = |name: &str| {
            let path = sandbox.path(name);
            let mut command = sandbox.command(need("ssh-keygen"));
            command.args(["-q", "-t", "ed25519", "-N", "", "-C", name, "-f"]).arg(&path);
            run(&mut command, Stdin::Ends(b""), LIMIT).succeeded();
            let public = fs::read_to_string(path.with_extension("pub")).unwrap();
            (path, public)
        };
        let (host_key, host_public) = key("host_key");
        let (user_key, user_public) = key("user_key");
        let authorized_keys = sandbox.write("authorized_keys", user_public);
        let known_hosts = sandbox.write("known_hosts", format!("{HOST_KEY_ALIAS} {host_public}"));
        if rustix::process::getuid().is_root() {
            // sshd's directory for privilege separation; only root's sshd needs it.
            fs::DirBuilder::new().recursive(true).mode(0o755).create("/run/sshd").unwrap();
        }
        // bash reads the user's ~/.bashrc in a session of ssh, unless another shell has started it. What that does and says
        // is not ours.
        let config = format!(
            "HostKey {}\nAuthorizedKeysFile {}\nSetEnv SHLVL=1 {}\n\
             UsePAM no\nStrictModes no\nPermitRootLogin prohibit-password\nPasswordAuthentication no\n\
             KbdInteractiveAuthentication no\nPidFile none\nUseDNS no\nPrintMotd no\nMaxStartups 100\n\
             Subsystem sftp internal-sftp\n",
            host_key.display(),
            authorized_keys.display(),
            sandbox.mark(),
        );
        let config = sandbox.write("sshd_config", config);
        Self { sshd: need("sshd"), config, user_key, known_hosts }
    }
}

/// A real sshd on a loopback port.
pub struct Sshd {
    pub process: Process,
    pub port: u16,
}

impl Sshd {
    pub fn start(sandbox: &Sandbox, files: &SshFiles) -> Self {
        Self::start_with(sandbox, &files.sshd, &files.config)
    }

    /// `program` with this configuration.
    pub fn start_with(sandbox: &Sandbox, program: &Path, config: &Path) -> Self {
        // Below the ports that the system assigns; another server may still have taken the first choice.
        for _ in 0..20 {
            let port = 20_000 + u16::from_le_bytes(random(2).try_into().unwrap()) % 10_000;
            if std::net::TcpListener::bind(("127.0.0.1", port)).is_err() {
                continue;
            }
            let mut command = sandbox.command(program);
            command.args(["-D", "-e", "-f"]).arg(config);
            command.args(["-o", &format!("ListenAddress=127.0.0.1:{port}")]);
            let mut process = Process::start("sshd", &mut command);
            process.says("Server listening on", 1, Duration::from_secs(10));
            return Self { process, port };
        }
        panic!("no free port for sshd");
    }
}

/// A client configuration with `proxy_command` for every host.
pub fn ssh_config(sandbox: &Sandbox, files: &SshFiles, name: &str, proxy_command: &str) -> PathBuf {
    let me = run(sandbox.command("id").arg("-un"), Stdin::Ends(b""), LIMIT).succeeded();
    let config = format!(
        "Host *\n  ProxyCommand {proxy_command}\n  User {}\n  IdentityFile {}\n  IdentitiesOnly yes\n\
         \x20 IdentityAgent none\n  UserKnownHostsFile {}\n  GlobalKnownHostsFile none\n  HostKeyAlias {HOST_KEY_ALIAS}\n\
         \x20 StrictHostKeyChecking yes\n  CheckHostIP no\n  BatchMode yes\n  LogLevel ERROR\n",
        me.text().trim(),
        files.user_key.display(),
        files.known_hosts.display(),
    );
    sandbox.write(name, config)
}
