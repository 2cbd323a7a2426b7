//! `iotstream demo`.

use std::process::Command;
use std::time::Duration;

use crate::support::{Bench, Finished, LIMIT, Stdin, run};

#[track_caller]
fn finish(command: &mut Command) -> Finished {
    run(command, Stdin::Ends(b""), LIMIT)
}

#[test]
fn the_demo_runs_a_session_and_exits_as_its_ssh_does() {
    let bench = Bench::new();
    let done = finish(bench.iotstream().args(["demo", "--", "echo shown; exit 7"]));
    assert_eq!(done.status.code(), Some(7), "{}", done.stderr);
    assert!(done.text().contains("shown\n"), "{}", done.text());
    let own = [("IOTSTREAM_PROFILE", "mine"), ("IOTSTREAM_CONFIG", "/nowhere"), ("IOTSTREAM_STREAM", "mine")];
    finish(bench.iotstream().arg("demo").envs(own)).succeeded();
    bench.left_alone_with(Duration::from_secs(5), &[]);
}
