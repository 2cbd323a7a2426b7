//! A registration id with placeholders for what tells one machine from another.

use super::proto::RegistrationId;
use crate::backend::malformed::Malformed;
use crate::error::Problem;
use crate::platform;

/// The default.
pub(super) const HOST_NAME: &str = "{hostname}";

/// A registration id as it is configured.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct IdTemplate {
    parts: Vec<Part>,
}

#[derive(Debug, PartialEq, Eq)]
enum Part {
    Text(String),
    /// `{hostname}`.
    HostName,
    /// `{mac}`.
    HardwareAddress,
    /// `{serial}`.
    SerialNumber,
}

impl IdTemplate {
    /// Parses a registration id.
    ///
    /// # Errors
    /// Returns [`Malformed`] for an unknown placeholder, or a character that no registration id has.
    pub(super) fn parse(text: &str) -> Result<Self, Malformed> {
        let mut parts = Vec::new();
        let mut rest = text;
        while let Some((before, after)) = rest.split_once('{') {
            let (name, after) =
                after.split_once('}').ok_or_else(|| Malformed::new("it has a '{' without a '}'"))?;
            parts.push(Part::Text(before.to_owned()));
            parts.push(match name {
                "hostname" => Part::HostName,
                "mac" => Part::HardwareAddress,
                "serial" => Part::SerialNumber,
                _ => {
                    let problem =
                        format!("{{{name}}} is unknown: there are {{hostname}}, {{mac}} and {{serial}}");
                    return Err(Malformed::new(problem));
                }
            });
            rest = after;
        }
        parts.push(Part::Text(rest.to_owned()));
        parts.retain(|part| *part != Part::Text(String::new()));
        let template = Self { parts };
        // Each value is at least one letter or digit.
        template
            .fill(|part| match part {
                Part::Text(text) => Ok(text.clone()),
                _ => Ok::<_, Malformed>("0".into()),
            })?
            .parse::<RegistrationId>()?;
        Ok(template)
    }

    /// Whether it has no placeholder.
    pub(super) fn is_fixed(&self) -> bool {
        self.parts.iter().all(|part| matches!(part, Part::Text(_)))
    }

    /// The registration id of this machine.
    ///
    /// # Errors
    /// Returns an error if a placeholder's value cannot be read, or makes no registration id.
    pub(super) fn expand(&self) -> Result<RegistrationId, Problem> {
        let id = self.fill(|part| match part {
            Part::Text(text) => Ok(text.clone()),
            Part::HostName => platform::host_name(),
            // Colons are allowed, but Microsoft's example has hyphens \[D].
            Part::HardwareAddress => {
                platform::machine::hardware_address().map(|address| address.replace(':', "-"))
            }
            Part::SerialNumber => platform::machine::serial_number(),
        })?;
        let bad = |problem: Malformed| Problem::from(format!("{id:?} is no registration id: {problem}"));
        id.parse().map_err(bad)
    }

    fn fill<E>(&self, value: impl Fn(&Part) -> Result<String, E>) -> Result<String, E> {
        self.parts.iter().map(value).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn placeholders_stand_for_facts_about_the_machine() {
        let name = platform::host_name().unwrap();
        let expanded = |text: &str| IdTemplate::parse(text).unwrap().expand().unwrap().to_string();
        assert_eq!(expanded("gw-07"), "gw-07");
        assert_eq!(expanded("{hostname}"), name);
        assert_eq!(expanded("gw-{hostname}-a"), format!("gw-{name}-a"));
        let template = IdTemplate::parse("{serial}:{mac}").unwrap();
        assert_eq!(template.parts, [Part::SerialNumber, Part::Text(":".into()), Part::HardwareAddress]);
    }

    #[test]
    fn a_template_is_checked_before_its_values_are_known() {
        for (text, problem) in [
            ("", "1 to 128"),
            ("gw 07", "' '"),
            ("{hostname}/x", "'/'"),
            ("{hostname}.", "end with '.'"),
            ("{host}", "{host} is unknown"),
            ("{}", "{} is unknown"),
            ("{mac", "'{' without"),
            ("mac}", "'}'"),
        ] {
            let found = IdTemplate::parse(text).unwrap_err().0;
            assert!(found.contains(problem), "{text}: {found}");
        }
    }
}
