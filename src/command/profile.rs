//! Manages profiles.

use std::path::PathBuf;
use std::process::ExitCode;

use super::output::print;
use super::{prompt, show};
use crate::backend::{self, Pasted};
use crate::cli::{AddProfile, NamedProfile, ProfileAction, ProfileFile};
use crate::config::Source;
use crate::error::{Error, Result, escape};
use crate::net::read_certificates;
use crate::profile::{Editor, NewProfile, Profile, Profiles, default_path, is_pattern};
use crate::text::hub_id;

pub(super) fn run(action: &ProfileAction) -> Result<ExitCode> {
    match action {
        ProfileAction::Add(args) => add(args)?,
        ProfileAction::List(file) => list(file)?,
        ProfileAction::Show(args) => show::run(args)?,
        ProfileAction::Remove(args) => remove(args)?,
        ProfileAction::Default(args) => set_default(args)?,
        ProfileAction::Path(file) => print(&format!("{}\n", path(file).display()))?,
    }
    Ok(ExitCode::SUCCESS)
}

fn path(file: &ProfileFile) -> PathBuf {
    file.config.clone().unwrap_or_else(default_path)
}

fn add(args: &AddProfile) -> Result<()> {
    let AddProfile { name, hosts, ca_file, module, file } = args;
    let usage = |problem: String, hint: &str| Error::usage(problem, hint);
    let allowed = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
    if name.is_empty() || name.starts_with('-') || !name.chars().all(allowed) {
        return Err(usage(
            format!("'{name}' is not a valid profile name"),
            "use letters, digits, '-', '_' and '.'",
        ));
    }
    if let Some(wrong) = hosts.iter().find(|pattern| !is_pattern(pattern)) {
        return Err(usage(format!("'{wrong}' is not a pattern of host names"), "write --hosts '*.factory'"));
    }
    if let Some(module) = module {
        hub_id::check("module", module)
            .map_err(|problem| usage(format!("--module: {problem}"), "write --module iotstream"))?;
    }
    let ca_file = ca_file
        .as_ref()
        .map(|file| {
            read_certificates(file)?;
            let file = std::path::absolute(file).map_err(Error::local_io("the working directory"))?;
            file.into_os_string().into_string().map_err(|file| {
                let problem = format!("--ca-file: {} is not UTF-8", file.display());
                usage(problem, "a profile file is UTF-8: choose another path")
            })
        })
        .transpose()?;
    let path = path(file);
    let mut editor = Editor::open(&path)?;
    let text = prompt::secret("connection string", backend::is_connection_string)?;
    let Pasted { connection_string, service, policy, warning } = backend::recognise("stdin", &text)?;
    if module.is_some() && backend::is_relay(&connection_string) {
        return Err(usage(
            "--module is for IoT Hub, and this is a connection string of Azure Relay".into(),
            "remove it",
        ));
    }
    let new = NewProfile {
        name,
        connection_string: &connection_string,
        hosts,
        ca_file: ca_file.as_deref(),
        module: module.as_deref(),
    };
    editor.add(&new)?;
    editor.save()?;
    if let Some(warning) = warning {
        log::warn!("{warning}");
    }
    let policy = policy.map_or_else(String::new, |policy| format!("policy {policy} of "));
    print(&format!("profile {name}: {policy}{service}, in {}\n", path.display()))
}

fn list(file: &ProfileFile) -> Result<()> {
    let profiles = Profiles::read(&path(file))?;
    let rows: Vec<[String; 3]> = profiles
        .all
        .iter()
        .map(|(name, profile)| {
            let star = if profiles.default.as_deref() == Some(name) { "* " } else { "  " };
            [
                format!("{star}{}", escape(name)),
                escape(&service(&profiles, name, profile)),
                profile.hosts.join(" "),
            ]
        })
        .collect();
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
    let (first, second) = (width(0), width(1));
    let line = |[name, service, hosts]: &[String; 3]| {
        format!("{}\n", format!("{name:first$}  {service:second$}  {hosts}").trim_end())
    };
    print(&rows.iter().map(line).collect::<String>())
}

/// The service of a profile, or where its credential is: listing runs no commands.
fn service(profiles: &Profiles, name: &str, profile: &Profile) -> String {
    match Source::of(name, profile, profiles.directory()) {
        Ok(Source::Inline(text)) => backend::recognise("", text)
            .map_or_else(|_| "(no connection string)".into(), |pasted| pasted.service),
        Ok(Source::Token { service, .. }) => service.to_owned(),
        Ok(source) => format!("({})", source.key()),
        Err(_) => "(no credential)".into(),
    }
}

fn remove(args: &NamedProfile) -> Result<()> {
    let path = path(&args.file);
    let mut editor = Editor::open(&path)?;
    editor.remove(&args.name)?;
    editor.save()?;
    print(&format!("profile {} is no longer in {}\n", args.name, path.display()))
}

fn set_default(args: &NamedProfile) -> Result<()> {
    let path = path(&args.file);
    let mut editor = Editor::open(&path)?;
    editor.set_default(&args.name)?;
    editor.save()?;
    print(&format!("profile {} is the default in {}\n", args.name, path.display()))
}
