//! Every error as users and scripts meet it, kept in `tests/snapshots/errors.txt`: a changed word is a choice, not an
//! accident. `IOTSTREAM_REWRITE=1` writes the file anew.

use std::fmt::Write;
use std::io;
use std::path::Path;
use std::time::Duration;

use super::{Error, Skew};
use crate::backend::iothub::proto::{Code, HubFailure, Identity, Refusal};
use crate::platform::private_file::{Exposure, How};
use crate::time::phase::Phase;

const HUB: &str = "contoso.azure-devices.net";
const TEN_MINUTES: Duration = Duration::from_secs(600);
const PHASES: [Phase; 7] =
    [Phase::Dns, Phase::Tcp, Phase::Proxy, Phase::Tls, Phase::Hub, Phase::Device, Phase::Gateway];

fn text(text: &str) -> String {
    text.to_owned()
}

fn device() -> Identity {
    Identity::new("gw-07", None).unwrap()
}

fn failure(status: u16, code: Option<Code>) -> Box<HubFailure> {
    Box::new(HubFailure {
        status,
        code,
        message: Some(text("what the hub says\u{1b}")),
        tracking_id: Some(text("0f3e")),
        retry_after: (status == 429 && code.is_some()).then_some(4),
    })
}

fn hub(status: u16, code: Option<Code>, skew: Option<Skew>) -> Error {
    Error::Hub { hub: text(HUB), identity: device(), failure: failure(status, code), skew }
}

fn hub_failures() -> Vec<Error> {
    let mut failures: Vec<Error> = [
        (400, Some(Code::ARGUMENT_INVALID)),
        (401, Some(Code::HUB_NOT_FOUND)),
        (401, Some(Code::UNAUTHORIZED_ACCESS)),
        (401, Some(Code::UNAUTHORIZED)),
        (401, None),
        (403, Some(Code::QUOTA_EXCEEDED)),
        (403, Some(Code::NOT_IN_TIER)),
        (403, Some(Code::DEVICE_DISABLED)),
        (403, None),
        (404, Some(Code::DEVICE_NOT_FOUND)),
        (404, Some(Code::MODULE_NOT_FOUND)),
        (404, Some(Code::DEVICE_NOT_ONLINE)),
        (404, Some(Code::DEVICE_CLOSED)),
        (302, None),
        (404, None),
        (408, None),
        (429, Some(Code::THROTTLED)),
        (429, None),
        (500, None),
        (503, None),
        (504, Some(Code::GATEWAY_TIMEOUT)),
        (511, None),
    ]
    .into_iter()
    .map(|(status, code)| hub(status, code, None))
    .collect();
    failures.push(hub(401, Some(Code::UNAUTHORIZED), Some(Skew::Behind(TEN_MINUTES))));
    failures.push(hub(401, Some(Code::UNAUTHORIZED), Some(Skew::Ahead(TEN_MINUTES))));
    failures
}

fn upgrades() -> Vec<Error> {
    let refused = |phase, target: &str| {
        let target = text(target);
        move |(status, seconds): (u16, Option<u64>)| Error::Upgrade {
            phase,
            target: target.clone(),
            status,
            retry_after: seconds.map(Duration::from_secs),
        }
    };
    let gateway = [401, 403, 404, 409, 429, 500, 511, 200].map(|status| (status, None));
    let gateway = gateway.into_iter().chain([(429, Some(4))]);
    let hub = [(401, None), (403, None), (404, None), (429, None), (503, Some(4))];
    gateway
        .map(refused(Phase::Gateway, "gateway.azure-devices.net:443"))
        .chain(hub.map(refused(Phase::Hub, "contoso.azure-devices.net:443")))
        .chain([(503, Some(4))].map(refused(Phase::Proxy, "proxy:3128")))
        .collect()
}

