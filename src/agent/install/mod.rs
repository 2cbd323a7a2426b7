//! The file that makes the agent a service: a systemd unit, hardened as far as its targets allow, or what other systems
//! have for it.

mod batch;
mod property_list;

use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::time::Duration;

use self::batch::batch;
use self::property_list::property_list;
use super::config::{Document, RelayTable, STOP_TIMEOUT, read_document};
use crate::error::{Error, Result};
use crate::platform::ServiceFile;
use crate::platform::private_file::is_readable_by_everyone;
use crate::text::unit::{ISOLATED, UNPRIVILEGED, quoted};

/// The unit's name.
const UNIT: &str = ServiceFile::Unit.name();

/// The user of a service with a principal in the IoT Identity Service, which knows its clients by their uid. A dynamic user
/// has another at each start.
const USER: &str = "iotstream";

/// The connection string's file where the configuration names no credential.
const CONNECTION_STRING: &str = "/etc/iotstream/connection-string";
const PROVISIONING_KEY: &str = "/etc/iotstream/provisioning-key";
/// The principal's file, among those that the IoT Identity Service reads at its start.
const PRINCIPAL: &str = "/etc/aziot/identityd/config.d/iotstream.toml";
/// The directory that `LogsDirectory=` creates.
pub(in crate::agent) const LOGS: &str = "/var/log/iotstream";
/// How long after `stop-timeout` systemd kills the agent.
const STOP_SLACK: Duration = Duration::from_secs(15);

/// A user without a principal.
const DYNAMIC_USER: &str = "DynamicUser=yes\n";

/// A user with a principal, in the groups of the sockets, with what a dynamic user implies. Group and uid hold in spite of
/// `PrivateUsers=`: the kernel keeps both, and shows the socket's server the real uid.
const PRINCIPAL_USER: &str = "\
User=iotstream
SupplementaryGroups=aziotid aziotks
PrivateTmp=yes
RemoveIPC=yes
";

/// The files of an agent, which needs the sockets of its targets alone.
const FILES: &str = "ProtectHome=yes\nProtectSystem=strict\n";

/// The restrictions that remain if a target is a command, such as `sshd -i`, because they apply to its sessions too. Each was
/// tried under systemd 252 with sessions that log in with and without a terminal, scp to any path, become another user
/// with su and sudo, and restart a service. These break such sessions:
///
/// - `User=`, `DynamicUser=`, `NoNewPrivileges=`, `PrivateUsers=`, the filter `@privileged`: su and sudo
/// - the filters `@resources` and `@mount` with its chroot, and without `CAP_SYS_CHROOT`: any login; without `CAP_CHOWN`:
///   one with a terminal
/// - `ProtectSystem=`, `ProtectHome=`, `PrivateTmp=`; `PrivateDevices=` for what is below /dev; `ProtectKernelModules=`
///   for /usr/lib/modules, and without the capability it adds nothing: scp
/// - `UMask=`: modes of new files
///
/// These break what such users do next:
///
/// - `RestrictSUIDSGID=`: scp -p and rsync of a group's directories, and upgrades of packages
/// - `ProtectProc=`, `ProcSubset=`: ps, which shows neither other users' processes nor memory
/// - `MemoryDenyWriteExecute=`: node, java and dotnet
/// - `DevicePolicy=`, and `ProtectClock=`, which implies it: serial lines
/// - `ProtectHostname=`: prompts, which keep showing an old name; only `CAP_SYS_ADMIN` may change it anyway
/// - without `CAP_KILL`, `CAP_NET_RAW`, `CAP_SYS_RESOURCE`: kill of another user's process, ping, the limits of a login
///
/// `CAP_AUDIT_WRITE` is for kernels with auditing. A refused system call returns an error, since no program expects to be
/// killed.
const SESSIONS: &str = "\
CapabilityBoundingSet=CAP_AUDIT_WRITE CAP_CHOWN CAP_DAC_OVERRIDE CAP_FOWNER CAP_FSETID CAP_KILL
CapabilityBoundingSet=CAP_NET_BIND_SERVICE CAP_NET_RAW CAP_SETFCAP CAP_SETGID CAP_SETUID
CapabilityBoundingSet=CAP_SYS_CHROOT CAP_SYS_NICE CAP_SYS_RESOURCE
KeyringMode=private
LockPersonality=yes
PrivateMounts=yes
ProtectControlGroups=yes
ProtectKernelLogs=yes
ProtectKernelTunables=yes
RestrictAddressFamilies=AF_INET AF_INET6 AF_UNIX AF_NETLINK
RestrictNamespaces=yes
RestrictRealtime=yes
SystemCallArchitectures=native
SystemCallErrorNumber=EPERM
SystemCallFilter=~@clock @cpu-emulation @debug @module @mount @obsolete @raw-io @reboot @swap
SystemCallFilter=chroot
";

