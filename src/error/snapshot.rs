//! Every error as users and scripts meet it, kept in `tests/snapshots/errors.txt`: a changed word is a choice, not an
//! accident. `IOTSTREAM_REWRITE=1` writes the file anew.

use std::fmt::Write;
use std::io;
use std::path::Path;
use std::time::Duration;

use super::{Account, Exposure, Grant, Grants, How};
use super::{Error, Exit, Fault, Retry};
use crate::time::phase::Phase;

const PHASES: [Phase; 6] =
    [Phase::DNS, Phase::TCP, Phase::PROXY, Phase::TLS, Phase::named("hub"), Phase::named("gateway")];

/// A failure of a backend's.
#[derive(Debug, Default)]
pub(super) struct Backend {
    pub(super) source: Option<io::Error>,
}

impl std::fmt::Display for Backend {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("what a backend says")
    }
}

impl std::error::Error for Backend {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.source.as_ref().map(|source| source as _)
    }
}

impl Fault for Backend {
    fn exit(&self) -> Exit {
        Exit::Unavailable
    }

    fn hint(&self) -> Option<String> {
        Some("what a backend suggests".into())
    }

    fn retry(&self) -> Option<Retry> {
        None
    }

    fn retry_after(&self) -> Option<Duration> {
        None
    }

    fn phase(&self) -> Phase {
        Phase::named("hub")
    }

    fn is_rejection(&self) -> bool {
        true
    }
}

fn text(text: &str) -> String {
    text.to_owned()
}

fn exposed_on_windows() -> impl Iterator<Item = Error> {
    let account = |sid: &str, name: &str| Account { sid: text(sid), name: text(name) };
    let us = move || account("S-1-5-21-397955417-626881126-188441444-1001", r"DESK\ann");
    let grant = move |sid, name, right, inherited| Grant { account: account(sid, name), right, inherited };
    let readers = vec![
        grant("S-1-1-0", "Everyone", "read", false),
        grant("S-1-5-32-545", r"BUILTIN\Users", "read", true),
    ];
    let writers = vec![grant("S-1-5-11", r"NT AUTHORITY\Authenticated Users", "delete", true)];
    [
        How::ReadGranted(Grants { others: readers, us: us() }),
        How::WriteGranted(Grants { others: writers, us: us() }),
        How::WriteGranted(Grants { others: Vec::new(), us: us() }),
        How::OwnAccount {
            owner: account("S-1-5-21-397955417-626881126-188441444-1002", r"DESK\ben"),
            us: us(),
        },
    ]
    .into_iter()
    .map(|how| {
        let path = r"C:\Users\ann\AppData\Local\iotstream\profiles.toml".into();
        Error::Permissions(Exposure { path, how })
    })
}

fn first() -> Vec<Error> {
    vec![Error::Usage { problem: text("what is wrong"), hint: Some(text("what to write")) }]
}

