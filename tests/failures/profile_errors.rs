//! Errors in the profile file, found before anything is sent.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use super::{CONFIG, USABLE, fails, with_profiles};
use crate::support::{DEVICE, Sandbox};

#[test]
fn a_malformed_connection_string_is_a_profile_error_that_does_not_show_it() {
    let sandbox = Sandbox::new();
    for (connection_string, problem) in [
        ("HostName=localhost;SharedAccessKeyName=service", "no SharedAccessKey"),
        ("SharedAccessKeyName=service;SharedAccessKey=MDEyMw==", "no HostName"),
        (
            "HostName=localhost;SharedAccessKeyName=service;SharedAccessKey=not*base64",
            "SharedAccessKey is not base64",
        ),
        ("MDEyMw", "connection string"),
    ] {
        let (mut helper, _) = with_profiles(
            &sandbox,
            &format!(
                "default = \"factory\"\n[profile.factory]\nconnection-string = \"{connection_string}\"\n"
            ),
        );
        let done = fails(helper.arg(DEVICE), CONFIG, &[problem]);
        for key in ["MDEyMw", "not*base64"] {
            assert!(!done.stderr.contains(key), "{}", done.stderr);
        }
    }
}

#[test]
fn an_unknown_key_in_a_profile_is_named_with_its_line() {
    let sandbox = Sandbox::new();
    let (mut helper, path) = with_profiles(&sandbox, &format!("{USABLE}conect-timeout = \"30s\"\n"));
    fails(helper.arg("gw.factory"), CONFIG, &["conect-timeout", &format!("{}:4", path.display())]);
}

#[test]
fn an_unknown_profile_is_named_with_the_existing_ones() {
    let sandbox = Sandbox::new();
    let (mut helper, _) = with_profiles(&sandbox, USABLE);
    fails(helper.args(["--profile", "facktory", DEVICE]), CONFIG, &["'facktory'", "factory"]);
}

#[test]
fn a_host_that_matches_no_profile_is_a_profile_error() {
    let sandbox = Sandbox::new();
    let (mut helper, _) = with_profiles(&sandbox, USABLE);
    fails(helper.arg("gw.office"), CONFIG, &["no default profile"]);
}

#[test]
fn a_missing_profile_file_is_named() {
    let sandbox = Sandbox::new();
    let missing = sandbox.path("missing.toml");
    let mut helper = sandbox.iotstream();
    let shown = missing.display().to_string();
    fails(helper.arg("--config").arg(&missing).arg(DEVICE), CONFIG, &[&shown]);
}

fn make_readable_by_all(path: &Path) {
    fs::set_permissions(path, fs::Permissions::from_mode(0o644)).unwrap();
}

#[test]
fn a_profile_file_readable_by_others_is_refused_with_the_chmod_that_fixes_it() {
    let sandbox = Sandbox::new();
    let (mut helper, path) = with_profiles(&sandbox, USABLE);
    make_readable_by_all(&path);
    fails(helper.arg("gw.factory"), CONFIG, &["0644", "chmod", &path.display().to_string()]);
}

#[test]
fn a_key_file_readable_by_others_is_refused_with_the_chmod_that_fixes_it() {
    let sandbox = Sandbox::new();
    let key_file =
        sandbox.write("key.conn", "HostName=localhost;SharedAccessKeyName=s;SharedAccessKey=MDEyMw==");
    make_readable_by_all(&key_file);
    let (mut helper, _) = with_profiles(
        &sandbox,
        &format!("[profile.p]\nconnection-string-file = \"{}\"\nhosts = [\"*\"]\n", key_file.display()),
    );
    fails(helper.arg(DEVICE), CONFIG, &["0644", "chmod", &key_file.display().to_string()]);
}
