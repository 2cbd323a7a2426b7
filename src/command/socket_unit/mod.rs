//! Prints the systemd units that open a stream for each connection to a socket of this machine, or writes them.

mod listen;
mod units;

use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use self::listen::Listen;
use self::units::{MARK, Units};
use super::output::print;
use crate::cli::SocketUnit;
use crate::config::has_password;
use crate::connect::ProfileOptions;
use crate::error::{Error, Result};
use crate::net::Proxies;
use crate::platform::private_file::{Access, read_plain, replace};
use crate::platform::{ServiceFile, directories};
use crate::profile::{Name, Profile};
use crate::text::unit;

/// The longest name of units: systemd adds an instance with two addresses, and has 255 bytes for all.
const LONGEST_NAME: usize = 140;

pub(super) fn run(args: &SocketUnit) -> Result<ExitCode> {
    if ServiceFile::HERE != ServiceFile::Unit {
        let hint = "a listener of another kind can start `iotstream connect` for each connection";
        return Err(Error::usage("socket units need systemd, which this system does not have", hint));
    }
    let listen = Listen::parse(args.listen.as_deref(), args.port)
        .map_err(|problem| Error::usage(format!("--listen: {problem}"), "write --listen 127.0.0.1:8080"))?;
    let name = unit_name(args)?;
    if let Some(user) = &args.run_as
        && !unit::is_name(user)
    {
        return Err(Error::usage(
            format!("--run-as: '{user}' is not the name of a user"),
            "name a user of this machine",
        ));
    }
    let options = ProfileOptions::from(&args.profile);
    let profiles = options.read()?;
    let host = Name { host: &args.host, typed: None };
    let destination = profiles.destination(&host, options.name.as_deref(), |_| Vec::new())?;
    let words = words(args, &options, &profiles.path)?;
    let units = Units {
        host: &args.host,
        port: args.port,
        listen: &listen,
        run_as: args.run_as.as_deref(),
        words: &words,
        has_command: has_command(destination.profile),
    };
    let unwritable = || Error::usage("a name or a path cannot be written in a unit", "rename it");
    let (socket, service) = (units.socket().ok_or_else(unwritable)?, units.service().ok_or_else(unwritable)?);
    warn(&name, &units, &options, destination.profile);
    let directory = directory(args)?;
    let files = [(format!("{name}.socket"), socket), (format!("{name}@.service"), service)];
    match &args.write {
        None => {
            let shown = files.map(|(file, text)| format!("# {}\n{text}", directory.join(file).display()));
            print(&shown.join("\n"))?;
        }
        Some(other) => {
            let other = other.as_deref().unwrap_or(&directory);
            write(&files.map(|(file, text)| (other.join(file), text)))?;
            let place = if other == directory {
                String::new()
            } else {
                format!(", once the units are in {}", directory.display())
            };
            print(&enabling(&name, args.system, &place))?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// The name of both units.
fn unit_name(args: &SocketUnit) -> Result<String> {
    let wrong = |problem: String| {
        Error::usage(
            problem,
            "write --unit NAME with letters, digits and the characters :-_.\\ and without a type",
        )
    };
    let name = match &args.unit {
        None => unit::name(&format!("iotstream-{}-{}", args.host, args.port)),
        Some(name) if unit::is_name(name) && !name.ends_with(".socket") => name.clone(),
        Some(name) => return Err(wrong(format!("--unit: '{}' is no name of units", name.escape_debug()))),
    };
    if name.len() > LONGEST_NAME {
        return Err(wrong(format!("the units' name has more than {LONGEST_NAME} bytes: {name}")));
    }
    Ok(name)
}

/// The program and its arguments, which need no environment. Paths are absolute.
fn words(args: &SocketUnit, options: &ProfileOptions, profiles: &Path) -> Result<Vec<String>> {
    let program = std::env::current_exe().map_err(Error::local_io("this program's own file"))?;
    let mut words = vec![text(&program)?, "connect".into(), "--config".into(), text(profiles)?];
    if let Some(name) = &options.name {
        words.extend(["--profile".into(), name.clone()]);
    }
    if let Some(file) = &options.ca_file {
        words.extend(["--ca-file".into(), text(file)?]);
    }
    if let Some(proxy) = &options.proxy {
        if has_password(proxy) {
            let hint = "write the proxy in the profile, or in a file with EnvironmentFile=";
            return Err(Error::usage(
                "--proxy has a password, which every user could read in the unit",
                hint,
            ));
        }
        words.extend(["--proxy".into(), proxy.clone()]);
    }
    words.extend(["--".into(), args.host.clone(), args.port.to_string()]);
    Ok(words)
}

/// A path as an absolute one.
fn text(path: &Path) -> Result<String> {
    let path = std::path::absolute(path).map_err(Error::local_io("the working directory"))?;
    let wrong = || Error::usage(format!("the path {} is not UTF-8", path.display()), "rename it");
    path.to_str().map(str::to_owned).ok_or_else(wrong)
}

fn has_command(profile: &Profile) -> bool {
    let commands = [&profile.connection_string_command, &profile.token_command, &profile.arm_token_command];
    commands.iter().any(|command| command.is_some())
}

/// Warns of what the units cannot do, or allow.
fn warn(name: &str, units: &Units<'_>, options: &ProfileOptions, profile: &Profile) {
    if units.listen.is_open_to_others() {
        log::warn!("{} The device's service must authenticate its users", units.listen.who_connects(None));
    }
    if let (Listen::Tcp(address), None) = (units.listen, units.run_as)
        && address.port() < 1024
    {
        log::warn!(
            "a user cannot listen on port {}: write --listen {}:PORT, or --system",
            address.port(),
            address.ip()
        );
    }
    if let Some(variable) = &profile.connection_string_env {
        log::warn!(
            "the profile reads the variable {variable}, which the unit does not have: set EnvironmentFile= with \
             `systemctl edit {name}@.service`"
        );
    }
    if let (None, None, Some((variable, _))) = (&options.proxy, &profile.proxy, Proxies::variable()) {
        log::warn!(
            "{variable} names a proxy here, and the unit does not have the variable: set proxy in the profile, or write --proxy"
        );
    }
    if let Some(credential) = &profile.connection_string_credential {
        log::warn!(
            "the profile reads the credential {credential}, which the unit does not have: set LoadCredential= with \
             `systemctl edit {name}@.service`"
        );
    }
}

/// The directory where systemd looks for the units.
fn directory(args: &SocketUnit) -> Result<PathBuf> {
    if args.system {
        return Ok(ServiceFile::Unit.directory().into());
    }
    let home = directories::home();
    let home = home.ok_or_else(|| Error::usage("there is no home directory", "set HOME"))?;
    Ok(home.join(".config/systemd/user"))
}

/// Writes the units, unless one of the files is another's.
fn write(files: &[(PathBuf, String)]) -> Result<()> {
    for (path, _) in files {
        match read_plain(path) {
            Ok(bytes) if bytes.starts_with(MARK.as_bytes()) => {}
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            Ok(_) => {
                let hint = "choose another --unit NAME, or remove the file";
                return Err(Error::file(
                    path,
                    "this command has not written it, and does not overwrite it",
                    hint,
                ));
            }
            Err(error) => return Err(Error::local_io(path.display().to_string())(error)),
        }
    }
    for (path, text) in files {
        replace(path, text.as_bytes(), Access::Everyone)
            .map_err(|problem| problem.into_error(path.display().to_string()))?;
        print(&format!("wrote {}\n", path.display()))?;
    }
    Ok(())
}

/// The commands that enable the units.
fn enabling(name: &str, is_system: bool, place: &str) -> String {
    let systemctl = if is_system { "systemctl" } else { "systemctl --user" };
    let socket = format!("{name}.socket");
    let socket = if socket.contains('\\') { format!("'{socket}'") } else { socket };
    // A socket that listens already does not notice another address until it is restarted.
    format!(
        "to listen now and at each start{place}:\n\
         {systemctl} daemon-reload\n{systemctl} enable {socket}\n{systemctl} restart {socket}\n"
    )
}
