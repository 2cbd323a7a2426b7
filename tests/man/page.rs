//! A page: what is generated and what is written, section by section.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use crate::markdown;

/// What a page may have, in this order, and which of it the pages of section 1 and of section 5 must have.
const SECTIONS: [(&str, &str); 14] = [
    ("NAME", "15"),
    ("SYNOPSIS", "15"),
    ("DESCRIPTION", "15"),
    ("OPTIONS", "1"),
    ("COMMANDS", ""),
    ("FILE FORMAT", "5"),
    ("FILES", "15"),
    ("ENVIRONMENT", "15"),
    ("EXIT STATUS", "1"),
    ("HOW A STREAM ENDS", ""),
    ("DIAGNOSTICS", ""),
    ("EXAMPLES", "15"),
    ("SECURITY", "15"),
    ("SEE ALSO", "15"),
];

pub struct Page {
    /// As a file: `iotstream-agent.1`.
    pub file: String,
    /// All below the title line.
    pub body: String,
}

/// The prose of a page.
///
/// # Panics
/// When nobody has written it.
pub fn prose(file: &str) -> String {
    let name = format!("tests/man/prose/{file}.md");
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(&name))
        .unwrap_or_else(|error| panic!("{name}: {error}: write it, man/{file} is made from it"))
}

/// What a page's prose defines in a section, as [`markdown::terms`] has it.
pub fn terms(file: &str, section: &str) -> Vec<(String, Vec<String>)> {
    let prose = prose(file);
    let sections = markdown::sections(&prose);
    let found = sections.iter().find(|(title, _)| *title == section);
    markdown::terms(found.unwrap_or_else(|| panic!("{file} has no {section}")).1)
}

impl Page {
    /// Makes a page of its prose and of what is generated for its sections, which goes first.
    ///
    /// # Panics
    /// When the prose has a section that no page has, or lacks one that each has.
    pub fn new(file: &str, generated: &BTreeMap<&str, String>) -> Self {
        let prose = prose(file);
        let mut written: BTreeMap<_, _> = markdown::sections(&prose).into_iter().collect();
        let mut body = String::new();
        for (section, must) in SECTIONS {
            let (generated, written) = (generated.get(section), written.remove(section));
            if generated.is_none() && written.is_none() {
                let optional = !must.contains(&file[file.len() - 1..]);
                assert!(optional, "man/{file} has no {section}: write it in tests/man/prose/{file}.md");
                continue;
            }
            let _ = writeln!(body, ".SH \"{section}\"");
            body += generated.map_or("", String::as_str);
            body += &markdown::set(written.unwrap_or_default(), generated.is_none());
        }
        let unknown: Vec<_> = written.into_keys().collect();
        assert!(unknown.is_empty(), "tests/man/prose/{file}.md has {unknown:?}, which no page has");
        Self { file: file.into(), body: exactly(&body) }
    }

    /// The page as it was on `date`.
    pub fn dated(&self, date: &str) -> String {
        let (name, section) = self.file.rsplit_once('.').expect("a section");
        let name = name.to_uppercase();
        let version = env!("CARGO_PKG_VERSION");
        format!(
            ".\\\" Written by the test that checks it: UPDATE=1 cargo test --test man\n\
             .TH \"{name}\" {section} {date} \"iotstream {version}\" \"iotstream manual\"\n.nh\n{}",
            self.body
        )
    }
}

/// Characters that typesetters take for others, and those beyond ASCII, as themselves.
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