/// At a restart, whose stop job says so, the agent leaves the hub and serves its streams to their end beside its successor;
/// any other stop ends them all. Only the main process is told to stop. The plus sign gives `systemctl` root's access to
/// systemd, which needs no D-Bus.
const RESTART: &str = "\
# A restart keeps the live streams, a stop ends them.
KillMode=process
ExecStop=+-/bin/sh -c 'case $$(systemctl list-jobs --plain --no-legend %n) in *\" restart \"*) kill -USR2 $MAINPID;; esac'
ExecStopPost=+-/bin/sh -c 'case $$(systemctl list-jobs --plain --no-legend %n) in *\" stop \"*) trap \"\" TERM; systemctl kill %n; sleep 1; exec systemctl kill --signal=KILL %n;; esac'
";

/// What starts before the agent.
const SOCKETS: &str = "\
Wants=aziot-identityd.socket aziot-keyd.socket
After=aziot-identityd.socket aziot-keyd.socket
";

/// The advice of a unit with a connection string.
const MODULE: &str = "\
# At an IoT Hub, use the connection string of a module of its own: the device's application may use the device's.
#   az iot hub module-identity create -n HUB -d DEVICE -m iotstream
";

/// The directory of the control socket.
const RUNTIME: &str = "/run/iotstream";
const RUNTIME_DIRECTORY: &str = "RuntimeDirectory=iotstream\n";
/// Not with sshd's directory, which other units share.
const RUNTIME_DIRECTORY_MODE: &str = "RuntimeDirectoryMode=0700\n";

/// sshd's privilege separation directory. Debian's ssh.service creates it, but need not be running.
const SSHD_DIRECTORY: &str = "RuntimeDirectory=sshd\nRuntimeDirectoryPreserve=yes\n";

/// What it takes to run the agent as a service.
#[derive(Debug)]
pub struct Installation {
    /// The content of the service's file.
    pub file: String,
    /// The commands to run as root before the first start; may be empty.
    pub preparation: String,
}

/// Returns the file of `kind` that runs `program` with the configuration at `config`, and what to prepare for it. `aziot`
/// demands an identity of the IoT Identity Service.
///
/// # Errors
/// When the configuration cannot be read, has another identity, or the service's user could not read it.
pub fn install(kind: ServiceFile, program: &Path, config: &Path, aziot: bool) -> Result<Installation> {
    let (_, document) = read_document(config, &mut Vec::new())?;
    if aziot && document.identity.is_none() {
        let hint = "set identity = \"aziot\" in place of another credential";
        return Err(Error::file(config, "it has no identity", hint));
    }
    let stop = document.stop_timeout.map_or(STOP_TIMEOUT, |limit| limit.0) + STOP_SLACK;
    // With a command target the service runs as root.
    let runs_as_root = document.target.iter().any(|target| target.get_ref().command.is_some());
    let unprepared = |file| Installation { file, preparation: String::new() };
    match kind {
        ServiceFile::Unit => unit(program, config, &document, stop, runs_as_root),
        ServiceFile::PropertyList => Ok(unprepared(property_list(program, config, stop))),
        ServiceFile::Batch => Ok(unprepared(batch(program, config, runs_as_root))),
    }
}

