//! Edits the profile file, and keeps the user's comments and order.

use std::path::{Path, PathBuf};

use toml_edit::{Array, DocumentMut, Item, Table, Value};

use super::Profiles;
use crate::error::{Error, Result};
use crate::platform::private_file::{Access, Unwritable, destination, replace};
use crate::secret::Secret;

/// An open profile file.
#[derive(Debug)]
pub struct Editor {
    path: PathBuf,
    document: DocumentMut,
}

/// A profile to add.
#[derive(Debug)]
pub struct NewProfile<'a> {
    /// The profile's name.
    pub name: &'a str,
    /// The service's connection string.
    pub connection_string: &'a Secret,
    /// Patterns of host names.
    pub hosts: &'a [String],
    /// A file of certificates to trust.
    pub ca_file: Option<&'a str>,
    /// The module of a device to ask first.
    pub module: Option<&'a str>,
}

impl Editor {
    /// Opens the file at `path`. A missing file counts as empty.
    ///
    /// # Errors
    /// Returns an error if the file is invalid, exposed to other users or cannot be written.
    pub fn open(path: &Path) -> Result<Self> {
        let text = match Profiles::read_text(path) {
            Ok(text) => text,
            Err(Error::NoProfile { .. }) => Secret::new(""),
            Err(error) => return Err(error),
        };
        // Reports a file that cannot be written before asking the user for anything.
        destination(path).map_err(|problem| unwritable(path, problem))?;
        let document = text
            .expose()
            .parse()
            .map_err(|error: toml_edit::TomlError| Error::Bug(error.message().to_owned()))?;
        Ok(Self { path: path.to_owned(), document })
    }

    /// Whether the file has the profile `name`.
    pub fn has(&self, name: &str) -> bool {
        self.document.get("profile").and_then(|profiles| profiles.get(name)).is_some()
    }

    /// Adds a profile. The first one of a file becomes its default.
    ///
    /// # Errors
    /// Returns an error if the file has a profile of that name, or its profiles are an inline table.
    pub fn add(&mut self, new: &NewProfile<'_>) -> Result<()> {
        if self.has(new.name) {
            return Err(self.problem(
                format!("it already has a profile named '{}'", new.name),
                format!("remove it first with `iotstream profile remove {}`", new.name),
            ));
        }
        let first = self
            .document
            .get("profile")
            .and_then(Item::as_table_like)
            .is_none_or(toml_edit::TableLike::is_empty);
        let blank = if self.document.is_empty() && !first { "" } else { "\n" };
        let mut section = Table::new();
        section.decor_mut().set_prefix(blank);
        section.insert("connection-string", new.connection_string.expose().into());
        if !new.hosts.is_empty() {
            section.insert("hosts", Value::from(new.hosts.iter().collect::<Array>()).into());
        }
        if let Some(ca_file) = new.ca_file {
            section.insert("ca-file", ca_file.into());
        }
        if let Some(module) = new.module {
            section.insert("module", module.into());
        }
        let profiles = self.document.entry("profile").or_insert_with(|| {
            let mut profiles = Table::new();
            profiles.set_implicit(true);
            Item::Table(profiles)
        });
        let Some(profiles) = profiles.as_table_mut() else {
            return Err(self.problem(
                "its profiles are in one line, and none can be added there".into(),
                "write each as a section, [profile.NAME]".into(),
            ));
        };
        profiles.insert(new.name, Item::Table(section));
        if first && !self.document.contains_key("default") {
            self.document.insert("default", new.name.into());
        }
        Ok(())
    }

    /// Removes a profile, and the default if it names that profile.
    ///
    /// # Errors
    /// Returns [`Error::UnknownProfile`] if the file has no such profile.
    pub fn remove(&mut self, name: &str) -> Result<()> {
        self.known(name)?;
        if let Some(profiles) = self.document.get_mut("profile").and_then(Item::as_table_like_mut) {
            profiles.remove(name);
        }
        if self.document.get("default").and_then(Item::as_str) == Some(name) {
            self.document.remove("default");
        }
        Ok(())
    }

    /// Makes a profile the default.
    ///
    /// # Errors
    /// Returns [`Error::UnknownProfile`] if the file has no such profile.
    pub fn set_default(&mut self, name: &str) -> Result<()> {
        self.known(name)?;
        // An existing key keeps its position and its comment.
        match self.document.get_mut("default").and_then(Item::as_value_mut) {
            Some(value) => {
                let decor = value.decor().clone();
                *value = name.into();
                *value.decor_mut() = decor;
            }
            None => {
                self.document.insert("default", name.into());
            }
        }
        Ok(())
    }

