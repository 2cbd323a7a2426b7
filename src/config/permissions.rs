//! Reads files that may contain secrets, and finds out which other users can access them.

use std::io;
use std::path::Path;

use serde::de::DeserializeOwned;
use zeroize::Zeroizing;

use super::parse_toml;
use crate::error::{Error, Result};
use crate::error::{Exposure, How, quoted};
use crate::platform::private_file::{self, is_credential};
use crate::secret::Secret;
use crate::text::content;

/// The content of a file, and how other users can access it.
#[derive(Debug)]
pub(crate) struct Guarded<T> {
    /// The content.
    pub content: T,
    /// Each access that other users have and should not.
    pub exposures: Vec<Exposure>,
}

impl<T> Guarded<T> {
    /// The content, if no other user can access it.
    ///
    /// # Errors
    /// Returns [`Error::Permissions`] with the first exposure.
    pub(crate) fn strictly(self) -> Result<T> {
        match self.exposures.into_iter().next() {
            Some(exposure) => Err(Error::Permissions(exposure)),
            None => Ok(self.content),
        }
    }

    /// The content, if no other user can change it. Warns if others can read it, for a file that another program writes so.
    ///
    /// # Errors
    /// Returns [`Error::Permissions`] with the first exposure of another kind.
    pub(crate) fn tolerating_readers(self) -> Result<T> {
        for exposure in self.exposures {
            match exposure.how {
                How::Read(_) | How::ReadGranted(_) => log::warn!("{exposure}: {}", exposure.fix()),
                _ => return Err(Error::Permissions(exposure)),
            }
        }
        Ok(self.content)
    }

    /// The content, for an agent, which must keep working after an upgrade: refuses only the exposures of the file at
    /// `path` that earlier versions refused, and adds the others to `warnings`.
    ///
    /// # Errors
    /// Returns [`Error::Permissions`] with the first refused exposure.
    pub(crate) fn leniently(self, path: &Path, warnings: &mut Vec<Exposure>) -> Result<T> {
        let directory = path.parent().and_then(|parent| parent.canonicalize().ok());
        let was_refused = |exposure: &Exposure| match &exposure.how {
            How::Read(_) => true,
            How::Write(_) => !is_credential(path) && directory.as_ref() == Some(&exposure.path),
            How::Own { .. } => false,
            // No earlier version ran on Windows.
            How::ReadGranted(_) | How::WriteGranted(_) | How::OwnAccount { .. } => true,
        };
        let (refused, new): (Vec<_>, Vec<_>) = self.exposures.into_iter().partition(was_refused);
        match refused.into_iter().next() {
            Some(exposure) => Err(Error::Permissions(exposure)),
            None => {
                for exposure in new {
                    // Files in one directory share its exposures.
                    if !warnings.contains(&exposure) {
                        warnings.push(exposure);
                    }
                }
                Ok(self.content)
            }
        }
    }
}

/// Reads a file with a secret, which may be binary.
///
/// # Errors
/// Returns an error if the file cannot be read.
pub(crate) fn read_secret_bytes(path: &Path) -> io::Result<Guarded<Zeroizing<Vec<u8>>>> {
    let read = private_file::read(path)?;
    let exposures = read.secret_exposures().cloned().collect();
    Ok(Guarded { content: read.bytes, exposures })
}

/// Reads a text file with a secret.
///
/// # Errors
/// Returns an error if the file cannot be read or is not text.
pub(crate) fn read_secret(path: &Path) -> io::Result<Guarded<Secret>> {
    let Guarded { content: bytes, exposures } = read_secret_bytes(path)?;
    Ok(Guarded { content: content::text(&bytes).map_err(io::Error::other)?, exposures })
}

/// Reads a TOML file. Read access of other users is an exposure if `holds_secret` finds a secret in the document, or the
/// text contains one elsewhere, such as in a comment.
///
/// # Errors
/// Returns [`Error::File`] if the file cannot be read or is invalid, with the line and `hint`.
pub(crate) fn read_toml<T: DeserializeOwned>(
    path: &Path,
    hint: &str,
    holds_secret: impl FnOnce(&T) -> bool,
) -> Result<Guarded<(Secret, T)>> {
    let unreadable = |error: io::Error| {
        let hint = match error.kind() {
            io::ErrorKind::PermissionDenied => {
                "make it, and each directory above it, readable for you".into()
            }
            // A broken or circular link.
            _ if path.is_symlink() => format!("`ls -l {}` shows where the link leads", quoted(path)),
            io::ErrorKind::NotFound => hint.into(),
            _ => "it must be a text file in UTF-8 or UTF-16".into(),
        };
        Error::file(path, error, hint)
    };
    let read = private_file::read(path).map_err(unreadable)?;
    let text = content::text(&read.bytes).map_err(|problem| unreadable(io::Error::other(problem)))?;
    let document: T = parse_toml(path, text.expose(), hint)?;
    let exposures = if holds_secret(&document) || shows_secret(text.expose()) {
        read.secret_exposures().cloned().collect()
    } else {
        read.changeable
    };
    Ok(Guarded { content: (text, document), exposures })
}

/// Whether a text contains a key, a token or a URL with a password, also in comments and commands.
fn shows_secret(text: &str) -> bool {
    let base64 = |c: char| c.is_ascii_alphanumeric() || "+/%".contains(c);
    // Placeholders such as `…` and `<key>` are too short or have other characters.
    let key = |name: &str| {
        text.split(name).skip(1).any(|rest| rest.chars().take_while(|&c| base64(c)).count() >= 16)
    };
    key("SharedAccessKey=") || key("sig=") || text.split_whitespace().any(has_password)
}

/// Whether `text` contains a URL with a password.
pub(crate) fn has_password(text: &str) -> bool {
    text.split("://").skip(1).any(|rest| {
        let authority = rest.split(['/', '?', '#', '"', '\'', ' ']).next().unwrap_or_default();
        let login = authority.rsplit_once('@').map(|(login, _)| login);
        login.and_then(|login| login.split_once(':')).is_some_and(|(_, password)| !password.is_empty())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_secrets_anywhere_in_a_text() {
        for (text, secret) in [
            ("connection-string-env = \"X\"", false),
            ("# connection-string = \"HostName=h;SharedAccessKey=…\"", false),
            ("# SharedAccessKey=<your key here, please>", false),
            ("# old: HostName=h;SharedAccessKey=aHVudGVyMmh1bnRlcjI=", true),
            ("x = [\"echo\", \"SharedAccessSignature sr=h&sig=aHVudGVyMmh1bnRlcjI%3D&se=1\"]", true),
            ("proxy = \"http://me@proxy:3128\"", false),
            ("proxy = \"http://me:@proxy:3128\"", false),
            ("proxy = \"http://me:secret@proxy:3128\"", true),
            ("token-command = \"curl https://me:secret@vault/x\"", true),
            ("x = \"http://proxy:3128/a@b\" # a:b@c", false),
        ] {
            assert_eq!(shows_secret(text), secret, "{text}");
        }
    }
}
