//! Reads a query, by the grammar of [`super`].

use std::iter::Peekable;
use std::vec::IntoIter;

use super::expression::{Comparison, Expression};
use super::path::Path;
use super::statement::{Collection, Column, Columns, Statement};
use super::words::{Word, words};

/// The longest query \[D].
const MAX_LENGTH: usize = 8192;
/// How deep conditions are nested at most, in parentheses and negations.
const MAX_DEPTH: usize = 50;

/// What the emulator can read, for errors.
const KNOWN: &str = "The emulator knows SELECT * or properties with AS, FROM devices or devices.modules, and WHERE with =, \
                     !=, <>, <, <=, >, >=, AND, OR, NOT, IN, NIN, is_defined(…) and startswith(…, …).";

impl Statement {
    /// Reads a query.
    ///
    /// # Errors
    /// Returns what is wrong, and what is known.
    pub(in crate::emulator::iothub) fn parse(query: &str) -> Result<Self, String> {
        if query.len() > MAX_LENGTH {
            return Err(format!("the query is longer than {MAX_LENGTH} characters"));
        }
        let statement = words(query).and_then(|words| {
            let mut parser = Parser { words: words.into_iter().peekable() };
            let statement = parser.statement()?;
            parser.words.next().map_or(Ok(statement), |word| Err(unexpected(Some(word), "the end")))
        });
        statement.map_err(|problem| format!("{problem}. {KNOWN}"))
    }
}

struct Parser<'a> {
    words: Peekable<IntoIter<Word<'a>>>,
}

impl<'a> Parser<'a> {
    fn statement(&mut self) -> Result<Statement, String> {
        self.need_keyword("SELECT")?;
        let columns = if self.takes_sign("*") {
            Columns::All
        } else {
            let mut columns = vec![self.column()?];
            while self.takes_sign(",") {
                columns.push(self.column()?);
            }
            Columns::These(columns)
        };
        self.need_keyword("FROM")?;
        let from = match self.name("devices or devices.modules")? {
            name if name.eq_ignore_ascii_case("devices") => Collection::Devices,
            name if name.eq_ignore_ascii_case("devices.modules") => Collection::Modules,
            name => return Err(unexpected(Some(Word::Name(name)), "devices or devices.modules")),
        };
        let condition = if self.takes_keyword("WHERE") { Some(self.either(0)?) } else { None };
        Ok(Statement { columns, from, condition })
    }

    fn column(&mut self) -> Result<Column, String> {
        let path = self.path()?;
        let alias =
            if self.takes_keyword("AS") { Some(self.name("a name after AS")?.to_owned()) } else { None };
        Ok(Column { path, alias })
    }

    fn either(&mut self, depth: usize) -> Result<Expression, String> {
        let mut parts = vec![self.both(depth)?];
        while self.takes_keyword("OR") {
            parts.push(self.both(depth)?);
        }
        Ok(one_or(parts, Expression::Any))
    }

    fn both(&mut self, depth: usize) -> Result<Expression, String> {
        let mut parts = vec![self.negation(depth)?];
        while self.takes_keyword("AND") {
            parts.push(self.negation(depth)?);
        }
        Ok(one_or(parts, Expression::All))
    }

    fn negation(&mut self, depth: usize) -> Result<Expression, String> {
        if depth > MAX_DEPTH {
            return Err(format!("the condition is nested more than {MAX_DEPTH} deep"));
        }
        if self.takes_keyword("NOT") {
            return Ok(Expression::Not(Box::new(self.negation(depth + 1)?)));
        }
        self.comparison(depth)
    }

    fn comparison(&mut self, depth: usize) -> Result<Expression, String> {
        let left = self.value(depth)?;
        for (sign, how) in [
            ("=", Comparison::Equal),
            ("!=", Comparison::NotEqual),
            ("<>", Comparison::NotEqual),
            ("<", Comparison::Less),
            ("<=", Comparison::LessOrEqual),
            (">", Comparison::Greater),
            (">=", Comparison::GreaterOrEqual),
        ] {
            if self.takes_sign(sign) {
                return Ok(Expression::Compare(Box::new((left, how, self.value(depth)?))));
            }
        }
        if self.takes_keyword("IN") {
            return Ok(Expression::In(Box::new(left), self.list()?));
        }
        if self.takes_keyword("NIN") {
            let list = Expression::In(Box::new(left), self.list()?);
            return Ok(Expression::Not(Box::new(list)));
        }
        Ok(left)
    }