/// Returns the unit for `document`, the configuration at `config`.
fn unit(
    program: &Path,
    config: &Path,
    document: &Document,
    stop: Duration,
    runs_as_root: bool,
) -> Result<Installation> {
    let wrong = |problem: &str, hint: String| Err(Error::file(config, problem, hint));
    if ["/home", "/root", "/tmp"].iter().any(|hidden| program.starts_with(hidden)) {
        log::warn!(
            "the service cannot see {}: copy the program to /usr/local/bin, and run `iotstream agent --install` from there",
            program.display()
        );
    }
    let directory = config.parent().unwrap_or(Path::new(""));
    let relative = |file: &PathBuf| directory.join(file);
    let relay = document.relay.as_ref();
    let is_inside =
        document.connection_string.is_some() || relay.is_some_and(|relay| relay.connection_string.is_some());
    if !runs_as_root && is_inside {
        return wrong(
            "it holds the connection string, and the service's user cannot read it",
            format!("move the connection string to {CONNECTION_STRING}: systemd hands it to the service"),
        );
    }
    let provisioning = document.provisioning.as_ref();
    if !runs_as_root && provisioning.is_some_and(|provisioning| provisioning.key.is_some()) {
        return wrong(
            "it holds the provisioning key, and the service's user cannot read it",
            format!(
                "move the key to {PROVISIONING_KEY}, and set key-file in [provisioning]: systemd hands it to the service"
            ),
        );
    }
    if !runs_as_root && document.holds_secret() {
        return wrong(
            "it holds the proxy's password, and the service's user cannot read it",
            format!("remove proxy, and set HTTPS_PROXY for the service: systemctl edit {UNIT}"),
        );
    }
    for file in std::iter::once(config.to_owned()).chain(document.ca_file.as_ref().map(relative)) {
        if !runs_as_root && !is_readable_by_everyone(&file) {
            let path = file.display();
            log::warn!("{path}: the service's user cannot read it; it holds no secret: chmod o+r '{path}'");
        }
    }
    let mut credentials = Vec::new();
    let is_elsewhere = document.connection_string.is_some()
        || document.connection_string_env.is_some()
        || document.connection_string_command.is_some()
        || document.identity.is_some()
        || provisioning.is_some();
    match &document.connection_string_file {
        Some(file) => credentials.push(("connection-string", relative(file))),
        None if is_elsewhere || relay.is_some_and(RelayTable::has_credential) => {}
        None => credentials.push(("connection-string", CONNECTION_STRING.into())),
    }
    let relay_file = relay.and_then(|relay| relay.connection_string_file.as_ref());
    credentials.extend(relay_file.map(|file| ("relay-connection-string", relative(file))));
    credentials.extend(document.certificate.as_ref().map(|file| ("certificate", relative(file))));
    credentials.extend(document.private_key.as_ref().map(|file| ("private-key", relative(file))));
    if let Some(table) = provisioning {
        let files = [
            ("provisioning-key", &table.key_file),
            ("provisioning-certificate", &table.certificate),
            ("provisioning-private-key", &table.private_key),
        ];
        credentials
            .extend(files.into_iter().filter_map(|(name, file)| Some((name, relative(file.as_ref()?)))));
    }
    let preparation = if document.identity.is_some() { principal(runs_as_root) } else { String::new() };
    let mut unit = format!(
        "# Written by `iotstream agent --install`. Make changes in a drop-in: systemctl edit {UNIT}\n"
    );
    if credentials.iter().any(|(name, _)| *name == "connection-string") {
        unit += MODULE;
    }
    if !preparation.is_empty() {
        unit += "#\n# Before the first start, run as root:\n#\n";
        for line in preparation.lines() {
            let _ = writeln!(unit, "#   {line}");
        }
    }
    let sockets = if document.identity.is_some() { SOCKETS } else { "" };
    let _ = write!(
        unit,
        "[Unit]\nDescription=iotstream agent: reaches this device through Azure IoT Hub or Azure Relay\n\
         After=network.target\n{sockets}\n\
         [Service]\nType=notify\nExecStart={} agent --restartable -v --config {}\nExecReload=/bin/kill -HUP $MAINPID\n\
         {RESTART}\
         Restart=always\nRestartSec=5s\n# An error in the command line or the configuration: a restart would not help.\n\
         RestartPreventExitStatus=2 78\nTimeoutStopSec={}s\nWatchdogSec=60s\n\
         StateDirectory=iotstream\nStateDirectoryMode=0700\n",
        word(program),
        word(config),
        stop.as_secs()
    );
    for (name, file) in credentials {
        let _ = writeln!(unit, "LoadCredential={name}:{}", file.display().to_string().replace('%', "%%"));
    }
    if let Some(log) = document.audit_log.as_ref().filter(|log| **log != Path::new("-")) {
        match relative(log).parent() {
            Some(logs) if logs == Path::new(LOGS) => {
                unit += "LogsDirectory=iotstream\nLogsDirectoryMode=0700\n";
            }
            // The minus sign: a device stays reachable without its log.
            Some(logs) => drop(writeln!(unit, "ReadWritePaths=-{}", word(logs))),
            None => {}
        }
    }
    let metrics = document.metrics.as_deref().map(Path::new).filter(|path| path.is_absolute());
    for path in document.control.as_ref().map(relative).iter().map(PathBuf::as_path).chain(metrics) {
        if let Some(directory) = path.parent().filter(|parent| *parent != Path::new(RUNTIME)) {
            let _ = writeln!(unit, "ReadWritePaths=-{}", word(directory));
        }
    }
    unit += RUNTIME_DIRECTORY;
    let commands: Vec<_> =
        document.target.iter().filter_map(|target| target.get_ref().command.as_ref()).collect();
    let is_sshd = |words: &&Vec<String>| {
        words.first().is_some_and(|program| Path::new(program).file_name() == Some("sshd".as_ref()))
    };
    unit += if commands.iter().any(is_sshd) { SSHD_DIRECTORY } else { RUNTIME_DIRECTORY_MODE };
    if commands.is_empty() {
        unit += "\n";
        unit += if document.identity.is_some() { PRINCIPAL_USER } else { DYNAMIC_USER };
        unit += UNPRIVILEGED;
        unit += ISOLATED;
        unit += FILES;
    } else {
        unit += "\n# A target is a command. Its sessions log in, become other users, write any file and restart services.\n\
                 # Other work of root's, such as mounting a disk, needs `systemd-run` or a drop-in that restricts less.\n";
        unit += SESSIONS;
    }
    unit += "\n[Install]\nWantedBy=multi-user.target\n";
    Ok(Installation { file: unit, preparation })
}

