//! A query, and its rows.

use serde_json::{Map, Value};

use super::expression::Expression;
use super::path::Path;

/// A query.
#[derive(Debug, PartialEq)]
pub(in crate::emulator::iothub) struct Statement {
    pub(super) columns: Columns,
    /// What is queried.
    pub(in crate::emulator::iothub) from: Collection,
    pub(super) condition: Option<Expression>,
}

/// The twins that are queried.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::emulator::iothub) enum Collection {
    Devices,
    Modules,
}

/// What is answered of a twin.
#[derive(Debug, PartialEq)]
pub(super) enum Columns {
    /// All of it.
    All,
    These(Vec<Column>),
}

/// One value of an answer.
#[derive(Debug, PartialEq)]
pub(super) struct Column {
    pub(super) path: Path,
    /// Its name; without one, the last of its path.
    pub(super) alias: Option<String>,
}

impl Statement {
    /// Whether the rows are whole twins.
    pub(in crate::emulator::iothub) fn selects_twins(&self) -> bool {
        self.columns == Columns::All
    }

    /// The row of a twin; `None` where the twin does not meet the condition.
    pub(in crate::emulator::iothub) fn row(&self, twin: Value) -> Option<Value> {
        if self.condition.as_ref().is_some_and(|condition| !condition.is_met(&twin)) {
            return None;
        }
        let Columns::These(columns) = &self.columns else { return Some(twin) };
        // The documentation shows no longer path without an alias. A row has its last name, and leaves out a value that the
        // twin does not have [~].
        let row = columns.iter().filter_map(|column| {
            let (key, value) = column.path.find(&twin)?;
            Some((column.alias.clone().unwrap_or_else(|| key.to_owned()), value.clone()))
        });
        Some(Map::from_iter(row).into())
    }
}