    /// Writes the file, readable only by its owner.
    ///
    /// # Errors
    /// Returns an error if the file cannot be written.
    pub fn save(&self) -> Result<()> {
        let text = Secret::new(self.document.to_string());
        Profiles::parse(&self.path, text.expose())?;
        replace(&self.path, text.expose().as_bytes(), Access::Owner)
            .map_err(|problem| unwritable(&self.path, problem))
    }

    fn known(&self, name: &str) -> Result<()> {
        if self.has(name) {
            return Ok(());
        }
        let all = self.document.get("profile").and_then(Item::as_table_like);
        let known = all.into_iter().flat_map(|all| all.iter().map(|(name, _)| name.to_owned())).collect();
        Err(Error::UnknownProfile { name: name.to_owned(), path: self.path.clone(), known })
    }

    fn problem(&self, problem: String, hint: String) -> Error {
        Error::file(&self.path, problem, hint)
    }
}

fn unwritable(path: &Path, problem: Unwritable) -> Error {
    problem.into_error(path.display().to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "# mine\n\ndefault = \"a\" # for now\n\n# the first\n[profile.a]\nhosts = [ '*.a', ] # odd\n\
                        connection-string-env = \"A\"\n\n[profile.a.devices]\nx = \"y\"\n\n# the second\n[profile.b]\n\
                        connection-string-env = \"B\"\n# the end\n";

    fn edited(text: &str, edit: impl FnOnce(&mut Editor) -> Result<()>) -> Result<String> {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("new/profiles.toml");
        if !text.is_empty() {
            replace(&path, text.as_bytes(), Access::Owner).unwrap();
        }
        let mut editor = Editor::open(&path)?;
        edit(&mut editor)?;
        editor.save()?;
        Profiles::read(&path)?;
        Ok(std::fs::read_to_string(&path).unwrap())
    }

    fn add(editor: &mut Editor) -> Result<()> {
        editor.add(&NewProfile {
            name: "c.d",
            connection_string: &Secret::new("HostName=h;x=\"\\"),
            hosts: &["*.c".into(), "c-?".into()],
            ca_file: Some("/ca \".pem"),
            module: Some("iotstream"),
        })
    }

    const ADDED: &str = "[profile.\"c.d\"]\nconnection-string = 'HostName=h;x=\"\\'\nhosts = [\"*.c\", \"c-?\"]\nca-file = '/ca \".pem'\nmodule = \"iotstream\"\n";

    #[test]
    fn the_first_profile_becomes_the_default() {
        assert_eq!(edited("", add).unwrap(), format!("default = \"c.d\"\n\n{ADDED}"));
    }

    #[test]
    fn keeps_comments_and_order() {
        let cut = TEXT.find("# the end").unwrap();
        let expected = format!("{}\n{ADDED}{}", &TEXT[..cut], &TEXT[cut..]);
        assert_eq!(edited(TEXT, add).unwrap(), expected);
        let added_and_removed = edited(TEXT, |editor| {
            add(editor)?;
            editor.remove("c.d")
        });
        assert_eq!(added_and_removed.unwrap(), TEXT);
        let default = edited(TEXT, |editor| editor.set_default("b")).unwrap();
        assert_eq!(default, TEXT.replace("default = \"a\" # for now", "default = \"b\" # for now"));
        let removed = edited(TEXT, |editor| editor.remove("a")).unwrap();
        assert_eq!(removed, "\n# the second\n[profile.b]\nconnection-string-env = \"B\"\n# the end\n");
    }

    #[test]
    fn impossible_edits_are_errors() {
        assert!(matches!(edited(TEXT, |editor| editor.remove("x")), Err(Error::UnknownProfile { .. })));
        assert!(matches!(edited(TEXT, |editor| editor.set_default("x")), Err(Error::UnknownProfile { .. })));
        let twice = |editor: &mut Editor| add(editor).and_then(|()| add(editor));
        assert!(edited(TEXT, twice).unwrap_err().to_string().contains("already"));
        let inline = "profile = { a = { connection-string-env = \"A\" } }\n";
        assert!(edited(inline, add).unwrap_err().to_string().contains("in one line"));
        assert!(edited("[profile.x]\nhost = 1\n", add).unwrap_err().to_string().contains("no key 'host'"));
    }
}
