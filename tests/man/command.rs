//! The regions of a page that the command line's definition fills.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io;

use clap::{Command, CommandFactory};
use clap_mangen::Man;
use clap_mangen::roff::{Roff, bold, roman};
use iotstream::cli::Cli;

/// The program and each of its commands.
pub fn all() -> Vec<Command> {
    let mut program = Cli::command().subcommand_help_heading("COMMANDS");
    program.build();
    let commands: Vec<_> = program.get_subcommands().cloned().collect();
    [program].into_iter().chain(commands).collect()
}

/// The file of a command's page.
pub fn file(command: &Command) -> String {
    format!("{}.1", command.get_display_name().unwrap_or(command.get_name()))
}

pub fn is_program(command: &Command) -> bool {
    command.get_name() == env!("CARGO_PKG_NAME")
}

pub fn regions(command: &Command) -> BTreeMap<&'static str, String> {
    let about = command.get_about().expect("a command says what it does");
    let name = format!("{} - {about}", command.get_display_name().unwrap_or(command.get_name()));
    let mut regions = BTreeMap::from([
        ("NAME", Roff::from(name).to_roff()),
        ("SYNOPSIS", synopsis(command)),
        ("OPTIONS", options(command)),
    ]);
    if is_program(command) {
        let commands = section(|out| Man::new(command.clone()).render_subcommands_section(out));
        regions.insert("COMMANDS", commands);
    } else if command.has_subcommands() {
        regions.insert("COMMANDS", command.get_subcommands().map(nested).collect());
    }
    regions.into_iter().map(|(name, text)| (name, exactly(&text))).collect()
}

/// How the command is called, as `--help` has it.
fn synopsis(command: &Command) -> String {
    let usage = command.clone().render_usage().to_string();
    let mut roff = Roff::new();
    for (index, line) in usage.trim_start_matches("Usage:").lines().enumerate() {
        if index > 0 {
            roff.control("br", []);
        }
        let line = line.trim();
        let mut spaces = line.match_indices(' ').map(|(at, _)| at);
        let words = spaces.find(|at| line[at + 1..].starts_with(['[', '<', '-'])).unwrap_or(line.len());
        roff.text([bold(&line[..words]), roman(&line[words..])]);
    }
    roff.to_roff()
}

fn options(command: &Command) -> String {
    section(|out| Man::new(command.clone()).render_options_section(out))
}

/// A command of a command, which is on the same page.
fn nested(command: &Command) -> String {
    let usage = command.clone().render_usage().to_string();
    let mut roff = Roff::new();
    roff.control("SS", [usage.trim_start_matches("Usage:").trim()]);
    roff.text([roman(command.get_about().expect("a command says what it does").to_string())]);
    roff.to_roff() + &options(command)
}

/// The text of a section, without its title and what precedes it.
fn section(render: impl Fn(&mut dyn io::Write) -> io::Result<()>) -> String {
    let mut rendered = Vec::new();
    render(&mut rendered).expect("memory takes all");
    let rendered = String::from_utf8(rendered).expect("UTF-8");
    let (_, text) = rendered.split_once(".SH ").expect("a section");
    let (_, text) = text.split_once('\n').expect("a title");
    // An option without help leaves an empty line and possible values begin with one: mandoc warns of both.
    let fixes =
        [("\\*(Aq", "'"), (".br\n\n.br\n", ".br\n"), ("\n\n.br\n", "\n"), ("\n\n", "\n"), (" \n", "\n")];
    fixes.iter().fold(text.to_owned(), |text, (wrong, right)| text.replace(wrong, right))
}

/// Escapes the characters that typesetters replace by others, and those beyond ASCII.
fn exactly(roff: &str) -> String {
    let mut exact = String::with_capacity(roff.len());
    for c in roff.chars() {
        match c {
            '\'' => exact += "\\(aq",
            '`' => exact += "\\(ga",
            '^' => exact += "\\(ha",
            '~' => exact += "\\(ti",
            c if c.is_ascii() => exact.push(c),
            c => drop(write!(exact, "\\[u{:04X}]", u32::from(c))),
        }
    }
    exact
}
