//! Authorization rules, their keys, and what each allows.

use crate::secret::Secret;

/// A right of a rule \[P].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Right {
    Listen,
    Send,
    Manage,
}

/// A rule of the namespace or of a hybrid connection.
#[derive(Clone, Debug)]
pub(super) struct Rule {
    pub(super) name: &'static str,
    pub(super) key: Secret,
    rights: &'static [Right],
}

impl Rule {
    /// The namespace's rule with every right, which has this name in each new namespace.
    pub(super) fn root(key: Secret) -> Self {
        Self { name: "RootManageSharedAccessKey", key, rights: &[Right::Listen, Right::Send, Right::Manage] }
    }

    /// The namespace's rule for senders.
    pub(super) fn send(key: Secret) -> Self {
        Self { name: "send", key, rights: &[Right::Send] }
    }

    /// A hybrid connection's rule for listeners.
    pub(super) fn listen(key: Secret) -> Self {
        Self { name: "listen", key, rights: &[Right::Listen] }
    }

    pub(super) fn allows(&self, right: Right) -> bool {
        self.rights.contains(&right)
    }
}