fn first() -> Vec<Error> {
    vec![Error::Usage { problem: text("what is wrong"), hint: text("what to write") }]
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
                problem: text("what is wrong"),
                hint: text("what to write"),
            })
            .into(),
        Error::File { .. } => {
            let owned = |us| How::Own { owner: 1001, us };
            [How::Read(0o100_644), How::Write(0o40_775), owned(0), owned(1000)]
                .map(|how| Error::Permissions(Exposure { path: path(), how }))
                .into()
        }
        Error::Permissions(_) => vec![Error::NoProfile { path: path() }],
        Error::NoProfile { .. } => {
            [("factory", vec![]), ("factory", vec![text("home"), text("work")]), ("", vec![text("home")])]
                .map(|(name, known)| Error::UnknownProfile { name: text(name), path: path(), known })
                .into()
        }
        Error::UnknownProfile { .. } => vec![Error::Credential {
            source: text("profile factory"),
            problem: text("what is wrong"),
            hint: text("what to write"),
        }],
        Error::Credential { .. } => vec![Error::RewrittenName { name: text("0.0.4.210") }],
        Error::RewrittenName { .. } => {
            vec![Error::AmbiguousName { name: text("dev"), candidates: vec![text("Dev"), text("DEV")] }]
        }
        Error::AmbiguousName { .. } => {
            vec![Error::BadName { name: text("a b"), problem: text("what is wrong") }]
        }
        Error::BadName { .. } => hub_failures(),
        Error::Hub { .. } => [401, 429, 500, 511]
            .map(|status| Error::Listing { hub: text(HUB), failure: failure(status, None) })
            .into(),
        Error::Listing { .. } => {
            vec![Error::Rejected { identity: device(), stream: text("ssh"), hub: text(HUB) }]
        }
        Error::Rejected { .. } => vec![Error::NotOffered {
            identity: device(),
            stream: text("echo"),
            hub: text(HUB),
            builtin: "echo",
        }],
        Error::NotOffered { .. } => PHASES
            .map(|phase| Error::Network {
                phase,
                target: text("contoso:443"),
                problem: text("what is wrong"),
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
                problem: text("what is wrong"),
                hint: text("what to do"),
            }]
        }
        Error::Untrusted { .. } => {
            vec![Error::ProxyDenied { proxy: text("http://proxy:3128"), problem: text("what is wrong") }]
        }
        Error::ProxyDenied { .. } => upgrades(),
        Error::Upgrade { .. } => vec![Error::Protocol {
            target: text("the gateway gateway.azure-devices.net:443"),
            problem: text("it sent what no gateway may"),
        }],
        Error::Protocol { .. } => [
            (Refusal::NoMqtt311, None),
            (Refusal::UnknownId, None),
            (Refusal::Unavailable, None),
            (Refusal::BadCredential, None),
            (Refusal::NotAuthorized, None),
            (Refusal::NotAuthorized, Some(Skew::Ahead(TEN_MINUTES))),
            (Refusal::NoStreams, None),
        ]
        .map(|(refusal, skew)| Error::MqttRefused {
            hub: text(HUB),
            identity: Identity::new("gw-07", Some("camera")).unwrap(),
            refusal,
            skew,
        })
        .into(),
        Error::MqttRefused { .. } => vec![Error::Skewed { skew: Skew::Behind(TEN_MINUTES) }],
        Error::Skewed { .. } => {
            vec![Error::Target { target: text("127.0.0.1:22"), problem: text("what is wrong") }]
        }
        Error::Target { .. } => vec![Error::Signalled { signal: "SIGTERM" }],
        Error::Signalled { .. } => vec![Error::Ended { reason: text("the target failed: what is wrong") }],
        Error::Ended { .. } => vec![Error::EndedUnused { stream: text("ssh") }],
        Error::EndedUnused { .. } => vec![Error::Cut { problem: text("what is wrong") }],
        Error::Cut { .. } => vec![Error::Silent { after: Duration::from_secs(52) }],
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
    let mut seen = String::new();
    let mut samples = first();
    while let Some(last) = samples.last() {
        let next = following(last);
        for error in &samples {
            let debug = format!("{error:?}");
            let name = debug.split(|c: char| !c.is_alphanumeric()).next().unwrap();
            let exit = error.exit();
            writeln!(seen, "{name}: exit status {} ({exit:?})\n{}", exit as u8, error.report()).unwrap();
        }
        samples = next;
    }
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/snapshots/errors.txt");
    if std::env::var_os("IOTSTREAM_REWRITE").is_some() {
        std::fs::write(&path, &seen).unwrap();
    }
    let expected = std::fs::read_to_string(&path).unwrap_or_default();
    assert_eq!(seen, expected, "{} is rewritten with IOTSTREAM_REWRITE=1", path.display());
}
