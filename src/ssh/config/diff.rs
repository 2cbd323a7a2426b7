//! What a change does to a file, as `patch` reads it.

/// Lines around a change that are shown.
const CONTEXT: usize = 3;

/// A unified diff in one hunk; empty where nothing changes. `None` is a file that is not there.
pub fn unified(path: &str, before: Option<&str>, after: Option<&str>) -> String {
    if before == after {
        return String::new();
    }
    let split = |text: Option<&str>| -> Vec<String> {
        let lines = text.unwrap_or_default().split_inclusive('\n');
        lines
            .map(|line| {
                if line.ends_with('\n') {
                    line.into()
                } else {
                    format!("{line}\n\\ No newline at end of file\n")
                }
            })
            .collect()
    };
    let (old, new) = (split(before), split(after));
    let same = old.iter().zip(&new).take_while(|(old, new)| old == new).count();
    let tail =
        old[same..].iter().rev().zip(new[same..].iter().rev()).take_while(|(old, new)| old == new).count();
    let from = same.saturating_sub(CONTEXT);
    let until = tail.saturating_sub(CONTEXT);
    let (removed, added) = (&old[same..old.len() - tail], &new[same..new.len() - tail]);
    let range = |length: usize| match length - until - from {
        // diff's way to name an empty range: the line before it.
        0 => format!("{from},0"),
        count => format!("{},{count}", from + 1),
    };
    let name = |file: Option<&str>| if file.is_some() { path } else { "/dev/null" }.to_owned();
    let mut text = format!(
        "--- {}\n+++ {}\n@@ -{} +{} @@\n",
        name(before),
        name(after),
        range(old.len()),
        range(new.len())
    );
    let mut put =
        |mark: char, lines: &[String]| text.extend(lines.iter().map(|line| format!("{mark}{line}")));
    put(' ', &old[from..same]);
    put('-', removed);
    put('+', added);
    put(' ', &old[old.len() - tail..old.len() - until]);
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_like_diff() {
        let diff = unified("f", Some("1\n2\n3\n4\n5\n6\n7\n8\n"), Some("1\n2\n3\n4\nx\n6\n7\n8\n"));
        assert_eq!(diff, "--- f\n+++ f\n@@ -2,7 +2,7 @@\n 2\n 3\n 4\n-5\n+x\n 6\n 7\n 8\n");
        assert_eq!(unified("f", None, Some("a\n")), "--- /dev/null\n+++ f\n@@ -0,0 +1,1 @@\n+a\n");
        assert_eq!(
            unified("f", Some("a"), Some("b\na")),
            "--- f\n+++ f\n@@ -1,1 +1,2 @@\n+b\n a\n\\ No newline at end of file\n"
        );
        assert_eq!(unified("f", Some("a"), Some("a")), "");
    }
}
