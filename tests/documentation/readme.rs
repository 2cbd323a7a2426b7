use std::collections::BTreeSet;

use pulldown_cmark::{Event, Options, Parser, Tag, TagEnd};

use super::reader::{Example, Reader, examples};
use super::terminal_session::has_in_order;
use crate::support::{LIMIT, Sandbox, Stdin, run};

const README: &str = include_str!("../../README.md");

/// The blocks that are not run here, by their first lines, and the reason.
const LEFT_OUT: [(&str, &str); 3] = [
    ("tests/demo", "builds for release; tests/commands/demo.rs runs the demo that it ends in"),
    ("tests/run", "is what runs this test"),
    ("cargo install --locked --path .", "builds for release, and installs for the user who runs the tests"),
];

fn first_line(example: &Example) -> &str {
    example.text.lines().next().unwrap_or_default()
}

fn is_left_out(example: &Example) -> bool {
    LEFT_OUT.iter().any(|(first, _)| *first == first_line(example))
}

#[test]
fn the_commands_in_the_readme_work() {
    let all = examples(README);
    for (first, why) in LEFT_OUT {
        let there = all.iter().any(|example| first_line(example) == first);
        assert!(there, "README.md has no '{first}' any more, which {why}: take it off the list");
    }
    for section in README.split("\n## ") {
        let mut examples = examples(section);
        // Illustrations are marked as text; a block without an info string fails.
        examples.retain(|example| example.how != "text" && !is_left_out(example));
        if examples.is_empty() {
            continue;
        }
        let mut reader = Reader::new(&examples);
        for example in &examples {
            reader.follows(example);
        }
    }
}

/// The rows of the table under a heading: for each cell the text, and the code in it.
fn rows(title: &str) -> Vec<Vec<(String, Vec<String>)>> {
    let (_, section) = README.split_once(&format!("\n## {title}\n")).expect("the section");
    let (section, _) = section.split_once("\n## ").expect("another one after it");
    let (mut rows, mut in_body) = (Vec::<Vec<(String, Vec<String>)>>::new(), false);
    for event in Parser::new_ext(section, Options::ENABLE_TABLES) {
        match event {
            Event::End(TagEnd::TableHead) => in_body = true,
            Event::End(TagEnd::Table) => in_body = false,
            Event::Start(Tag::TableRow) if in_body => rows.push(Vec::new()),
            Event::Start(Tag::TableCell) if in_body => rows.last_mut().unwrap().push(Default::default()),
            Event::Text(text) if in_body => rows.last_mut().unwrap().last_mut().unwrap().0 += &text,
            Event::Code(code) if in_body => {
                rows.last_mut().unwrap().last_mut().unwrap().1.push(code.into_string());
            }
            _ => {}
        }
    }
    rows
}

const MESSAGES: &str =
    concat!(include_str!("../snapshots/errors.txt"), include_str!("../snapshots/iothub-errors.txt"));

#[test]
fn the_troubleshooting_table_has_exactly_the_steps_of_check() {
    let sandbox = Sandbox::new();
    let done = run(sandbox.iotstream().args(["check", "--json", "nobody"]), Stdin::Ends(b""), LIMIT);
    let found: serde_json::Value = serde_json::from_str(done.text()).expect("JSON on stdout");
    // Without a profile the first step fails and all others are skipped.
    let found = found.as_array().unwrap().iter().map(|finding| finding["check"].as_str().unwrap().to_owned());
    let mut phases: Vec<String> = found.collect();
    // Steps that appear only when they fail have errors named for them.
    let errors = MESSAGES.split("\n\n").filter(|record| record.starts_with("Network:"));
    for error in errors.map(|record| record.lines().nth(1).unwrap()) {
        let phase = error.trim_start_matches("iotstream: error: ").split_once(':').unwrap().0.to_owned();
        if !phases.contains(&phase) {
            phases.push(phase);
        }
    }
    let rows = rows("When it does not work");
    let told: BTreeSet<_> = rows.iter().map(|row| row[1].0.clone()).collect();
    assert_eq!(told, BTreeSet::from_iter(phases), "left is README.md, right is what check knows");
    let page = include_str!("../../man/iotstream-check.1");
    for phase in told {
        assert!(page.contains(&format!("\\fB{phase}\\fR")), "iotstream-check(1) does not tell of {phase}");
    }
}

#[test]
fn the_troubleshooting_table_quotes_messages_of_the_program() {
    for row in rows("When it does not work") {
        for shown in &row[0].1 {
            let said = |message: &str| has_in_order(message, shown.split('…').map(str::trim));
            assert!(MESSAGES.lines().any(said), "no error says '{shown}'");
        }
    }
}
