//! What the command line's definition says of a page.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io;

use clap::{Command, CommandFactory};
use clap_mangen::Man;
use clap_mangen::roff::{Roff, bold, roman};
use iotstream::cli::Cli;

use crate::markdown;
use crate::page::Page;

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

pub fn page(command: &Command) -> Page {
    let about = command.get_about().expect("a command says what it does");
    let name = format!("{} - {about}", command.get_display_name().unwrap_or(command.get_name()));
    let mut generated = BTreeMap::from([
        ("NAME", Roff::from(name).to_roff()),
        ("SYNOPSIS", synopsis(command)),
        ("OPTIONS", options(command)),
        ("ENVIRONMENT", markdown::set(&environment(command), true)),
    ]);
    let is_program = command.get_name() == env!("CARGO_PKG_NAME");
    if is_program {
        generated
            .insert("COMMANDS", section(|out| Man::new(command.clone()).render_subcommands_section(out)));
    } else if command.has_subcommands() {
        generated.insert("COMMANDS", command.get_subcommands().map(nested).collect());
    }
    Page::new(&file(command), &generated)
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
        let words = line.find(['[', '<', '-']).unwrap_or(line.len());
        roff.text([bold(line[..words].trim_end()), roman(" "), roman(&line[words..])]);
    }
    roff.to_roff()
}

fn options(command: &Command) -> String {
    section(|out| Man::new(command.clone()).render_options_section(out))
}

/// A command's command, which is told of on the same page.
fn nested(command: &Command) -> String {
    let usage = command.clone().render_usage().to_string();
    let mut roff = Roff::new();
    roff.control("SS", [usage.trim_start_matches("Usage:").trim()]);
    roff.text([roman(command.get_about().expect("a command says what it does").to_string())]);
    roff.to_roff() + &options(command)
}

/// The text of a section, without its title and what goes before.
fn section(render: impl Fn(&mut dyn io::Write) -> io::Result<()>) -> String {
    let mut rendered = Vec::new();
    render(&mut rendered).expect("memory takes all");
    let rendered = String::from_utf8(rendered).expect("UTF-8");
    let (_, text) = rendered.split_once(".SH ").expect("a section");
    let (_, text) = text.split_once('\n').expect("a title");
    // No help leaves an empty line, and possible values have one before them: mandoc finds that wrong.
    let mends =
        [("\\*(Aq", "'"), (".br\n\n.br\n", ".br\n"), ("\n\n.br\n", "\n"), ("\n\n", "\n"), (" \n", "\n")];
    mends.iter().fold(text.to_owned(), |text, (wrong, right)| text.replace(wrong, right))
}

/// The variables that stand for options: the command's own, and those of its commands.
fn environment(command: &Command) -> String {
    let mut variables = Vec::new();
    collect(command, "", &mut variables);
    let mut text = "Each of these stands for an option, which goes before it:\n".to_owned();
    for (variable, option) in variables {
        let _ = write!(text, "\n`{variable}`\n: {option}\n");
    }
    text
}

fn collect(command: &Command, of: &str, variables: &mut Vec<(String, String)>) {
    for argument in command.get_arguments() {
        let (Some(variable), Some(option)) = (argument.get_env(), argument.get_long()) else { continue };
        let variable = variable.to_string_lossy().into_owned();
        if variables.iter().all(|(known, _)| *known != variable) {
            variables.push((variable, format!("`--{option}`{of}")));
        }
    }
    for command in command.get_subcommands() {
        let of = format!(" of `{}`", command.get_bin_name().unwrap_or(command.get_name()));
        collect(command, &of, variables);
    }
}
