//! The words of a query.

use serde_json::{Number, Value};

/// One word.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Word<'a> {
    /// A keyword, or a path.
    Name(&'a str),
    Constant(Value),
    Sign(&'a str),
}

const SIGNS: [&str; 12] = ["<=", ">=", "<>", "!=", "=", "<", ">", ",", "(", ")", "[", "]"];

/// Splits a query into words.
///
/// # Errors
/// Returns what is wrong.
pub(super) fn words(query: &str) -> Result<Vec<Word<'_>>, String> {
    let mut words = Vec::new();
    let mut rest = query.trim_start();
    while let Some(first) = rest.chars().next() {
        let length = match first {
            '\'' | '"' => {
                let (text, length) =
                    text(rest, first).ok_or("a string has no end, or an escape that is not known")?;
                words.push(Word::Constant(text.into()));
                length
            }
            '-' | '0'..='9' => {
                let length = end(rest, |c| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '+'));
                let number = number(&rest[..length]);
                let number = number.ok_or_else(|| format!("'{}' is not a number", &rest[..length]))?;
                words.push(Word::Constant(number.into()));
                length
            }
            '*' => {
                words.push(Word::Sign("*"));
                1
            }
            _ if is_of_name(first) => {
                let length = end(rest, |c| is_of_name(c) || matches!(c, '.' | '-'));
                let name = &rest[..length];
                words.push(match name.to_ascii_lowercase().as_str() {
                    "true" => Word::Constant(true.into()),
                    "false" => Word::Constant(false.into()),
                    "null" => Word::Constant(Value::Null),
                    _ => Word::Name(name),
                });
                length
            }
            _ => {
                let sign = SIGNS.iter().find(|sign| rest.starts_with(**sign));
                let sign = sign.ok_or_else(|| format!("'{}' is not known", first.escape_debug()))?;
                words.push(Word::Sign(sign));
                sign.len()
            }
        };
        rest = rest[length..].trim_start();
    }
    Ok(words)
}

/// Whether a name may have the character: the hub's own have a `$`.
fn is_of_name(c: char) -> bool {
    c.is_alphanumeric() || matches!(c, '_' | '$')
}

fn end(text: &str, belongs: impl Fn(char) -> bool) -> usize {
    text.find(|c| !belongs(c)).unwrap_or(text.len())
}

/// A string between two `quote`s, and its length in the query. It has the escapes `\'`, `\"`, `\\` and `\uXXXX` \[D].
fn text(quoted: &str, quote: char) -> Option<(String, usize)> {
    let mut text = String::new();
    let mut chars = quoted.char_indices().skip(1);
    while let Some((at, c)) = chars.next() {
        match c {
            '\\' => match chars.next()?.1 {
                'u' => {
                    let digits: String = chars.by_ref().take(4).map(|(_, c)| c).collect();
                    text.push(u32::from_str_radix(&digits, 16).ok().and_then(char::from_u32)?);
                }
                c @ ('\'' | '"' | '\\') => text.push(c),
                _ => return None,
            },
            c if c == quote => return Some((text, at + 1)),
            c => text.push(c),
        }
    }
    None
}

fn number(text: &str) -> Option<Number> {
    if let Some(digits) = text.strip_prefix("0x") {
        return i64::from_str_radix(digits, 16).ok().map(Number::from);
    }
    text.parse::<i64>().ok().map(Number::from).or_else(|| Number::from_f64(text.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn constants() {
        let constant = |text: &str| match words(text).as_deref() {
            Ok([Word::Constant(value)]) => Some(value.clone()),
            _ => None,
        };
        for (text, value) in [
            ("'a b'", json!("a b")),
            (r#""it's""#, json!("it's")),
            (r"'\'\\\u00e9é'", json!("'\\éé")),
            ("-5", json!(-5)),
            ("0x1F", json!(31)),
            ("1.5e-3", json!(0.0015)),
            ("True", json!(true)),
            ("NULL", json!(null)),
        ] {
            assert_eq!(constant(text), Some(value), "{text}");
        }
        for text in ["'a", r"'\n'", r"'\u12", "1x", "-", "0xg", "%", "''x'"] {
            assert_eq!(constant(text), None, "{text}");
        }
    }

    #[test]
    fn names_and_signs() {
        let sign = Word::Sign;
        let expected = [Word::Name("$a.b-c"), sign("<="), Word::Name("x"), sign("<>"), sign("["), sign("]")];
        assert_eq!(words("$a.b-c<=x <>[]").unwrap(), expected);
    }
}
