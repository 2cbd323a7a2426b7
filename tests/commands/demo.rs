//! `iotstream demo`.

use std::time::Duration;

use crate::support::{Sandbox, finish};

#[test]
fn the_demo_runs_a_session_and_exits_with_the_status_of_ssh() {
    let sandbox = Sandbox::new();
    let done = finish(sandbox.iotstream().args(["demo", "--", "echo shown; exit 7"]));
    assert_eq!(done.status.code(), Some(7), "{}", done.stderr);
    assert!(done.text().contains("shown\n"), "{}", done.text());
    let own = [("IOTSTREAM_PROFILE", "mine"), ("IOTSTREAM_CONFIG", "/nowhere"), ("IOTSTREAM_STREAM", "mine")];
    finish(sandbox.iotstream().arg("demo").envs(own)).succeeded();
    let done = finish(sandbox.iotstream().args(["demo", "--relay", "--", "echo shown; exit 7"]));
    assert_eq!((done.status.code(), done.text()), (Some(7), "shown\n"), "{}", done.stderr);
    assert!(!sandbox.path(".local").exists());
    sandbox.leaves_only(Duration::from_secs(5), &[]);
}