/// Samples of the variant that follows `error`'s. A variant that is new has no arm here, and does not compile until it
/// has one, and a place in the row.
fn following(error: &Error) -> Vec<Error> {
    let path = || Path::new("/home/me/.config/iotstream/profiles.toml").to_owned();
    match error {
        Error::Usage { .. } => [None, Some(7)]
            .map(|line| Error::File {
                path: path(),
                line,
                problem: text("what is wrong").into(),
                hint: Some(text("what to write")),
            })
            .into(),
        Error::File { .. } => {
            let owned = |us| How::Own { owner: 1001, us };
            let on_unix = [How::Read(0o100_644), How::Write(0o40_775), owned(0), owned(1000)]
                .map(|how| Error::Permissions(Exposure { path: path(), how }));
            on_unix.into_iter().chain(exposed_on_windows()).collect()
        }
        Error::Permissions(_) => vec![Error::NoProfile { path: path() }],
        Error::NoProfile { .. } => {
            [("factory", vec![]), ("factory", vec![text("home"), text("work")]), ("", vec![text("home")])]
                .map(|(name, known)| Error::UnknownProfile { name: text(name), path: path(), known })
                .into()
        }
        Error::UnknownProfile { .. } => vec![Error::Credential {
            origin: text("profile factory"),
            problem: text("what is wrong").into(),
            hint: Some(text("what to write")),
        }],
        Error::Credential { .. } => vec![Error::RewrittenName { name: text("0.0.4.210") }],
        Error::RewrittenName { .. } => {
            vec![Error::AmbiguousName { name: text("dev"), candidates: vec![text("Dev"), text("DEV")] }]
        }
        Error::AmbiguousName { .. } => {
            vec![Error::BadName { name: text("a b"), problem: text("what is wrong") }]
        }
        Error::BadName { .. } => vec![Error::Backend(Box::new(Backend::default()))],
        Error::Backend(_) => vec![Error::NoReports { service: text("ns.servicebus.windows.net") }],
        Error::NoReports { .. } => vec![Error::NoHostKeys { device: text("gw-07"), stream: None }],
        Error::NoHostKeys { stream: None, .. } => {
            vec![Error::NoHostKeys { device: text("gw-07"), stream: Some(text("tcp-2222")) }]
        }
        Error::NoHostKeys { .. } => {
            vec![Error::NotOffered {
                rejection: Box::new(Backend::default()),
                stream: text("echo"),
                builtin: "echo",
            }]
        }
        Error::NotOffered { .. } => PHASES
            .map(|phase| Error::Network {
                phase,
                target: text("contoso:443"),
                problem: text("what is wrong").into(),
            })
            .into(),
        Error::Network { .. } => PHASES
            .map(|phase| Error::Timeout {
                phase,
                target: text("contoso:443"),
                after: Duration::from_secs(90),
            })
            .into(),
        Error::Timeout { .. } => {
            vec![Error::Untrusted {
                target: text("contoso:443"),
                problem: text("what is wrong").into(),
                hint: Some(text("what to do")),
            }]
        }
        Error::Untrusted { .. } => {
            vec![Error::ProxyDenied {
                proxy: text("http://proxy:3128"),
                problem: text("what is wrong"),
                hint: Some(text("what to do")),
            }]
        }
        Error::ProxyDenied { .. } => vec![Error::ProxyBusy {
            proxy: text("http://proxy:3128"),
            status: 503,
            after: Duration::from_secs(4),
        }],
        Error::ProxyBusy { .. } => vec![Error::Protocol {
            target: text("the gateway gateway.azure-devices.net:443"),
            problem: text("an example of a violation").into(),
        }],
        Error::Protocol { .. } => {
            vec![Error::Target { target: text("127.0.0.1:22"), problem: text("what is wrong").into() }]
        }
        Error::Target { .. } => vec![Error::NoAgent {
            path: Path::new("/run/iotstream/control.sock").to_owned(),
            problem: text("what is wrong").into(),
        }],
        Error::NoAgent { .. } => {
            vec![Error::ControlDenied { path: Path::new("/run/iotstream/control.sock").to_owned() }]
        }
        Error::ControlDenied { .. } => {
            vec![Error::AgentRefused { problem: text("what is wrong"), hint: Some(text("what to do")) }]
        }
        Error::AgentRefused { .. } => vec![Error::Signalled { signal: "SIGTERM" }],
        Error::Signalled { .. } => vec![Error::Ended { reason: text("the target failed: what is wrong") }],
        Error::Ended { .. } => vec![Error::EndedUnused { stream: text("ssh") }],
        Error::EndedUnused { .. } => vec![Error::Cut { problem: text("what is wrong").into() }],
        Error::Cut { .. } => vec![Error::ThrownBack],
        Error::ThrownBack => vec![Error::Silent { after: Duration::from_secs(52) }],
        Error::Silent { .. } => {
            vec![Error::LocalIo { what: text("stdin and stdout"), source: io::Error::other("what is wrong") }]
        }
        Error::LocalIo { .. } => {
            vec![Error::MissingProgram { program: text("ssh"), package: "openssh-client" }]
        }
        Error::MissingProgram { .. } => vec![Error::Bug(text("what is wrong"))],
        Error::Bug(_) => vec![Error::Other(anyhow::anyhow!("the cause").context("what is wrong"))],
        Error::Other(_) => vec![],
    }
}

#[test]
fn every_error_says_what_it_said() {
    same("errors.txt", &report(first(), following));
}

/// What users and scripts meet of each sample, from the `first` ones on: after the last one of a variant come those of the
/// variant that is `following`.
pub(crate) fn report<E>(first: Vec<E>, following: impl Fn(&E) -> Vec<E>) -> String
where
    E: std::fmt::Debug + Into<Error>,
{
    let mut seen = String::new();
    let mut samples = first;
    while let Some(last) = samples.last() {
        let next = following(last);
        for error in samples {
            let debug = format!("{error:?}");
            let name = debug.split(|c: char| !c.is_alphanumeric()).next().unwrap().to_owned();
            let error: Error = error.into();
            let exit = error.exit();
            writeln!(seen, "{name}: exit status {} ({exit:?})\n{}", exit.code(), error.report()).unwrap();
        }
        samples = next;
    }
    seen
}

/// Compares with the file `name` of `tests/snapshots`.
pub(crate) fn same(name: &str, seen: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/snapshots").join(name);
    if std::env::var_os("IOTSTREAM_REWRITE").is_some() {
        std::fs::write(&path, seen).unwrap();
    }
    let expected = std::fs::read_to_string(&path).unwrap_or_default();
    assert_eq!(seen, expected, "{} is rewritten with IOTSTREAM_REWRITE=1", path.display());
}
