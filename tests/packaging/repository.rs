//! The address of the repository, and what crates.io gets.

use std::fs;
use std::process::Command;

use crate::support::finish;

fn in_the_source(program: &str, arguments: &[&str]) -> String {
    let mut command = Command::new(program);
    finish(command.args(arguments).current_dir(env!("CARGO_MANIFEST_DIR"))).succeeded().text().to_owned()
}

#[test]
fn the_address_of_the_repository_is_in_the_manifest_alone() {
    let address = env!("CARGO_PKG_REPOSITORY");
    assert!(address.starts_with("https://"), "{address:?}");
    let address = address.trim_start_matches("https://");
    let found = in_the_source("git", &["grep", "--fixed-strings", "--count", address, "--", "."]);
    assert_eq!(found, "Cargo.toml:1\n");
}

#[test]
fn the_crate_has_the_program_and_its_documentation_alone() {
    let listed = in_the_source("cargo", &["package", "--list", "--offline", "--locked", "--allow-dirty"]);
    let mut top: Vec<&str> = listed.lines().map(|file| file.split('/').next().unwrap()).collect();
    top.dedup();
    let expected = [
        ".cargo_vcs_info.json",
        "CHANGELOG.md",
        "Cargo.lock",
        "Cargo.toml",
        "Cargo.toml.orig",
        "LICENSE",
        "README.md",
        "build.rs",
        "completions",
        "man",
        "src",
    ];
    assert_eq!(top, expected);
    let pages = fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/man")).expect("the pages").count();
    assert_eq!(listed.lines().filter(|file| file.starts_with("man/")).count(), pages);
}
