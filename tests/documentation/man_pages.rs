use std::fs;
use std::path::{Path, PathBuf};

use super::reader::{Reader, examples};

#[test]
fn the_examples_in_the_manual_pages_work() {
    let prose = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/man/prose");
    let mut pages: Vec<PathBuf> = fs::read_dir(prose).unwrap().map(|page| page.unwrap().path()).collect();
    pages.sort();
    for page in pages {
        let mut examples = examples(&fs::read_to_string(&page).unwrap());
        // A block without a language is an illustration.
        examples.retain(|example| !example.how.is_empty());
        assert!(!examples.is_empty(), "{} has no examples", page.display());
        let mut reader = Reader::new(&examples);
        for example in &examples {
            reader.follows(example);
        }
    }
}
