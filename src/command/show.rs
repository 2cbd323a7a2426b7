//! Shows the settings that are in effect. Precedence: options, environment, profile, defaults.

use clap::parser::ValueSource;
use clap::{ArgMatches, CommandFactory};

use super::output::print;
use crate::backend::{self, BackendKeys};
use crate::cli::{Cli, ShowProfile, in_order};
use crate::config::Source;
use crate::connect::{CONNECT_TIMEOUT, ProfileOptions, RESPONSE_TIMEOUT};
use crate::error::{Result, escape};
use crate::net::Proxies;
use crate::profile::{Device, Profile, Profiles};
use crate::secret::Secret;
use crate::text::duration;
use crate::text::public_key::PublicKey;

const HIDDEN: &str = "[hidden]";

pub(super) fn run(args: &ShowProfile) -> Result<()> {
    let profiles = ProfileOptions::from(&args.profile).read()?;
    let chosen = args.name.as_deref().or(args.profile.profile.as_deref());
    let (name, profile) = profiles.chosen(chosen)?;
    let rows = Settings { args, profiles: &profiles, matches: &matches() }.rows(name, profile)?;
    let width = rows.iter().map(|row| row.text().chars().count()).max().unwrap_or(0).min(80);
    let line = |row: &Row| {
        let text = row.text();
        if args.origins { format!("{text:width$}  # {}\n", escape(&row.origin)) } else { format!("{text}\n") }
    };
    print(&rows.iter().map(line).collect::<String>())
}

/// Where clap found each option: only the matches tell an option from a variable.
fn matches() -> ArgMatches {
    let program = Cli::command();
    let words = in_order(&program, std::env::args_os());
    let matches = program.get_matches_from(words);
    let show = matches.subcommand_matches("profile").and_then(|profile| profile.subcommand_matches("show"));
    show.cloned().unwrap_or_default()
}

struct Row {
    key: String,
    value: String,
    origin: String,
}

impl Row {
    fn text(&self) -> String {
        escape(&format!("{} = {}", self.key, self.value))
    }
}

/// A setting as it is shown: the value of its option, the value in the file, and the default.
struct Setting<'a> {
    /// The option's name to clap.
    id: &'a str,
    option: Option<String>,
    file: Option<String>,
    default: &'a str,
}

struct Settings<'a> {
    args: &'a ShowProfile,
    profiles: &'a Profiles,
    matches: &'a ArgMatches,
}

impl Settings<'_> {
    fn rows(&self, name: &str, profile: &Profile) -> Result<Vec<Row>> {
        let in_file = format!("profile '{name}' in {}", self.profiles.path.display());
        let row =
            |key: &str, value: String, origin: &str| Row { key: key.into(), value, origin: origin.into() };
        let chosen_by = match (&self.args.name, &self.args.profile.profile, &self.profiles.default) {
            (Some(_), ..) => "the command line".into(),
            (None, Some(_), _) => self.origin("profile"),
            (None, None, Some(_)) => format!("default in {}", self.profiles.path.display()),
            (None, None, None) => format!("the only one in {}", self.profiles.path.display()),
        };
        let source = Source::of(name, profile, self.profiles.directory())?;
        let mut rows = vec![row("profile", name.into(), &chosen_by)];
        for (key, service) in [("hub", &profile.hub), ("relay", &profile.relay), ("arc", &profile.arc)] {
            if let Some(service) = service {
                rows.push(row(key, service.clone(), &in_file));
            }
        }
        rows.push(row(source.key(), shown(&source), &in_file));
        if !profile.hosts.is_empty() {
            rows.push(row("hosts", profile.hosts.join(" "), &in_file));
        }
        let time = |time: Option<std::time::Duration>| time.map(duration::show);
        let (connect, response) = (profile.connect_timeout, profile.response_timeout);
        let ca_file = profile.ca_file.as_deref().map(|file| self.profiles.relative(file));
        let (connect_default, response_default) =
            (duration::show(CONNECT_TIMEOUT), duration::show(RESPONSE_TIMEOUT));
        let BackendKeys { own, streams_per_second } = backend::backend_keys(profile, &source);
        let own = own.iter().map(|key| Setting {
            id: key.name,
            option: None,
            file: key.value.clone(),
            default: key.default,
        });
        let settings = [
            Setting {
                id: "connect_timeout",
                option: time(self.args.connect_timeout),
                file: time(connect.map(|seconds| seconds.0)),
                default: &connect_default,
            },
            Setting {
                id: "response_timeout",
                option: time(self.args.response_timeout),
                file: time(response.map(|seconds| seconds.0)),
                default: &response_default,
            },
            Setting {
                id: "wait",
                option: time(self.args.wait),
                file: time(profile.wait.map(|seconds| seconds.0)),
                default: "0s",
            },
            Setting {
                id: "half_close",
                option: None,
                file: profile.half_close.map(|is| is.to_string()),
                default: "true",
            },
            Setting {
                id: "streams_per_second",
                option: None,
                file: profile.streams_per_second.map(|rate| rate.to_string()),
                default: streams_per_second,
            },
            Setting {
                id: "host_keys",
                option: None,
                file: profile.host_keys.map(|policy| policy.to_string()),
                default: "pin",
            },
            Setting {
                id: "host_ca",
                option: None,
                file: Some(fingerprints(profile)).filter(|shown| !shown.is_empty()),
                default: "none",
            },
            Setting {
                id: "ca_file",
                option: self.args.profile.ca_file.as_ref().map(|file| file.display().to_string()),
                file: ca_file.map(|file| file.display().to_string()),
                default: "none but the system's",
            },
            Setting {
                id: "proxy",
                option: self.args.profile.proxy.as_deref().map(without_login),
                file: profile.proxy.as_ref().map(|url| without_login(url.0.expose())),
                default: "none",
            },
        ];
        rows.extend(own.chain(settings).map(|setting| self.row(setting, &in_file)));
        rows.extend(
            profile.ports.iter().map(|(port, stream)| {
                row(&format!("ports.{}", port.0), format!("stream {stream}"), &in_file)
            }),
        );
        rows.extend(
            profile
                .devices
                .iter()
                .map(|(alias, device)| row(&format!("devices.{alias}"), described(alias, device), &in_file)),
        );
        Ok(rows)
    }

    fn row(&self, setting: Setting<'_>, in_file: &str) -> Row {
        let Setting { id, option, file, default } = setting;
        let variable = Proxies::variable().filter(|_| id == "proxy");
        let (value, origin) = match (option, file, variable) {
            (Some(value), ..) => (value, self.origin(id)),
            (None, Some(value), _) => (value, in_file.to_owned()),
            (None, None, Some((variable, url))) => {
                let origin = format!("environment variable {variable}, but for NO_PROXY");
                (without_login(url.expose()), origin)
            }
            (None, None, None) => (default.to_owned(), "default".into()),
        };
        Row { key: id.replace('_', "-"), value, origin }
    }

    /// Where the value of the option `id` comes from.
    fn origin(&self, id: &str) -> String {
        let name = id.replace('_', "-");
        match self.matches.value_source(id) {
            Some(ValueSource::EnvVariable) => {
                format!("environment variable IOTSTREAM_{}", id.to_ascii_uppercase())
            }
            _ => format!("--{name}"),
        }
    }
}

