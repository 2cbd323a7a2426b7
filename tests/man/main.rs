//! The manual pages in `man/` agree with the program: with its options, keys, exit statuses and messages.

#![allow(unreachable_pub, reason = "no other crate can name the items of a test")]

mod command;
mod keys;
mod page;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::process::Command;
use std::time::SystemTime;

use iotstream::time::clock::iso8601;
use page::Page;

const FORMATS: [&str; 2] = ["iotstream-agent.toml.5", "iotstream-profiles.5"];

const RECIPES: &str = "iotstream-recipes.7";

/// What a page may have, in this order, and which of it the pages of sections 1, 5 and 7 must have.
const SECTIONS: [(&str, &str); 21] = [
    ("NAME", "157"),
    ("SYNOPSIS", "15"),
    ("DESCRIPTION", "157"),
    ("THROUGH SSH", "7"),
    ("THROUGH A STREAM OF ITS OWN", "7"),
    ("THROUGH A SOCKET UNIT", "7"),
    ("OPTIONS", "1"),
    ("COMMANDS", ""),
    ("FILE FORMAT", "5"),
    ("HOST KEYS", ""),
    ("FILES", "15"),
    ("ENVIRONMENT", "15"),
    ("EXIT STATUS", "1"),
    ("HOW A STREAM ENDS", ""),
    ("DIAGNOSTICS", ""),
    ("WINDOWS", ""),
    ("LIMITS", "7"),
    ("NOT TESTED", "7"),
    ("EXAMPLES", "15"),
    ("SECURITY", "15"),
    ("SEE ALSO", "157"),
];

fn pages() -> Vec<Page> {
    let commands = command::all().iter().map(command::file).collect::<Vec<_>>();
    commands.iter().map(String::as_str).chain(FORMATS).chain([RECIPES]).map(Page::read).collect()
}

#[test]
fn there_is_a_page_for_each_command_and_file_and_no_other() {
    let files = fs::read_dir(page::directory()).expect("the pages");
    let files: BTreeSet<_> =
        files.map(|file| file.expect("a file").file_name().into_string().expect("UTF-8")).collect();
    let pages: BTreeSet<_> = pages().into_iter().map(|page| page.file).collect();
    assert_eq!(files, pages, "left is what is in man, right is what there should be");
}

#[test]
fn the_title_and_the_marked_regions_are_what_the_program_says() {
    let commands =
        command::all().into_iter().map(|command| (command::file(&command), command::regions(&command)));
    let others = FORMATS.into_iter().chain([RECIPES]).map(|file| (file.to_owned(), BTreeMap::new()));
    for (file, regions) in commands.chain(others) {
        let page = Page::read(&file);
        let filled = page.filled(regions);
        let (_, body) = filled.split_once('\n').expect("a title line");
        if page.text == page.title(page.day()) + body {
            continue;
        }
        assert!(
            std::env::var_os("UPDATE").is_some(),
            "man/{file} is stale: run UPDATE=1 cargo test --test man"
        );
        let today = iso8601(SystemTime::now());
        let text = page.title(&today[.."2026-01-01".len()]) + body;
        fs::write(page::directory().join(file), text).expect("the page can be written");
    }
}

#[test]
fn each_page_has_the_sections_it_must_have_in_order() {
    for page in pages() {
        let has = page.sections();
        let must = |pages: &str| pages.contains(&page.file[page.file.len() - 1..]);
        let should = SECTIONS.iter().filter(|(section, pages)| must(pages) || has.contains(section));
        let should: Vec<_> = should.map(|(section, _)| *section).collect();
        assert_eq!(has, should, "left is what man/{} has, right is what it should have", page.file);
    }
}

#[test]
fn mandoc_and_groff_do_not_warn() {
    for page in pages() {
        let file = page::directory().join(&page.file);
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

/// The arguments and options in lines such as `-v, --verbose` or `<HOST>`.
fn options<'a>(lines: impl Iterator<Item = &'a str>) -> BTreeSet<String> {
    let mut options = BTreeSet::new();
    for line in lines {
        let words = line.split([' ', ',']).filter(|word| !word.is_empty());
        let words: Vec<_> = words.map(|word| word.trim_end_matches("...")).collect();
        let flags = words.iter().copied().filter(|word| word.starts_with('-'));
        let argument = words.first().copied().filter(|word| word.starts_with(['<', '[']));
        options.extend(flags.chain(argument).map(str::to_owned));
    }
    options
}

/// The options that `--help` lists: their descriptions are indented further.
fn helped(command: &clap::Command) -> BTreeSet<String> {
    let words = command.get_bin_name().unwrap_or_default().split(' ').skip(1);
    let output = Command::new(env!("CARGO_BIN_EXE_iotstream")).args(words).arg("--help").output();
    let text = String::from_utf8(output.expect("iotstream").stdout).expect("UTF-8");
    let indented = |line: &&str| (2..8).contains(&(line.len() - line.trim_start().len()));
    let starts = |line: &&str| line.starts_with(['-', '<', '[']);
    options(text.lines().filter(indented).map(str::trim_start).filter(starts))
}

fn documented(terms: &[String]) -> BTreeSet<String> {
    options(terms.iter().map(String::as_str))
}

#[test]
fn each_option_of_help_is_in_a_page_and_the_reverse() {
    for command in command::all() {
        let page = Page::read(&command::file(&command));
        assert_eq!(documented(&page.terms("OPTIONS")[0].1), helped(&command), "{}", page.file);
        if command::is_program(&command) {
            continue;
        }
        let commands = page.terms("COMMANDS");
        for nested in command.get_subcommands() {
            let name = nested.get_bin_name().expect("a built command");
            let found = commands.iter().find(|(title, _)| title.starts_with(&format!("{name} ")));
            let (_, terms) = found.unwrap_or_else(|| panic!("man/{} has no {name}", page.file));
            assert_eq!(documented(terms), helped(nested), "{name}");
        }
    }
}

#[test]
fn each_exit_status_is_in_the_table() {
    let source = include_str!("../../src/error/exit.rs");
    let (_, statuses) = source.split_once("pub enum Exit {").expect("the exit statuses");
    let (statuses, _) = statuses.split_once("\n}").expect("their end");
    let number = |line: &str| line.trim().strip_suffix(',')?.split_once(" = ")?.1.parse::<u8>().ok();
    let statuses: BTreeSet<u8> = statuses.lines().filter_map(number).chain([0]).collect();
    let (_, table) = Page::read("iotstream.1").terms("EXIT STATUS").remove(0);
    let table: BTreeSet<u8> = table.iter().map(|term| term.parse().expect("an exit status")).collect();
    assert_eq!(table, statuses, "left is the page, right is src/error/exit.rs");
}

#[test]
fn each_message_in_diagnostics_is_one_of_the_program_s() {
    let messages =
        [include_str!("../snapshots/errors.txt"), include_str!("../snapshots/iothub-errors.txt")].concat();
    let (_, explained) = Page::read("iotstream.1").terms("DIAGNOSTICS").pop().expect("messages");
    assert!(!explained.is_empty(), "the last part of DIAGNOSTICS explains messages");
    for explained in explained {
        let is_said = |message: &str| {
            let mut parts = explained.split('\u{2026}').map(str::trim);
            parts.try_fold(message, |rest, part| Some(rest.split_once(part)?.1)).is_some()
        };
        assert!(messages.lines().any(is_said), "no error says '{explained}'");
    }
}
