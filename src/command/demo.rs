//! A self-contained demo: a hub and a device in this process, and a session of the system's ssh through them.

use std::fmt::Write as _;
use std::fs;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::process::{ExitCode, Stdio};

use anyhow::Context as _;
use tokio::net::TcpListener;
use tokio::process::Command;
use tokio::sync::mpsc;

use crate::agent::{self, Address, Config, Target};
use crate::cli;
use crate::emulator::{Emulator, Options};
use crate::error::{Error, Result};
use crate::net::{Network, Proxies, Tls};
use crate::platform::RUNNER;
use crate::platform::child::shell_status;
use crate::platform::private_file::{Access, create_directories};
use crate::platform::{process, signals};
use crate::secret::Secret;
use crate::ssh::config::Helper;

/// The device's id, and ssh's name for it.
const DEVICE: &str = "demo-device";

/// The command on the device if the user gives none.
const SHOW: &str = "echo \"this is the device, reached through Azure: $(uname -srm), $(id -un)\"";

pub(super) fn run(args: &cli::Demo) -> Result<ExitCode> {
    let ssh = program("ssh", "openssh-client")?;
    let keygen = program("ssh-keygen", "openssh-client")?;
    let sshd = program("sshd", "openssh-server")?;
    let directory = tempfile::Builder::new().prefix("iotstream-demo-").tempdir();
    let directory = directory.map_err(Error::local_io("a temporary directory"))?;
    let runtime = super::runtime()?;
    runtime.block_on(async {
        let stop = signals::hangup()?;
        // The terminal sends Ctrl-C to ssh as well, and ssh acts on it.
        let _interrupts = signals::Interrupts::listen()?;
        let demo = Demo::prepare(directory.path(), &keygen, &sshd, args.relay).await?;
        let hub = demo.hub;
        let (orders, taken) = mpsc::channel(1);
        let agent = tokio::spawn(agent::serve(demo.agent, demo.network, None, taken));
        tokio::spawn(hub.run(std::future::pending()));
        let mut ssh = ssh_command(&ssh, directory.path(), args);
        let mut child = ssh.spawn().map_err(Error::local_io("ssh"))?;
        let status = tokio::select! {
            status = child.wait() => status,
            () = stop => {
                // It may have ended just now.
                let _ = child.start_kill();
                child.wait().await
            }
        };
        let status = status.map_err(Error::local_io("ssh"))?;
        // sshd ends with its stream, so that nothing keeps running after the demo.
        drop(orders);
        agent.await.map_err(|error| Error::Bug(error.to_string()))??;
        let code = shell_status(status);
        Ok(ExitCode::from(u8::try_from(code.unwrap_or(255)).unwrap_or(255)))
    })
}

/// A hub and a device that are ready to run.
struct Demo {
    hub: Emulator,
    agent: Config,
    network: Network,
}

impl Demo {
    async fn prepare(directory: &Path, keygen: &Path, sshd: &Path, is_relay: bool) -> Result<Self> {
        let listen = || async {
            TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
                .await
                .map_err(Error::local_io("listening on 127.0.0.1"))
        };
        let (https, mqtts) = (listen().await?, listen().await?);
        let hub_directory = directory.join("hub");
        let mut options = Options { dir: hub_directory.clone(), ..Options::default() };
        let names = if is_relay { &mut options.relay_entities } else { &mut options.devices };
        names.push(DEVICE.into());
        let hub = Emulator::open(https, mqtts, options)?;
        let config = write_ssh_files(directory, keygen).await?;
        let command = vec![
            sshd.display().to_string(),
            "-i".into(),
            "-f".into(),
            config.display().to_string(),
            "-E".into(),
            directory.join("sshd.log").display().to_string(),
        ];
        let file =
            if is_relay { format!("relay/{DEVICE}.listen.conn") } else { format!("devices/{DEVICE}.conn") };
        let file = hub_directory.join(file);
        let text = fs::read_to_string(&file).map_err(Error::local_io(file.display().to_string()))?;
        let target = Target::new("ssh", Address::Command(command));
        let agent = Config::new(&file.display().to_string(), &Secret::new(text), vec![target])?;
        let network = Network::new(Tls::new(Some(&hub_directory.join("ca.pem")))?, Proxies::none());
        Ok(Self { hub, agent, network })
    }
}