fn shown(source: &Source<'_>) -> String {
    match source {
        Source::Inline(text) => without_keys(text),
        Source::File(path) => path.display().to_string(),
        Source::Environment(name) | Source::Credential(name) => (*name).to_owned(),
        Source::Command(command) | Source::Token { command, .. } => command.to_string(),
    }
}

/// A connection string with its secret parts hidden, and every part that is not known.
fn without_keys(text: &Secret) -> String {
    let open = [
        "HostName",
        "GatewayHostName",
        "SharedAccessKeyName",
        "DeviceId",
        "ModuleId",
        "Endpoint",
        "EntityPath",
    ];
    let part = |part: &str| match part.split_once('=') {
        Some((name, _)) if open.iter().any(|open| open.eq_ignore_ascii_case(name.trim())) => part.to_owned(),
        Some((name @ ("SharedAccessKey" | "SharedAccessSignature"), _)) => format!("{name}={HIDDEN}"),
        _ => HIDDEN.to_owned(),
    };
    text.expose().split(';').filter(|part| !part.trim().is_empty()).map(part).collect::<Vec<_>>().join(";")
}

/// A proxy's URL without user and password.
fn without_login(url: &str) -> String {
    match url.rsplit_once('@') {
        None => url.to_owned(),
        Some((login, host)) => {
            let scheme =
                login.split_once("://").map_or_else(String::new, |(scheme, _)| format!("{scheme}://"));
            format!("{scheme}{HIDDEN}@{host}")
        }
    }
}

/// The fingerprints of the authority that signs host keys.
fn fingerprints(profile: &Profile) -> String {
    profile.host_ca.keys().iter().map(PublicKey::fingerprint).collect::<Vec<_>>().join(", ")
}

fn described(alias: &str, device: &Device) -> String {
    match device {
        Device::Id(id) => id.clone(),
        Device::Table(table) => {
            let mut text = table.id.as_deref().unwrap_or(alias).to_owned();
            for (name, value) in [("module", &table.module), ("stream", &table.stream)] {
                if let Some(value) = value {
                    text += &format!(", {name} {value}");
                }
            }
            text
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn secrets_are_hidden() {
        for (text, shown) in [
            (
                "HostName=h;SharedAccessKeyName=p;SharedAccessKey=hunter2==",
                "HostName=h;SharedAccessKeyName=p;SharedAccessKey=[hidden]",
            ),
            (
                "Endpoint=sb://ns/;SharedAccessKeyName=p;SharedAccessKey=hunter2==;EntityPath=gw-07",
                "Endpoint=sb://ns/;SharedAccessKeyName=p;SharedAccessKey=[hidden];EntityPath=gw-07",
            ),
            ("HostName=h;hunter2", "HostName=h;[hidden]"),
            ("hunter2=", "[hidden]"),
        ] {
            assert_eq!(without_keys(&Secret::new(text)), shown);
        }
        for (url, shown) in [
            ("http://p:1", "http://p:1"),
            ("http://me:hunter2@p:1", "http://[hidden]@p:1"),
            ("me:hunter@2@p:1", "[hidden]@p:1"),
        ] {
            assert_eq!(without_login(url), shown);
        }
    }

    proptest! {
        #[test]
        fn no_key_is_shown(name in "[A-Za-z ]{0,20}", key in "[A-Z]{12}") {
            prop_assume!(!["hostname", "deviceid", "moduleid", "endpoint", "entitypath"].contains(&name.trim().to_lowercase().as_str()));
            let shown = without_keys(&Secret::new(format!("{name}={key};{key}")));
            prop_assert!(!shown.contains(&key));
        }
    }
}
