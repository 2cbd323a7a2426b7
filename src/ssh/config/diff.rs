//! A change of a file as a patch.

use diffy::DiffOptions;

/// A unified diff; empty where nothing changes. `None` is a file that does not exist.
pub(crate) fn unified(path: &str, before: Option<&str>, after: Option<&str>) -> String {
    if before == after {
        return String::new();
    }
    let name = |file: Option<&str>| if file.is_some() { path } else { "/dev/null" }.to_owned();
    DiffOptions::new()
        .set_original_filename(name(before))
        .set_modified_filename(name(after))
        .create_patch(before.unwrap_or_default(), after.unwrap_or_default())
        .to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn matches_diff() {
        let diff = unified("f", Some("1\n2\n3\n4\n5\n6\n7\n8\n"), Some("1\n2\n3\n4\nx\n6\n7\n8\n"));
        assert_eq!(diff, "--- f\n+++ f\n@@ -2,7 +2,7 @@\n 2\n 3\n 4\n-5\n+x\n 6\n 7\n 8\n");
        assert_eq!(unified("f", None, Some("a\n")), "--- /dev/null\n+++ f\n@@ -0,0 +1 @@\n+a\n");
        assert_eq!(
            unified("f", Some("a"), Some("b\na")),
            "--- f\n+++ f\n@@ -1 +1,2 @@\n+b\n a\n\\ No newline at end of file\n"
        );
        assert_eq!(unified("f", Some("a"), Some("a")), "");
    }
}
