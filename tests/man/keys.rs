//! Each key of the two configuration files is on its page, and each key of a page is one of the program's.

use std::collections::BTreeSet;
use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use iotstream::agent;
use iotstream::error::Result;
use iotstream::profile::Profiles;

use crate::page::Page;

/// A key that is unlike all others, so that the program's hint lists the known ones.
const UNKNOWN: &str = "\"?\" = 1";

const PROFILES: (&str, &[(&str, &str)]) = (
    "iotstream-profiles.5",
    &[
        ("Top level", ""),
        ("[profile.NAME]", "[profile.x]\n"),
        ("[profile.NAME.devices]", "[profile.x.devices]\nx = { KEY }"),
    ],
);

const AGENT: (&str, &[(&str, &str)]) = (
    "iotstream-agent.toml.5",
    &[
        ("Top level", ""),
        ("[provisioning]", "[provisioning]\n"),
        ("[relay]", "[relay]\n"),
        ("[[target]]", "[[target]]\n"),
    ],
);

fn known(head: &str, read: impl Fn(&Path) -> Result<()>) -> BTreeSet<String> {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let file = directory.path().join("file.toml");
    let text = if head.contains("KEY") { head.replace("KEY", UNKNOWN) } else { format!("{head}{UNKNOWN}\n") };
    fs::write(&file, text).expect("a file");
    fs::set_permissions(&file, Permissions::from_mode(0o600)).expect("its mode");
    let hint = read(&file).expect_err("an unknown key").hint().expect("a hint");
    let keys = hint.strip_prefix("the keys here are ").unwrap_or_else(|| panic!("no list of keys: {hint}"));
    keys.split(", ").map(str::to_owned).collect()
}

fn compare((file, tables): (&str, &[(&str, &str)]), read: impl Fn(&Path) -> Result<()>) {
    let known: Vec<_> =
        tables.iter().map(|(title, head)| ((*title).to_owned(), known(head, &read))).collect();
    let described = Page::read(file).terms("FILE FORMAT").into_iter().skip(1);
    let described: Vec<_> = described.map(|(title, keys)| (title, BTreeSet::from_iter(keys))).collect();
    assert_eq!(described, known, "left is man/{file}, right is what the program takes");
}

#[test]
fn each_key_of_a_profile_file_is_described() {
    compare(PROFILES, |file| Profiles::read(file).map(drop));
}

#[test]
fn each_key_of_an_agent_s_configuration_is_described() {
    compare(AGENT, |file| agent::Config::read(file).map(drop));
}
