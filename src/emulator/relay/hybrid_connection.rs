//! The hybrid connections of the namespace.

use super::listeners::Listeners;
use super::rules::Rule;
use crate::backend::relay::proto::Entity;

/// A hybrid connection.
#[derive(Debug)]
pub(super) struct HybridConnection {
    pub(super) entity: Entity,
    /// Senders need no token.
    pub(super) is_anonymous: bool,
    /// Its own rule; those of the namespace hold for it too.
    pub(super) rule: Rule,
    pub(super) listeners: Listeners,
}

/// The hybrid connection with the longest path that `path`, percent-encoded, begins with.
pub(super) fn find<'a>(all: &'a [HybridConnection], path: &str) -> Option<&'a HybridConnection> {
    let found = all.iter().filter_map(|one| Some((one, one.entity.suffix_in(path)?)));
    found.min_by_key(|(_, suffix)| suffix.len()).map(|(one, _)| one)
}
