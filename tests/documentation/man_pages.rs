use std::fs;
use std::path::{Path, PathBuf};

use super::reader::{Example, Reader};

/// The code below each comment of a page that says how to run it.
pub fn examples(page: &str) -> Vec<Example> {
    let examples = page.split(".\\\" example: ").skip(1).map(|part| {
        let (how, code) = part.split_once("\n.EX\n").expect("code");
        let (code, _) = code.split_once(".EE\n").expect("its end");
        let escapes = [("\\-", "-"), ("\\(aq", "'"), ("\\(ti", "~"), ("\\e", "\\")];
        let text =
            escapes.iter().fold(code.to_owned(), |code, (escape, character)| code.replace(escape, character));
        Example { how: how.into(), text }
    });
    examples.collect()
}

#[test]
fn the_examples_in_the_manual_pages_work() {
    let man = Path::new(env!("CARGO_MANIFEST_DIR")).join("man");
    let mut pages: Vec<PathBuf> = fs::read_dir(man).unwrap().map(|page| page.unwrap().path()).collect();
    // tests/recipes runs those.
    pages.retain(|page| !page.ends_with("iotstream-recipes.7"));
    pages.sort();
    for page in pages {
        let examples = examples(&fs::read_to_string(&page).unwrap());
        assert!(!examples.is_empty(), "{} has no examples", page.display());
        let mut reader = Reader::new(&examples);
        for example in &examples {
            reader.follows(example);
        }
    }
}
