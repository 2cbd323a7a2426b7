//! Markdown as the text of a manual page.

use std::mem::take;
use std::ops::Range;

use clap_mangen::roff::{Inline, Roff, bold, italic, roman};
use pulldown_cmark::{Event, HeadingLevel, Options, Parser, Tag, TagEnd};

fn parse(markdown: &str) -> Parser<'_> {
    Parser::new_ext(markdown, Options::ENABLE_DEFINITION_LIST)
}

/// The sections that first-level headings begin, each with its title.
pub fn sections(markdown: &str) -> Vec<(&str, &str)> {
    let is_title = |(event, place): (Event<'_>, Range<usize>)| {
        matches!(event, Event::Start(Tag::Heading { level: HeadingLevel::H1, .. })).then_some(place)
    };
    let titles: Vec<_> = parse(markdown).into_offset_iter().filter_map(is_title).collect();
    let ends = titles.iter().skip(1).map(|next| next.start).chain([markdown.len()]);
    let section = |(title, end): (&Range<usize>, usize)| {
        (markdown[title.clone()].trim_start_matches('#').trim(), markdown[title.end..end].trim())
    };
    titles.iter().zip(ends).map(section).collect()
}

/// The terms that a section defines, by subsection; what comes before the first one has no title.
pub fn terms(markdown: &str) -> Vec<(String, Vec<String>)> {
    let mut terms = vec![(String::new(), Vec::new())];
    let (mut in_title, mut in_term) = (false, false);
    for event in parse(markdown) {
        match event {
            Event::Start(Tag::Heading { .. }) => {
                in_title = true;
                terms.push((String::new(), Vec::new()));
            }
            Event::End(TagEnd::Heading(_)) => in_title = false,
            Event::Start(Tag::DefinitionListTitle) => in_term = true,
            Event::End(TagEnd::DefinitionListTitle) => in_term = false,
            Event::Text(text) | Event::Code(text) => match terms.last_mut() {
                Some((title, _)) if in_title => title.push_str(&text),
                Some((_, words)) if in_term && &*text != ", " => words.push(text.into_string()),
                _ => {}
            },
            _ => {}
        }
    }
    terms
}

/// Sets a section's text, which begins below its title, or below text that is there already.
///
/// # Panics
/// At Markdown that pages have no form for.
pub fn set(markdown: &str, below_title: bool) -> String {
    let mut setter = Setter {
        roff: Roff::new(),
        line: Vec::new(),
        font: roman,
        below_title,
        in_definition: false,
        number: None,
    };
    for event in parse(markdown) {
        setter.take(event);
    }
    setter.roff.to_roff()
}

struct Setter {
    roff: Roff,
    line: Vec<Inline>,
    font: fn(String) -> Inline,
    /// What follows belongs to a title, a term or a bullet, and begins no paragraph of its own.
    below_title: bool,
    in_definition: bool,
    /// Of the next item in a list that is numbered.
    number: Option<u64>,
}

impl Setter {
    fn take(&mut self, event: Event<'_>) {
        match event {
            Event::Text(text) => self.line.push((self.font)(text.into_string())),
            Event::Code(text) => self.line.push(bold(text)),
            Event::SoftBreak => self.line.push(roman("\n")),
            Event::Start(Tag::Emphasis) => self.font = italic,
            Event::End(TagEnd::Emphasis) => self.font = roman,
            Event::Start(Tag::Paragraph) => self.paragraph(),
            Event::Start(Tag::DefinitionListTitle) => self.item("TP", &[]),
            Event::Start(Tag::List(first)) => self.number = first,
            Event::Start(Tag::Item) => match &mut self.number {
                None => self.item("IP", &["\\(bu", "2"]),
                Some(number) => {
                    let label = format!("{number}.");
                    *number += 1;
                    self.item("IP", &[&label, "4"]);
                }
            },
            Event::Start(Tag::DefinitionListDefinition) => self.in_definition = true,
            Event::Start(Tag::CodeBlock(_)) => self.paragraph(),
            Event::Start(Tag::Heading { .. } | Tag::DefinitionList) => {}
            Event::End(TagEnd::Heading(_)) => {
                let title = self.words();
                self.item("SS", &[&title]);
            }
            Event::End(TagEnd::CodeBlock) => self.code(),
            Event::End(TagEnd::DefinitionListDefinition) => {
                self.end_line();
                self.in_definition = false;
                self.below_title = false;
            }
            Event::End(TagEnd::Paragraph | TagEnd::DefinitionListTitle | TagEnd::Item) => self.end_line(),
            Event::End(TagEnd::List(_) | TagEnd::DefinitionList) => self.below_title = false,
            other => panic!("pages have no form for {other:?}"),
        }
    }

    fn item(&mut self, macro_name: &str, arguments: &[&str]) {
        self.roff.control(macro_name, arguments.iter().copied());
        self.below_title = true;
    }

    fn paragraph(&mut self) {
        if !take(&mut self.below_title) {
            self.roff.control(if self.in_definition { "IP" } else { "PP" }, []);
        }
    }

    fn end_line(&mut self) {
        if !self.line.is_empty() {
            self.roff.text(take(&mut self.line));
        }
    }

    fn code(&mut self) {
        self.roff.control("RS", ["4"]).control("EX", []);
        for line in self.words().lines() {
            self.roff.text([roman(line)]);
        }
        // After code, groff would break words again.
        self.roff.control("EE", []).control("nh", []).control("RE", []);
    }

    /// What was said since the last line, without its fonts.
    fn words(&mut self) -> String {
        let words = take(&mut self.line).into_iter().map(|inline| match inline {
            Inline::Roman(text) | Inline::Italic(text) | Inline::Bold(text) => text,
            Inline::LineBreak => "\n".into(),
        });
        words.collect()
    }
}
