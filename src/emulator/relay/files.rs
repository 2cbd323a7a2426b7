//! The relay's files in the emulator's directory: the connection strings of its rules, whose keys outlive a restart.
//!
//! ```text
//! relay/NAME.listen.conn       a hybrid connection's, with Listen; its name is percent-encoded
//! relay/send.conn              the namespace's, with Send
//! relay/root.conn              the namespace's, with Listen, Send and Manage
//! ```

use super::rules::Rule;
use crate::backend::relay::proto::{ConnectionString, Entity, Key, Namespace, encode};
use crate::emulator::directory::Directory;
use crate::emulator::key::new_key;
use crate::error::{Problem, Result};
use crate::secret::Secret;

/// The relay's files, all of which their owner alone can read.
#[derive(Debug)]
pub(super) struct Files {
    directory: Directory,
    namespace: Namespace,
}

impl Files {
    /// Makes the folder that the files are in. Their connection strings name `namespace`.
    ///
    /// # Errors
    /// The folder cannot be made.
    pub(super) fn open(directory: Directory, namespace: Namespace) -> Result<Self> {
        directory.make_folder("relay")?;
        Ok(Self { directory, namespace })
    }

    /// The namespace's rule with every right.
    ///
    /// # Errors
    /// The file is invalid, or cannot be read or written.
    pub(super) fn root(&self) -> Result<Rule> {
        self.rule("relay/root.conn", Rule::root, None)
    }

    /// The namespace's rule for senders.
    ///
    /// # Errors
    /// The file is invalid, or cannot be read or written.
    pub(super) fn send(&self) -> Result<Rule> {
        self.rule("relay/send.conn", Rule::send, None)
    }

    /// A hybrid connection's rule for listeners.
    ///
    /// # Errors
    /// The file is invalid, or cannot be read or written.
    pub(super) fn listen(&self, entity: &Entity) -> Result<Rule> {
        let file = format!("relay/{}.listen.conn", encode(&entity.to_string()));
        self.rule(&file, Rule::listen, Some(entity))
    }

    /// The rule in `file`. Its key is made at the first start; its connection string names the namespace as it is now.
    fn rule(&self, file: &str, rule: fn(Secret) -> Rule, entity: Option<&Entity>) -> Result<Rule> {
        let key = match self.directory.read(file)? {
            None => new_key()?,
            Some(text) => match ConnectionString::parse(text.expose()).map(|string| string.key) {
                Ok(Key::Rule { key, .. }) => key,
                Ok(Key::Signature(_)) => {
                    return Err(self.directory.invalid(file, "it has no SharedAccessKey"));
                }
                Err(problem) => return Err(self.directory.invalid(file, Problem::of(problem))),
            },
        };
        let rule = rule(key);
        let text = connection_string(&self.namespace, &rule, entity);
        self.directory.write_secret(file, &Secret::new(format!("{}\n", text.expose())))?;
        Ok(rule)
    }
}

/// A rule's connection string.
pub(super) fn connection_string(namespace: &Namespace, rule: &Rule, entity: Option<&Entity>) -> Secret {
    let entity = entity.map_or_else(String::new, |entity| format!(";EntityPath={entity}"));
    Secret::new(format!(
        "Endpoint=sb://{namespace}/;SharedAccessKeyName={};SharedAccessKey={}{entity}",
        rule.name,
        rule.key.expose()
    ))
}

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::fs::PermissionsExt};

    use super::*;

    #[test]
    fn keys_are_stable_over_restarts() {
        let temporary = tempfile::tempdir().unwrap();
        let entity = Entity::parse("factory/gw 07").unwrap();
        let open = |host: &str| {
            let directory = Directory::open(temporary.path()).unwrap();
            Files::open(directory, Namespace::parse(host, "x").unwrap()).unwrap()
        };
        let first = open("localhost:8443");
        let keys = [first.root().unwrap(), first.send().unwrap(), first.listen(&entity).unwrap()];
        let second = open("ns.example");
        let again = [second.root().unwrap(), second.send().unwrap(), second.listen(&entity).unwrap()];
        assert_eq!(keys.map(|rule| rule.key), again.clone().map(|rule| rule.key));
        let [_, _, listen] = again;
        for (file, text) in [
            ("root.conn", "Endpoint=sb://ns.example/;SharedAccessKeyName=RootManageSharedAccessKey;"),
            ("send.conn", "Endpoint=sb://ns.example/;SharedAccessKeyName=send;SharedAccessKey="),
            (
                "factory%2Fgw%2007.listen.conn",
                &*format!(
                    "Endpoint=sb://ns.example/;SharedAccessKeyName=listen;SharedAccessKey={};\
                     EntityPath=factory/gw 07\n",
                    listen.key.expose()
                ),
            ),
        ] {
            let path = temporary.path().join("relay").join(file);
            assert!(fs::read_to_string(&path).unwrap().starts_with(text), "{file}");
            assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600, "{file}");
        }
    }
}
