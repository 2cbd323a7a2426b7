//! Files with secrets, read with care: the profile file, the agent's, and the files that they name.

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

/// What a file says, and how other users can get at it.
#[derive(Debug)]
pub struct Guarded<T> {
    pub content: T,
    pub exposures: Vec<Exposure>,
}

impl<T> Guarded<T> {
    /// The content, if nobody else can get at it.
    ///
    /// # Errors
    /// The first thing that is to be closed.
    pub fn strictly(self) -> Result<T> {
        match self.exposures.into_iter().next() {
            Some(exposure) => Err(Error::Permissions(exposure)),
            None => Ok(self.content),
        }
    }

    /// The same for the device's side, which must stay within reach: of a file at `path`, only what earlier versions
    /// refused is refused; the rest is added to `warnings`.
    ///
    /// # Errors
    /// The first thing that is to be closed.
    pub fn leniently(self, path: &Path, warnings: &mut Vec<Exposure>) -> Result<T> {
        let directory = path.parent().and_then(|parent| parent.canonicalize().ok());
        let was_refused = |exposure: &Exposure| match exposure.how {
            How::Read(_) => true,
            How::Write(_) => !is_credential(path) && directory.as_ref() == Some(&exposure.path),
            How::Own { .. } => false,
        };
        let (refused, new): (Vec<_>, Vec<_>) = self.exposures.into_iter().partition(was_refused);
        match refused.into_iter().next() {
            Some(exposure) => Err(Error::Permissions(exposure)),
            None => {
                for exposure in new {
                    // Files in one directory have its faults in common.
                    if !warnings.contains(&exposure) {
                        warnings.push(exposure);
                    }
                }
                Ok(self.content)
            }
        }
    }
}

/// Reads a file that holds a secret, which may be no text.
///
/// # Errors
/// When it cannot be read.
pub fn read_secret_bytes(path: &Path) -> io::Result<Guarded<Zeroizing<Vec<u8>>>> {
    let read = private_file::read(path)?;
    let exposures = read.secret_exposures().cloned().collect();
    Ok(Guarded { content: read.bytes, exposures })
}

/// Reads the text of a file that holds a secret.
///
/// # Errors
/// When it cannot be read, or holds no text.
pub fn read_secret(path: &Path) -> io::Result<Guarded<Secret>> {
    let Guarded { content: bytes, exposures } = read_secret_bytes(path)?;
    Ok(Guarded { content: content::text(&bytes).map_err(io::Error::other)?, exposures })
}

/// Reads a TOML file. Others may read it as long as it holds no secret, in what it says as `holds_secret` finds, or
/// elsewhere in its text.
///
/// # Errors
/// When it cannot be read, or says what it may not; with the line, and `hint`.
pub fn read_toml<T: DeserializeOwned>(
    path: &Path,
    hint: &str,
    holds_secret: impl FnOnce(&T) -> bool,
) -> Result<Guarded<(Secret, T)>> {
    let unreadable = |error: io::Error| {
        let hint = match error.kind() {
            io::ErrorKind::PermissionDenied => {
                "make it, and each directory above it, readable for you".into()
            }
            // A link that leads nowhere, or in a circle.
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

/// Whether a key, a token or a URL with a password stands in a text, in a comment or a command as well.
fn shows_secret(text: &str) -> bool {
    let base64 = |c: char| c.is_ascii_alphanumeric() || "+/%".contains(c);
    // A documented form has a few dots, or a name in brackets, where the key goes.
    let key = |name: &str| {
        text.split(name).skip(1).any(|rest| rest.chars().take_while(|&c| base64(c)).count() >= 16)
    };
    key("SharedAccessKey=") || key("sig=") || text.split_whitespace().any(has_password)
}

/// Whether a URL stands in `text` that holds a password.
pub fn has_password(text: &str) -> bool {
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
    fn a_secret_is_seen_wherever_it_stands() {
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
