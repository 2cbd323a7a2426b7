//! Values of configuration files: commands, durations, secrets.

use std::fmt;
use std::time::Duration;

use serde::de::value::MapAccessDeserializer;
use serde::de::{Error as _, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};

use crate::secret::Secret;
use crate::text::duration;

/// The preamble of another program, which both ends of a stream exchange before its bytes.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub enum Preamble {
    /// azbridge's, which names a port.
    Azbridge,
}

impl fmt::Display for Preamble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Azbridge => f.write_str("azbridge"),
        }
    }
}

/// A command to run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CommandLine {
    /// The program and its arguments.
    Words(Vec<String>),
    /// A command line for `sh`.
    Shell(String),
}

impl fmt::Display for CommandLine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Words(words) => f.write_str(
                &shlex::try_join(words.iter().map(String::as_str)).unwrap_or_else(|_| words.join(" ")),
            ),
            Self::Shell(line) => write!(f, "sh -c {line}"),
        }
    }
}

impl<'de> Deserialize<'de> for CommandLine {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(deny_unknown_fields)]
        struct Table {
            shell: String,
        }
        struct Form;
        impl<'de> Visitor<'de> for Form {
            type Value = CommandLine;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(
                    "a command as \"program argument\", [\"program\", \"argument\"] or { shell = \"line\" }",
                )
            }

            fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<CommandLine, E> {
                let words =
                    shlex::split(text).ok_or_else(|| E::custom("a quote in the command is not closed"))?;
                checked(words)
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<CommandLine, A::Error> {
                let mut words = Vec::new();
                while let Some(word) = list.next_element()? {
                    words.push(word);
                }
                checked(words)
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<CommandLine, A::Error> {
                let Table { shell } = Table::deserialize(MapAccessDeserializer::new(map))?;
                Ok(CommandLine::Shell(shell))
            }
        }
        fn checked<E: serde::de::Error>(words: Vec<String>) -> Result<CommandLine, E> {
            match words.first() {
                Some(program) if !program.is_empty() => Ok(CommandLine::Words(words)),
                _ => Err(E::custom("the command names no program")),
            }
        }
        deserializer.deserialize_any(Form)
    }
}

/// A duration: `"1m30s"`, or whole seconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seconds(pub Duration);

impl<'de> Deserialize<'de> for Seconds {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Text;
        impl Visitor<'_> for Text {
            type Value = Seconds;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a duration such as \"1m30s\"")
            }

            fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Seconds, E> {
                duration::parse(text).map(Seconds).map_err(E::custom)
            }

            fn visit_i64<E: serde::de::Error>(self, seconds: i64) -> Result<Seconds, E> {
                duration::parse(&seconds.to_string()).map(Seconds).map_err(E::custom)
            }
        }
        deserializer.deserialize_any(Text)
    }
}

/// A secret text.
#[derive(Clone, Debug)]
pub struct SecretText(pub Secret);

impl<'de> Deserialize<'de> for SecretText {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        // serde's message would contain the value, which may be the secret without quotes.
        match String::deserialize(deserializer) {
            Ok(text) => Ok(Self(Secret::new(text))),
            Err(_) => Err(D::Error::custom("a text in quotes is expected")),
        }
    }
}