/// The commands that make the service's user, unless it is root, and its principal. From this, the IoT Identity Service
/// makes the module by itself.
fn principal(runs_as_root: bool) -> String {
    let (user, uid) = if runs_as_root {
        (String::new(), "0".to_owned())
    } else {
        let make = format!(
            "getent passwd {USER} >/dev/null ||\n    useradd --system --user-group --no-create-home --shell /usr/sbin/nologin {USER}\n"
        );
        (make, format!("$(id -u {USER})"))
    };
    format!(
        "{user}install -o aziotid -g aziotid -m 0600 /dev/stdin {PRINCIPAL} <<EOF\n\
         [[principal]]\nuid = {uid}\nname = \"iotstream\"\nidtype = [\"module\"]\nEOF\n\
         aziotctl system restart\n"
    )
}

/// A path, quoted for a unit file.
fn word(path: &Path) -> String {
    quoted(&path.display().to_string())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn unit_for(config: &str) -> Result<String> {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("agent.toml");
        std::fs::write(&path, config).unwrap();
        // With a secret, it is refused for what it says and not for its mode.
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
        Ok(install(ServiceFile::Unit, Path::new("/usr/local/bin/iotstream"), &path, false)?.file)
    }

    #[test]
    fn hardening_depends_on_the_targets() {
        let tcp = "[[target]]\nstream = \"ssh\"\nconnect = \"127.0.0.1:22\"\n";
        let sshd = "[[target]]\nstream = \"ssh\"\ncommand = [\"/usr/sbin/sshd\", \"-i\"]\n";
        let unit = unit_for(tcp).unwrap();
        assert!(unit.contains("\nDynamicUser=yes\n"), "{unit}");
        assert!(
            unit.contains("\nLoadCredential=connection-string:/etc/iotstream/connection-string\n"),
            "{unit}"
        );
        let sessions = unit_for(sshd).unwrap();
        for line in [
            "RuntimeDirectory=iotstream",
            "RuntimeDirectory=sshd",
            "ProtectKernelTunables=yes",
            "SystemCallFilter=chroot",
        ] {
            assert!(sessions.contains(&format!("\n{line}\n")), "{sessions}");
        }
        // Each of these breaks sessions.
        for key in [
            "DynamicUser",
            "User",
            "NoNewPrivileges",
            "PrivateUsers",
            "PrivateTmp",
            "PrivateDevices",
            "ProtectSystem",
            "ProtectHome",
            "ProtectKernelModules",
            "ProtectProc",
            "ProcSubset",
            "UMask",
            "RestrictSUIDSGID",
            "MemoryDenyWriteExecute",
        ] {
            assert!(!sessions.contains(&format!("\n{key}=")), "{sessions}");
        }
        assert!(!unit_for(&sshd.replace("/usr/sbin/sshd", "cat")).unwrap().contains("RuntimeDirectory=sshd"));
        let unit = unit_for(&format!(
            "connection-string-file = \"/k\"\nstop-timeout = 45\naudit-log = \"/var/log/iotstream/a\"\n{tcp}"
        ));
        let unit = unit.unwrap();
        for line in ["LoadCredential=connection-string:/k", "TimeoutStopSec=60s", "LogsDirectory=iotstream"] {
            assert!(unit.contains(&format!("\n{line}\n")), "{unit}");
        }
        assert!(unit_for(&format!("connection-string = \"x\"\n{tcp}")).is_err());
        let relay = unit_for(&format!("{tcp}[relay]\nconnection-string-file = \"/r\"\n")).unwrap();
        assert!(relay.contains("\nLoadCredential=relay-connection-string:/r\n"), "{relay}");
        assert_eq!(relay.matches("LoadCredential").count(), 1, "{relay}");
        assert!(unit_for(&format!("{tcp}[relay]\nconnection-string = \"x\"\n")).is_err());
    }

    #[test]
    fn each_identity_has_its_own_files() {
        let tcp = "[[target]]\nstream = \"ssh\"\nconnect = \"127.0.0.1:22\"\n";
        let sshd = "[[target]]\nstream = \"ssh\"\ncommand = [\"/usr/sbin/sshd\", \"-i\"]\n";
        let unit = unit_for(&format!("identity = \"aziot\"\n{tcp}")).unwrap();
        for line in [
            "User=iotstream",
            "SupplementaryGroups=aziotid aziotks",
            "After=aziot-identityd.socket aziot-keyd.socket",
            "PrivateUsers=yes",
            "StateDirectory=iotstream",
            "#   uid = $(id -u iotstream)",
        ] {
            assert!(unit.contains(&format!("\n{line}\n")), "{line}: {unit}");
        }
        assert!(!unit.contains("DynamicUser") && !unit.contains("LoadCredential"), "{unit}");
        let root = unit_for(&format!("identity = \"aziot\"\n{sshd}")).unwrap();
        assert!(root.contains("\n#   uid = 0\n") && !root.contains("useradd"), "{root}");
        assert!(!root.contains("\nUser="), "{root}");

        let scope = "id-scope = \"0ne00000001\"";
        let unit = unit_for(&format!("{tcp}[provisioning]\n{scope}\nkey-file = \"/k\"\n")).unwrap();
        assert!(unit.contains("\nLoadCredential=provisioning-key:/k\n"), "{unit}");
        assert_eq!(unit.matches("LoadCredential").count(), 1, "{unit}");
        let files = "certificate = \"/c\"\nprivate-key = \"/p\"";
        let unit = unit_for(&format!("{tcp}[provisioning]\n{scope}\n{files}\n")).unwrap();
        for line in ["provisioning-certificate:/c", "provisioning-private-key:/p"] {
            assert!(unit.contains(&format!("\nLoadCredential={line}\n")), "{unit}");
        }
        let inline = unit_for(&format!("{tcp}[provisioning]\n{scope}\nkey = \"x\"\n")).unwrap_err();
        assert!(inline.to_string().contains("provisioning key"), "{inline}");
        assert!(unit_for(&format!("{sshd}[provisioning]\n{scope}\nkey = \"x\"\n")).is_ok());
    }
}