/// Writes keys and configurations for ssh and sshd, independent of the system's. Returns the path of sshd's.
async fn write_ssh_files(directory: &Path, keygen: &Path) -> Result<PathBuf> {
    for name in ["host_key", "user_key"] {
        let output = Command::new(keygen)
            .args(["-q", "-t", "ed25519", "-N", "", "-C", DEVICE, "-f"])
            .arg(directory.join(name))
            .stdin(Stdio::null())
            .output()
            .await
            .map_err(Error::local_io("ssh-keygen"))?;
        if !output.status.success() {
            let said = String::from_utf8_lossy(&output.stderr);
            return Err(anyhow::anyhow!("ssh-keygen failed: {}", said.trim()).into());
        }
    }
    privilege_separation_directory()?;
    let at = |name: &str| directory.join(name).display().to_string();
    let read = |name: &str| fs::read_to_string(at(name)).map_err(Error::local_io(at(name)));
    let write = |name: &str, text: String| fs::write(at(name), text).map_err(Error::local_io(at(name)));
    write("authorized_keys", read("user_key.pub")?)?;
    write("known_hosts", format!("{DEVICE} {}", read("host_key.pub")?))?;
    let mut sshd = String::new();
    for (key, value) in [
        ("HostKey", at("host_key")),
        ("AuthorizedKeysFile", at("authorized_keys")),
        // sshd would refuse files below /tmp, which everybody can write.
        ("StrictModes", "no".into()),
        ("PasswordAuthentication", "no".into()),
        ("KbdInteractiveAuthentication", "no".into()),
        ("PermitRootLogin", "prohibit-password".into()),
        ("UsePAM", "no".into()),
        ("PidFile", "none".into()),
        ("PrintMotd", "no".into()),
        ("PrintLastLog", "no".into()),
        ("Subsystem", "sftp internal-sftp".into()),
    ] {
        let _ = writeln!(sshd, "{key} {value}");
    }
    write("sshd_config", sshd)?;
    let helper = std::env::current_exe().context("cannot find this program's own file")?;
    let helper = Helper::new(RUNNER, &helper, Some(&directory.join("hub/profiles.toml")))?;
    let mut ssh = format!("Host {DEVICE}\n");
    for (key, value) in [
        ("ProxyCommand", helper.command("--proxy=none").unwrap_or_default()),
        ("HostKeyAlias", DEVICE.into()),
        ("UserKnownHostsFile", at("known_hosts")),
        ("IdentityFile", at("user_key")),
        ("IdentitiesOnly", "yes".into()),
        ("LogLevel", "ERROR".into()),
    ] {
        let _ = writeln!(ssh, "    {key} {value}");
    }
    write("ssh_config", ssh)?;
    Ok(directory.join("sshd_config"))
}

/// sshd requires its privilege separation directory, which Debian creates only when the service starts.
fn privilege_separation_directory() -> Result<()> {
    let directory = Path::new("/run/sshd");
    if !process::is_root() || directory.exists() {
        return Ok(());
    }
    create_directories(directory, Access::Everyone).map_err(Error::local_io("/run/sshd"))
}

fn ssh_command(ssh: &Path, directory: &Path, args: &cli::Demo) -> Command {
    let mut command = Command::new(ssh);
    // The user's settings for other hubs do not apply.
    for (name, _) in
        std::env::vars_os().filter(|(name, _)| name.as_encoded_bytes().starts_with(b"IOTSTREAM_"))
    {
        command.env_remove(name);
    }
    if args.relay {
        command.env("IOTSTREAM_PROFILE", "relay");
    }
    // What the helper learns of this hub is of no use after the demo.
    command.env("XDG_STATE_HOME", directory.join("state"));
    command.arg("-F").arg(directory.join("ssh_config")).arg(DEVICE);
    if args.ssh_args.is_empty() {
        // The helper prints each phase and its time.
        command.arg(SHOW).env("IOTSTREAM_VERBOSE", "1");
    } else {
        command.args(&args.ssh_args);
    }
    command
}

/// Finds a program in PATH, or in the directories of programs that are not for users.
fn program(name: &str, package: &'static str) -> Result<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let others = ["/usr/sbin", "/usr/local/sbin", "/sbin", "/usr/libexec", "/usr/lib/ssh"].map(PathBuf::from);
    std::env::split_paths(&path)
        .chain(others)
        .map(|directory| directory.join(name))
        .find(|file| file.is_absolute() && file.is_file())
        .ok_or_else(|| Error::MissingProgram { program: name.into(), package })
}
