//! The host keys that a device reports: as known_hosts lines for ssh's `KnownHostsCommand`, and for people.

mod accept;
mod question;
mod show;
mod trust;

use std::process::ExitCode;
use std::sync::Arc;

use crate::backend::{self, Access, Dialer, Reported, Wanted};
use crate::cli;
use crate::connect::{Asked, Options, ProfileOptions};
use crate::error::{Error, Result};
use crate::profile::{HostKeyPolicy, Profiles};
use crate::state::pinned_host_keys::{PinFile, PinnedDevice};

pub(super) fn run(args: &cli::HostKeys) -> Result<ExitCode> {
    if args.accept {
        accept::run(args)?;
    } else if args.show {
        show::run(args)?;
    } else {
        question::answer(args);
    }
    Ok(ExitCode::SUCCESS)
}

/// The device that a command line names, and what its profile says of host keys.
#[derive(Debug)]
struct Device {
    /// The name as the user typed it.
    name: String,
    dialer: Arc<dyn Dialer>,
    policy: HostKeyPolicy,
    pins: PinFile,
    /// The command line that accepts the device's keys.
    accept: String,
}

impl Device {
    /// Reads the credential of the profile in `asked`. Blocks while the profile's command runs.
    fn new(args: &cli::HostKeys, profiles: &Profiles, asked: Asked<'_>) -> Result<Self> {
        let Asked { profile_name, profile, request } = asked;
        let (device, module) = (request.device.clone(), request.module.clone());
        let network = ProfileOptions::from(&args.profile).network(profiles, profile)?;
        let dialer = backend::dialer(&Access { profiles, name: profile_name, profile, network }, request)?;
        Ok(Self {
            name: args.name.clone(),
            policy: profile.host_keys.unwrap_or_default(),
            pins: PinFile::of(PinnedDevice { service: dialer.key(), device, module })?,
            accept: accept_command(args),
            dialer,
        })
    }

    /// Finds the device of a command for people.
    fn of(args: &cli::HostKeys) -> Result<Self> {
        let options = options(args);
        let profiles = options.profile.read()?;
        let asked = Asked::resolve(&options, &profiles)?;
        Self::new(args, &profiles, asked)
    }

    /// What the device reports now. It reports a host key at least.
    fn reported_now(&self) -> Result<Reported> {
        let reported = super::runtime()?.block_on(self.dialer.reported(Wanted::Now))?;
        if reported.streams.iter().all(|stream| stream.keys.is_empty()) {
            return Err(Error::NoHostKeys { device: reported.device, stream: None });
        }
        Ok(reported)
    }
}

/// The options of the helper for the same stream.
fn options(args: &cli::HostKeys) -> Options {
    Options {
        host: args.host.clone().unwrap_or_else(|| args.name.clone()),
        name: args.host.is_some().then(|| args.name.clone()),
        port: Some(args.port),
        stream: args.stream.clone(),
        module: args.module.clone(),
        profile: (&args.profile).into(),
        ..Options::default()
    }
}

/// The command line that accepts the keys of the device, for a shell.
fn accept_command(args: &cli::HostKeys) -> String {
    let config = args.profile.config.as_ref().map(|path| path.display().to_string());
    let host = args.host.clone().filter(|host| !host.eq_ignore_ascii_case(&args.name));
    let options = [
        ("--profile", &args.profile.profile),
        ("--config", &config),
        ("--module", &args.module),
        ("--host", &host),
    ];
    let options =
        options.into_iter().filter_map(|(name, value)| Some([name.to_owned(), value.clone()?])).flatten();
    let end = args.name.starts_with('-').then(|| "--".to_owned());
    let words = ["iotstream".into(), "host-keys".into()].into_iter().chain(options);
    let words = words.chain(["--accept".into()]).chain(end).chain([args.name.clone()]);
    let quoted = |word: String| shlex::try_quote(&word).map_or_else(|_| word.clone(), Into::into);
    words.map(quoted).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::{Cli, Command};
    use clap::Parser;

    fn args(line: &[&str]) -> cli::HostKeys {
        match Cli::try_parse_from([&["iotstream", "host-keys"], line].concat()).unwrap().command {
            Some(Command::HostKeys(args)) => args,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn the_command_that_accepts_keys_names_the_same_device() {
        for (line, command) in [
            (&["gw-07"][..], "iotstream host-keys --accept gw-07"),
            (
                &["--profile=my office", "--config", "/c.toml", "--host=gw", "--", "GW", "gw", "22"],
                "iotstream host-keys --profile 'my office' --config /c.toml --accept GW",
            ),
            (&["--host", "gw-07", "gw"], "iotstream host-keys --host gw-07 --accept gw"),
            (&["--module", "cam", "--", "-x"], "iotstream host-keys --module cam --accept -- -x"),
            (&["Line(3)"], "iotstream host-keys --accept 'Line(3)'"),
        ] {
            assert_eq!(accept_command(&args(line)), command);
        }
    }

    #[test]
    fn the_options_are_those_of_the_helper() {
        let options = options(&args(&[
            "--host=gw-07",
            "--presented",
            "NONE",
            "NONE",
            "--",
            "GW-07",
            "[gw-07]:2222",
            "2222",
        ]));
        assert_eq!(
            (&*options.host, options.name.as_deref(), options.port),
            ("gw-07", Some("GW-07"), Some(2222))
        );
        let options = super::options(&args(&["gw-07", "--accept"]));
        assert_eq!((&*options.host, options.name, options.port), ("gw-07", None, Some(22)));
    }
}
