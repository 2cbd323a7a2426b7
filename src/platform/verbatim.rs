//! Verbatim paths of Windows: those that `canonicalize` returns.

use std::path::{Path, PathBuf};

/// The path as other programs take it: without the prefix `\\?\`, which many do not know.
pub(crate) fn plain(path: &Path) -> PathBuf {
    let text = path.to_str().and_then(|text| text.strip_prefix(r"\\?\"));
    match text.map(|text| text.strip_prefix(r"UNC\").ok_or(text)) {
        Some(Ok(share)) => format!(r"\\{share}").into(),
        Some(Err(local)) => local.into(),
        None => path.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_prefix_is_removed_from_drives_and_shares() {
        for (verbatim, expected) in [
            (r"\\?\C:\iot", r"C:\iot"),
            (r"\\?\UNC\files\iot", r"\\files\iot"),
            (r"\\files\iot", r"\\files\iot"),
            ("/iot", "/iot"),
        ] {
            assert_eq!(plain(Path::new(verbatim)), Path::new(expected));
        }
    }
}
