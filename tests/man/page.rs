//! A page of `man/`: its title line, its sections and the terms of its lists.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

const BEGIN: &str = ".\\\" begin ";
const END: &str = ".\\\" end\n";

pub struct Page {
    /// As a file: `iotstream-agent.1`.
    pub file: String,
    pub text: String,
}

pub fn directory() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("man")
}

impl Page {
    /// # Panics
    /// When `man/` has no such page.
    pub fn read(file: &str) -> Self {
        let text = fs::read_to_string(directory().join(file));
        let text = text.unwrap_or_else(|error| panic!("man/{file}: {error}: write it"));
        Self { file: file.into(), text }
    }

    /// The title line: the day is that of the last change.
    pub fn title(&self, day: &str) -> String {
        let (name, section) = self.file.rsplit_once('.').expect("a section");
        let (name, version) = (name.to_uppercase(), env!("CARGO_PKG_VERSION"));
        format!(".TH {name} {section} {day} \"iotstream {version}\" \"iotstream manual\"\n")
    }

    pub fn day(&self) -> &str {
        self.text.strip_prefix(".TH ").and_then(|title| title.split(' ').nth(2)).unwrap_or_default()
    }

    /// The page's text with `regions` in place of what stands between `.\" begin NAME, …` and `.\" end`.
    ///
    /// # Panics
    /// When the page lacks a region, or has one that is not given.
    pub fn filled(&self, mut regions: BTreeMap<&str, String>) -> String {
        let mut parts = self.text.split(BEGIN);
        let mut filled = parts.next().expect("a first part").to_owned();
        for part in parts {
            let (line, rest) = part.split_once('\n').expect("a whole line");
            let (name, _) = line.split_once(',').unwrap_or((line, ""));
            let (_, rest) =
                rest.split_once(END).unwrap_or_else(|| panic!("{}: {name} has no end", self.file));
            let text = regions.remove(name).unwrap_or_else(|| panic!("{}: nothing fills {name}", self.file));
            filled += &[BEGIN, line, "\n", &text, END, rest].concat();
        }
        assert!(regions.is_empty(), "man/{} lacks the regions {:?}", self.file, regions.keys());
        filled
    }

    pub fn sections(&self) -> Vec<&str> {
        self.text.lines().filter_map(|line| Some(line.strip_prefix(".SH ")?.trim_matches('"'))).collect()
    }

    /// The terms that a section defines, by subsection; those before the first subsection have no title.
    pub fn terms(&self, section: &str) -> Vec<(String, Vec<String>)> {
        let is_section =
            |line: &&str| line.strip_prefix(".SH ").is_some_and(|title| title.trim_matches('"') == section);
        let mut lines = self.text.lines().skip_while(|line| !is_section(line)).skip(1);
        let mut terms = vec![(String::new(), Vec::new())];
        while let Some(line) = lines.next().filter(|line| !line.starts_with(".SH ")) {
            if let Some(title) = line.strip_prefix(".SS ") {
                terms.push((plain(title.trim_matches('"')), Vec::new()));
            } else if line == ".TP" {
                let (_, words) = terms.last_mut().expect("the section's own");
                words.extend(plain(lines.next().expect("a term")).split(", ").map(str::to_owned));
            }
        }
        terms
    }
}

/// A line's text, without fonts and escapes.
fn plain(line: &str) -> String {
    let escapes = [
        ("\\fB", ""),
        ("\\fI", ""),
        ("\\fR", ""),
        ("\\-", "-"),
        ("\\(aq", "'"),
        ("\\(ti", "~"),
        ("\\[u2026]", "\u{2026}"),
    ];
    escapes.iter().fold(line.to_owned(), |line, (escape, character)| line.replace(escape, character))
}
