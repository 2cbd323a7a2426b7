//! What runs the commands of ssh's configuration.

use std::path::{Path, PathBuf};

use super::verbatim::plain;

/// What runs the commands of ssh's configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Runner {
    /// The user's shell.
    #[cfg_attr(windows, expect(dead_code, reason = "for Unix"))]
    Shell,
    /// CreateProcess, which knows double quotes alone. Backslashes are for nothing else than paths, and slashes are, too.
    #[cfg_attr(all(unix, not(test)), expect(dead_code, reason = "for Windows"))]
    CreateProcess,
}

impl Runner {
    /// A path as commands and ssh's configuration have it.
    pub(crate) fn path(self, path: &Path) -> PathBuf {
        match self {
            Self::Shell => path.to_owned(),
            Self::CreateProcess => {
                let plain = plain(path);
                plain.to_str().map_or_else(|| plain.clone(), |text| text.replace('\\', "/").into())
            }
        }
    }
}
