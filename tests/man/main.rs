//! The manual pages in `man/`: made of the command line's definition and of the prose beside this file.

mod command;
mod keys;
mod markdown;
mod page;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::SystemTime;

use iotstream::time::clock::iso8601;
use page::Page;

const REWRITE: &str = "UPDATE=1 cargo test --test man";

fn pages() -> Vec<Page> {
    let formats = ["iotstream-profiles.5", "iotstream-agent.toml.5"];
    let formats = formats.map(|file| Page::new(file, &BTreeMap::new()));
    command::all().iter().map(command::page).chain(formats).collect()
}

fn directory(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(name)
}

fn files(name: &str) -> BTreeSet<String> {
    let entries = fs::read_dir(directory(name)).expect("a directory");
    entries.map(|entry| entry.expect("a file").file_name().into_string().expect("UTF-8")).collect()
}

/// The day on which a page was last changed.
fn date(page: &str) -> &str {
    page.lines().find(|line| line.starts_with(".TH")).and_then(|title| title.split(' ').nth(3)).unwrap_or("")
}

#[test]
fn the_committed_pages_are_what_the_source_says() {
    let update = std::env::var_os("UPDATE").is_some();
    let pages = pages();
    for page in &pages {
        let path = directory("man").join(&page.file);
        let committed = fs::read_to_string(&path).unwrap_or_default();
        if committed == page.dated(date(&committed)) {
            continue;
        }
        assert!(update, "man/{} is stale: run {REWRITE}", page.file);
        let today = iso8601(SystemTime::now());
        fs::write(path, page.dated(&today[.."2026-01-01".len()])).expect("the page can be written");
    }
    let all: BTreeSet<_> = pages.into_iter().map(|page| page.file).collect();
    assert_eq!(files("man"), all, "left is what is in man, right is what there are pages for");
    let prose = all.iter().map(|file| format!("{file}.md")).collect();
    assert_eq!(files("tests/man/prose"), prose, "left is the prose, right is what there are pages for");
}

#[test]
fn mandoc_and_groff_have_nothing_to_say() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    for page in pages() {
        let file = directory.path().join(&page.file);
        fs::write(&file, page.dated("2026-01-01")).expect("the page can be written");
        let lints =
            [("mandoc", &["-T", "lint", "-W", "warning"][..]), ("groff", &["-man", "-ww", "-Tutf8", "-z"])];
        for (program, arguments) in lints {
            let output = Command::new(program).args(arguments).arg(&file).output();
            let output = output.unwrap_or_else(|error| panic!("{program}: {error}: run .ci/setup"));
            let said = [output.stdout, output.stderr].concat();
            let said = String::from_utf8_lossy(&said);
            assert!(output.status.success() && said.is_empty(), "{program} about {}:\n{said}", page.file);
        }
    }
}

/// The arguments and options that are told of in lines such as `-v, --verbose` or `<HOST>`.
fn told<'a>(lines: impl Iterator<Item = &'a str>) -> BTreeSet<String> {
    let mut told = BTreeSet::new();
    for line in lines {
        let words = line.split([' ', ',']).filter(|word| !word.is_empty());
        let words: Vec<_> = words.map(|word| word.trim_end_matches("...")).collect();
        let options = words.iter().copied().filter(|word| word.starts_with('-'));
        let argument = words.first().copied().filter(|word| word.starts_with(['<', '[']));
        told.extend(options.chain(argument).map(str::to_owned));
    }
    told
}

/// What `--help` tells of: descriptions are indented further.
fn helped(command: &clap::Command) -> BTreeSet<String> {
    let words = command.get_bin_name().unwrap_or_default().split(' ').skip(1);
    let output = Command::new(env!("CARGO_BIN_EXE_iotstream")).args(words).arg("--help").output();
    let text = String::from_utf8(output.expect("iotstream").stdout).expect("UTF-8");
    let indented = |line: &&str| (2..8).contains(&(line.len() - line.trim_start().len()));
    let starts = |line: &&str| line.starts_with(['-', '<', '[']);
    told(text.lines().filter(indented).map(str::trim_start).filter(starts))
}

/// What a page tells of from the line that begins with `title` to the next title: the terms of its lists.
fn documented(page: &Page, title: &str) -> BTreeSet<String> {
    let plain = page.body.replace("\\fB", "").replace("\\fI", "").replace("\\fR", "").replace("\\-", "-");
    let mut lines = plain.lines().skip_while(|line| !line.starts_with(title)).skip(1);
    let lines: Vec<_> = lines.by_ref().take_while(|line| !line.starts_with(".S")).collect();
    told(lines.windows(2).filter(|pair| pair[0] == ".TP").map(|pair| pair[1]))
}

#[test]
fn each_option_of_help_is_in_a_page_and_the_reverse() {
    for command in command::all() {
        let page = command::page(&command);
        assert_eq!(documented(&page, ".SH \"OPTIONS\""), helped(&command), "{}", page.file);
        let is_program = command.get_name() == env!("CARGO_PKG_NAME");
        for nested in command.get_subcommands().filter(|_| !is_program) {
            let name = nested.get_bin_name().expect("a built command");
            assert_eq!(documented(&page, &format!(".SS \"{name} ")), helped(nested), "{name}");
        }
    }
}

#[test]
fn each_exit_status_is_in_the_table() {
    let source = include_str!("../../src/error/mod.rs");
    let (_, statuses) = source.split_once("pub enum Exit {").expect("the exit statuses");
    let (statuses, _) = statuses.split_once("\n}").expect("their end");
    let number = |line: &str| line.trim().strip_suffix(',')?.split_once(" = ")?.1.parse::<u8>().ok();
    let statuses: BTreeSet<u8> = statuses.lines().filter_map(number).chain([0]).collect();
    let table = page::terms("iotstream.1", "EXIT STATUS").remove(0).1;
    let table: BTreeSet<u8> = table.iter().map(|term| term.parse().expect("an exit status")).collect();
    assert_eq!(table, statuses, "left is the page, right is src/error/mod.rs");
}

#[test]
fn each_message_that_is_explained_is_one_of_the_program_s() {
    let messages = [include_str!("../snapshots/errors.txt"), include_str!("../snapshots/iothub-errors.txt")].concat();
    let explained = page::terms("iotstream.1", "DIAGNOSTICS").pop().expect("messages").1;
    for explained in explained {
        let said = |message: &str| {
            let mut parts = explained.split('\u{2026}').map(str::trim);
            parts.try_fold(message, |rest, part| Some(rest.split_once(part)?.1)).is_some()
        };
        assert!(messages.lines().any(said), "no error says '{explained}'");
    }
}