    fn value(&mut self, depth: usize) -> Result<Expression, String> {
        if self.takes_sign("(") {
            let inner = self.either(depth + 1)?;
            self.need_sign(")")?;
            return Ok(inner);
        }
        let name = match self.words.next() {
            Some(Word::Constant(value)) => return Ok(Expression::Constant(value)),
            Some(Word::Name(name)) => name,
            other => return Err(unexpected(other, "a value")),
        };
        if !self.takes_sign("(") {
            return Path::parse(name).map(Expression::Path).ok_or_else(|| not_a_path(name));
        }
        let function = match name.to_ascii_lowercase().as_str() {
            "is_defined" => Expression::IsDefined(self.path()?),
            "startswith" | "starts_with" => {
                let text = self.value(depth + 1)?;
                self.need_sign(",")?;
                Expression::StartsWith(Box::new((text, self.value(depth + 1)?)))
            }
            _ => return Err(format!("the function {name} is not known")),
        };
        self.need_sign(")")?;
        Ok(function)
    }

    fn list(&mut self) -> Result<Vec<serde_json::Value>, String> {
        self.need_sign("[")?;
        let mut list = Vec::new();
        if self.takes_sign("]") {
            return Ok(list);
        }
        loop {
            match self.words.next() {
                Some(Word::Constant(value)) => list.push(value),
                other => return Err(unexpected(other, "a constant")),
            }
            if self.takes_sign("]") {
                return Ok(list);
            }
            self.need_sign(",")?;
        }
    }

    fn path(&mut self) -> Result<Path, String> {
        let name = self.name("a property")?;
        Path::parse(name).ok_or_else(|| not_a_path(name))
    }

    fn name(&mut self, wanted: &str) -> Result<&'a str, String> {
        match self.words.next() {
            Some(Word::Name(name)) => Ok(name),
            other => Err(unexpected(other, wanted)),
        }
    }

    fn takes_keyword(&mut self, keyword: &str) -> bool {
        let is_keyword =
            |word: &Word<'_>| matches!(word, Word::Name(name) if name.eq_ignore_ascii_case(keyword));
        self.words.next_if(is_keyword).is_some()
    }

    fn need_keyword(&mut self, keyword: &str) -> Result<(), String> {
        if self.takes_keyword(keyword) { Ok(()) } else { Err(unexpected(self.words.next(), keyword)) }
    }

    fn takes_sign(&mut self, sign: &str) -> bool {
        self.words.next_if(|word| matches!(word, Word::Sign(found) if *found == sign)).is_some()
    }

    fn need_sign(&mut self, sign: &str) -> Result<(), String> {
        if self.takes_sign(sign) { Ok(()) } else { Err(unexpected(self.words.next(), sign)) }
    }
}

/// The only part, or all of them together.
fn one_or(mut parts: Vec<Expression>, together: fn(Vec<Expression>) -> Expression) -> Expression {
    match parts.pop() {
        Some(only) if parts.is_empty() => only,
        last => {
            parts.extend(last);
            together(parts)
        }
    }
}

fn not_a_path(name: &str) -> String {
    format!("'{name}' is not a property")
}

