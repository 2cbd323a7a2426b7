//! Errors of the command line.

use super::{USABLE, USAGE, fails, with_profiles};
use crate::support::{DEVICE, LIMIT, Sandbox, Stdin, run};

#[test]
fn a_wrong_command_line_is_a_usage_error() {
    let sandbox = Sandbox::new();
    for (args, named) in [
        (&[][..], "<HOST>"),
        (&[DEVICE, "0"], "'0'"),
        (&[DEVICE, "65536"], "'65536'"),
        (&["--no-such-option", DEVICE], "'--no-such-option'"),
    ] {
        let done = run(sandbox.iotstream().args(args), Stdin::Stays(b"hello"), LIMIT);
        assert_eq!((done.status.code(), done.text()), (Some(USAGE), ""), "{args:?}: {}", done.stderr);
        assert!(done.stderr.contains(named), "{args:?}: {}", done.stderr);
    }
}

#[test]
fn a_numeric_name_that_ssh_rewrote_is_a_usage_error_that_shows_the_name_option() {
    let sandbox = Sandbox::new();
    let (mut helper, _) = with_profiles(&sandbox, &format!("default = \"factory\"\n{USABLE}"));
    fails(helper.arg("0.0.4.210"), USAGE, &["0.0.4.210", "\"--name=%n\""]);
}
