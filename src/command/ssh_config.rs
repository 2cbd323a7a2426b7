//! Prints the ssh configuration for all profiles, or keeps it in ~/.ssh.

use std::process::ExitCode;

use anyhow::Context as _;

use super::listing;
use super::output::print;
use crate::backend::may_keep_reports;
use crate::cli::SshConfig;
use crate::connect::ProfileOptions;
use crate::error::{Error, Result};
use crate::platform::{RUNNER, directories};
use crate::profile::Profile;
use crate::ssh::config::{Change, Helper, SshDirectory, blocks, unified};
use crate::ssh::version::Version;

pub(super) fn run(args: &SshConfig) -> Result<ExitCode> {
    if args.remove {
        make(&ssh_directory()?.remove()?)?;
        return Ok(ExitCode::SUCCESS);
    }
    let blocks = generate(args)?;
    if args.write {
        make(&ssh_directory()?.write(&blocks)?)?;
    } else if args.diff {
        print(&ssh_directory()?.write(&blocks)?.iter().map(diff).collect::<String>())?;
    } else {
        print(&blocks)?;
    }
    Ok(ExitCode::SUCCESS)
}

fn generate(args: &SshConfig) -> Result<String> {
    let options = ProfileOptions::from(&args.profile);
    let mut profiles = options.read()?;
    if let Some(only) = &options.name {
        profiles.chosen(Some(only))?;
        profiles.all.retain(|name, _| name == only);
    }
    let program = std::env::current_exe().context("cannot find this program's own file")?;
    let config = options.file.as_deref().map(std::path::absolute).transpose();
    let config = config.map_err(Error::local_io("the working directory"))?;
    let helper = Helper::new(RUNNER, &program, config.as_deref())?;
    let devices = |name: &str, profile: &Profile| {
        if !args.devices {
            return Ok(Vec::new());
        }
        let devices = listing::devices(&options, &profiles, name, profile, false)?;
        Ok(devices.into_iter().map(|device| device.id).collect())
    };
    let runtime = super::runtime()?;
    let mut version = None;
    let known_hosts = |name: &str| {
        let warn = |problem| log::warn!("no KnownHostsCommand is written for profile '{name}': {problem}");
        let profile = profiles.all.get(name);
        if profile.is_some_and(|profile| profile.host_ca.keys().is_empty() && !may_keep_reports(profile)) {
            warn("at a relay, no device reports host keys; write host-ca in the profile".to_owned());
            return None;
        }
        let version = version.get_or_insert_with(|| runtime.block_on(Version::installed()));
        let command = match version {
            Err(problem) => Err(problem.clone()),
            Ok(version) if *version < Version::KNOWN_HOSTS_COMMAND => Err(format!(
                "ssh is {version}, and {} is the first that has it",
                Version::KNOWN_HOSTS_COMMAND
            )),
            Ok(_) => helper
                .known_hosts_command(name)
                .ok_or_else(|| "a path or the name cannot be written for ssh".into()),
        };
        command.map_err(warn).ok()
    };
    blocks(&profiles, &helper, devices, known_hosts)
}

fn ssh_directory() -> Result<SshDirectory> {
    let home = directories::home().context("there is no home directory")?;
    Ok(SshDirectory::new(RUNNER, home.join(".ssh")))
}

fn make(changes: &[Change]) -> Result<()> {
    if changes.is_empty() {
        return print("nothing to change\n");
    }
    for change in changes {
        change.make()?;
        let what = if change.after.is_some() { "wrote" } else { "removed" };
        print(&format!("{what} {}\n", change.path.display()))?;
    }
    Ok(())
}

fn diff(change: &Change) -> String {
    let text =
        |bytes: &Option<Vec<u8>>| bytes.as_deref().map(|bytes| String::from_utf8_lossy(bytes).into_owned());
    unified(
        &change.path.display().to_string(),
        text(&change.before).as_deref(),
        text(&change.after).as_deref(),
    )
}