fn unexpected(word: Option<Word<'_>>, wanted: &str) -> String {
    match word {
        None => format!("the query ends where there should be {wanted}"),
        Some(Word::Name(word) | Word::Sign(word)) => {
            format!("there is '{word}' where there should be {wanted}")
        }
        Some(Word::Constant(value)) => format!("there is {value} where there should be {wanted}"),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;

    fn twin() -> Value {
        json!({
            "deviceId": "gw-07", "status": "enabled", "connectionState": "Connected",
            "tags": { "site": "Paris", "floor": 3, "old": null, "on": true },
            "properties": {
                "desired": { "rate": 5, "$version": 2 },
                "reported": { "rate": 4.5, "iotstream": { "agent": "1" }, "$version": 7 },
            },
        })
    }

    #[test]
    fn conditions() {
        for (condition, met) in [
            ("deviceId = 'gw-07'", true),
            ("DEVICEID='gw-07'", true),
            ("deviceId != 'gw-07'", false),
            ("deviceId <> \"x\"", true),
            ("tags.floor >= 3 and tags.floor < 3.5", true),
            ("tags.floor > 3 OR tags.site = 'Paris' AND status = 'enabled'", true),
            ("(tags.floor > 3 OR tags.site = 'Paris') AND status = 'disabled'", false),
            ("NOT status = 'disabled'", true),
            ("not not tags.on", true),
            ("tags.on = true", true),
            ("tags.site", false),
            ("tags.site IN ['Paris', 'Rome', 3]", true),
            ("tags.site IN []", false),
            ("tags.floor nin [1, 2]", true),
            ("is_defined(properties.reported.iotstream)", true),
            ("NOT is_defined(properties.reported.nothing)", true),
            ("IS_DEFINED(tags.old) AND tags.old = null", true),
            ("is_defined(tags.site) = true", true),
            ("startswith(deviceId, 'gw-')", true),
            ("STARTS_WITH(deviceId, 'GW-')", false),
            ("startswith(tags.floor, '3')", false),
            ("properties.desired.rate > properties.reported.rate", true),
            ("properties.reported.$version = 7", true),
            // Undefined: neither the one nor the other.
            ("tags.nothing = 1", false),
            ("tags.nothing != 1", false),
            ("NOT tags.nothing = 1", false),
            ("tags.nothing = 1 OR tags.floor = 3", true),
            ("NOT (tags.nothing = 1 AND tags.floor = 4)", true),
            ("tags.floor = '3'", false),
            ("properties.reported.iotstream = properties.reported.iotstream", false),
        ] {
            let query = format!("SELECT * FROM devices WHERE {condition}");
            let statement = Statement::parse(&query).unwrap();
            assert_eq!(statement.row(twin()).is_some(), met, "{condition}");
        }
    }

    #[test]
    fn projections() {
        for (columns, row) in [
            ("DeviceId", json!({ "deviceId": "gw-07" })),
            (
                "deviceId, properties.reported.iotstream",
                json!({ "deviceId": "gw-07", "iotstream": { "agent": "1" } }),
            ),
            ("deviceId as id, tags.nothing, tags.old AS tags", json!({ "id": "gw-07", "tags": null })),
            ("properties.desired", json!({ "desired": { "rate": 5, "$version": 2 } })),
        ] {
            let statement = Statement::parse(&format!("select {columns} from Devices.Modules")).unwrap();
            assert_eq!((statement.from, statement.selects_twins()), (Collection::Modules, false));
            assert_eq!(statement.row(twin()), Some(row), "{columns}");
        }
        let all = Statement::parse(" select\n*\tFROM devices ").unwrap();
        assert!(all.selects_twins() && all.from == Collection::Devices);
        assert_eq!(all.row(twin()), Some(twin()));
    }

    #[test]
    fn anything_else_is_refused() {
        let deep = format!("SELECT * FROM devices WHERE {}true", "NOT ".repeat(60));
        let open = format!("SELECT * FROM devices WHERE {}", "(".repeat(4000));
        for query in [
            "",
            "DROP",
            "SELECT FROM devices",
            "SELECT * FROM devices.jobs",
            "SELECT *, deviceId FROM devices",
            "SELECT deviceId, FROM devices",
            "SELECT COUNT() AS n FROM devices",
            "SELECT a..b FROM devices",
            "SELECT * FROM devices ORDER BY deviceId",
            "SELECT * FROM devices WHERE",
            "SELECT * FROM devices WHERE a = ",
            "SELECT * FROM devices WHERE a = 1 AND",
            "SELECT * FROM devices WHERE (a = 1",
            "SELECT * FROM devices WHERE a IN (1)",
            "SELECT * FROM devices WHERE a IN [1,",
            "SELECT * FROM devices WHERE a IN [b]",
            "SELECT * FROM devices WHERE is_defined('a')",
            "SELECT * FROM devices WHERE power(2, 3) = 8",
            "SELECT * FROM devices WHERE a = 1 + 1",
            &deep,
            &open,
        ] {
            let problem = Statement::parse(query).unwrap_err();
            assert!(problem.contains("The emulator knows"), "{query:.60}: {problem}");
        }
        assert!(Statement::parse(&"x".repeat(9000)).unwrap_err().contains("8192"));
    }

    proptest! {
        #[test]
        fn any_query_is_read(
            query in ".*|SELECT \\* FROM devices WHERE [a( )'=<>,\\[\\]1.\\\\u-]{0,40}|(SELECT|FROM|WHERE|AND|NOT|[a*(),\\[\\]='. ])*",
        ) {
            if let Ok(statement) = Statement::parse(&query) {
                let _ = statement.row(twin());
            }
        }
    }
}
