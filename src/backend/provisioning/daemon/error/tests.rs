//! The snapshot of every failure of a daemon, `tests/snapshots/daemon-errors.txt`.

use std::fmt::Write;
use std::io;
use std::time::Duration;

use bytes::Bytes;
use hyper::HeaderMap;

use super::{Error, Kind};
use crate::error::snapshot::same;
use crate::net::Reply;
use crate::platform::process;

fn refused(daemon: Kind, status: u16, body: &'static str) -> Error {
    Error::refused(
        daemon,
        &Reply { status, headers: HeaderMap::new(), body: Bytes::from_static(body.as_bytes()) },
    )
}

fn of(daemon: Kind) -> Vec<Error> {
    let unreachable =
        [io::ErrorKind::NotFound, io::ErrorKind::PermissionDenied, io::ErrorKind::ConnectionRefused];
    let unreachable = unreachable.map(|kind| Error::Unreachable {
        daemon,
        socket: "/run/d.sock".into(),
        problem: kind.into(),
    });
    let mut errors = Vec::from(unreachable);
    errors.push(Error::Closed { daemon, tries: 5 });
    errors.push(Error::Silent { daemon, after: Duration::from_secs(30) });
    errors.push(refused(daemon, 400, r#"{"message":"module identity not found"}"#));
    errors.push(refused(daemon, 401, r#"{"message":"authorization error"}"#));
    errors.push(refused(
        daemon,
        404,
        r#"{"message":"Hub client error\ncaused by: module m\u001b[2J not found"}"#,
    ));
    errors.push(refused(daemon, 422, "<html>"));
    errors.push(refused(daemon, 500, r#"{"message":"internal error"}"#));
    errors
}

#[test]
fn every_error_says_what_it_said() {
    let mut seen = String::new();
    for error in [Kind::Identityd, Kind::Keyd, Kind::Edged].into_iter().flat_map(of) {
        let error: crate::error::Error = error.into();
        let exit = error.exit();
        writeln!(seen, "exit status {} ({exit:?})\n{}", exit.code(), error.report()).unwrap();
    }
    let user = process::user().to_string();
    let uid = |text: &str| text.replace("987", &user);
    for text in ["uid = 987,", "-nu 987", "user 987 "] {
        seen = seen.replace(&uid(text), text);
    }
    same("daemon-errors.txt", &seen);
}
