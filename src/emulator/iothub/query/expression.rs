//! The expressions of a query, and their values for a twin.

use std::cmp::Ordering;

use serde_json::Value;

use super::path::Path;

/// An expression. Its value is undefined where a path leads nowhere, or where values of different types are compared. An
/// undefined condition is not met, and neither is its negation \[~].
#[derive(Debug, PartialEq)]
pub(super) enum Expression {
    Constant(Value),
    Path(Path),
    Compare(Box<(Expression, Comparison, Expression)>),
    In(Box<Expression>, Vec<Value>),
    Not(Box<Expression>),
    All(Vec<Expression>),
    Any(Vec<Expression>),
    IsDefined(Path),
    StartsWith(Box<(Expression, Expression)>),
}

/// How two values are compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Comparison {
    Equal,
    NotEqual,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
}

impl Expression {
    /// Whether a twin meets the condition: only `true` does \[D].
    pub(super) fn is_met(&self, twin: &Value) -> bool {
        self.truth(twin) == Some(true)
    }

    fn truth(&self, twin: &Value) -> Option<bool> {
        self.value(twin)?.as_bool()
    }

    /// The value for a twin; `None` where it is undefined.
    fn value(&self, twin: &Value) -> Option<Value> {
        let truth = match self {
            Self::Constant(value) => return Some(value.clone()),
            Self::Path(path) => return path.find(twin).map(|(_, value)| value.clone()),
            Self::Compare(sides) => {
                let (left, how, right) = &**sides;
                how.holds(&left.value(twin)?, &right.value(twin)?)?
            }
            Self::In(value, list) => {
                let value = value.value(twin)?;
                list.iter().any(|item| order(&value, item) == Some(Ordering::Equal))
            }
            Self::Not(condition) => !condition.truth(twin)?,
            Self::All(conditions) => !decided(conditions, twin, false)?,
            Self::Any(conditions) => decided(conditions, twin, true)?,
            Self::IsDefined(path) => path.find(twin).is_some(),
            Self::StartsWith(values) => {
                let (text, start) = (values.0.value(twin)?, values.1.value(twin)?);
                text.as_str()?.starts_with(start.as_str()?)
            }
        };
        Some(truth.into())
    }
}

/// Whether one of the conditions is `truth`; `None` where that is undefined.
fn decided(conditions: &[Expression], twin: &Value, truth: bool) -> Option<bool> {
    let mut answer = Some(false);
    for condition in conditions {
        match condition.truth(twin) {
            Some(found) if found == truth => return Some(true),
            Some(_) => {}
            None => answer = None,
        }
    }
    answer
}

impl Comparison {
    /// Whether the comparison holds; `None` where the values cannot be compared.
    fn holds(self, left: &Value, right: &Value) -> Option<bool> {
        let order = order(left, right)?;
        Some(match self {
            Self::Equal => order.is_eq(),
            Self::NotEqual => order.is_ne(),
            Self::Less => order.is_lt(),
            Self::LessOrEqual => order.is_le(),
            Self::Greater => order.is_gt(),
            Self::GreaterOrEqual => order.is_ge(),
        })
    }
}

/// The order of two primitive values of one type; there is none of objects and arrays \[D].
fn order(left: &Value, right: &Value) -> Option<Ordering> {
    match (left, right) {
        (Value::Null, Value::Null) => Some(Ordering::Equal),
        (Value::Bool(left), Value::Bool(right)) => Some(left.cmp(right)),
        (Value::Number(left), Value::Number(right)) => left.as_f64()?.partial_cmp(&right.as_f64()?),
        (Value::String(left), Value::String(right)) => Some(left.cmp(right)),
        _ => None,
    }
}
