//! Ranges of ports, and the port that a stream's name stands for.

use std::fmt;
use std::ops::RangeInclusive;

use serde::{Deserialize, Serialize};

/// Ports and ranges of ports, such as `80, 8000-8999`.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq, Serialize)]
#[serde(try_from = "Vec<String>", into = "Vec<String>")]
pub(crate) struct Ports(Vec<RangeInclusive<u16>>);

impl Ports {
    /// Parses ports and ranges that are separated by commas, as `Display` writes them. `None` if they are invalid.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        text.split(',').map(|range| range_of(range.trim())).collect::<Option<_>>().map(Self)
    }

    /// Whether the name of a stream stands for one of the ports.
    pub(crate) fn include(&self, stream: &str) -> bool {
        of_stream(stream).is_some_and(|port| self.0.iter().any(|range| range.contains(&port)))
    }

    /// The names of the streams that it includes, some more than once.
    pub(crate) fn streams(&self) -> impl Iterator<Item = String> {
        let names = |port| std::iter::once(format!("tcp-{port}")).chain((port == 22).then(|| "ssh".into()));
        self.0.iter().cloned().flatten().flat_map(names)
    }
}

impl TryFrom<Vec<String>> for Ports {
    type Error = String;

    fn try_from(ranges: Vec<String>) -> Result<Self, String> {
        if ranges.is_empty() {
            return Err("ports: the list is empty".into());
        }
        let wrong = |range: &String| {
            format!(
                "ports: '{range}' is neither a port from 1 to 65535 nor a range of ports such as 8000-8999"
            )
        };
        let ranges = ranges.iter().map(|range| range_of(range).ok_or_else(|| wrong(range)));
        ranges.collect::<Result<_, _>>().map(Self)
    }
}

impl From<Ports> for Vec<String> {
    fn from(ports: Ports) -> Self {
        ports.0.iter().map(shown).collect()
    }
}

impl fmt::Display for Ports {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&Vec::from(self.clone()).join(", "))
    }
}

fn shown(range: &RangeInclusive<u16>) -> String {
    match (range.start(), range.end()) {
        (first, last) if first == last => first.to_string(),
        (first, last) => format!("{first}-{last}"),
    }
}

fn range_of(text: &str) -> Option<RangeInclusive<u16>> {
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    let range = port(first)?..=port(last)?;
    (!range.is_empty()).then_some(range)
}

/// A port in canonical form: without a sign or leading zeros.
fn port(text: &str) -> Option<u16> {
    text.parse().ok().filter(|port: &u16| *port != 0 && port.to_string() == text)
}

/// The port that asks for a stream by default: 22 for `ssh`, N for `tcp-N`.
pub(crate) fn of_stream(stream: &str) -> Option<u16> {
    if stream == "ssh" { Some(22) } else { port(stream.strip_prefix("tcp-")?) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ports(ranges: &[&str]) -> Result<Ports, String> {
        Ports::try_from(ranges.iter().map(|&range| range.to_owned()).collect::<Vec<_>>())
    }

    #[test]
    fn a_stream_is_in_the_ranges_by_the_number_in_its_name() {
        let ports = ports(&["22", "80", "8000-8999", "8500-9000", "65535"]).unwrap();
        for (stream, is_included) in [
            ("ssh", true),
            ("tcp-22", true),
            ("tcp-80", true),
            ("tcp-080", false),
            ("tcp-+80", false),
            ("tcp-81", false),
            ("tcp-8000", true),
            ("tcp-8999", true),
            ("tcp-9001", false),
            ("tcp-65535", true),
            ("tcp-65616", false),
            ("tcp-", false),
            ("tcp-x", false),
            ("udp-80", false),
            ("80", false),
        ] {
            assert_eq!(ports.include(stream), is_included, "{stream}");
        }
    }

    #[test]
    fn a_range_is_in_order_and_within_the_numbers_of_ports() {
        for wrong in
            ["", "0", "0-80", "80-0", "90-80", "65536", "1-65536", "-80", "80-", "+80", "080", "8 0", "http"]
        {
            let problem = ports(&["80", wrong]).unwrap_err();
            assert!(problem.starts_with(&format!("ports: '{wrong}' is neither a port")), "{problem}");
        }
        assert_eq!(ports(&[]).unwrap_err(), "ports: the list is empty");
    }

    #[test]
    fn the_text_is_parsed_again() {
        let all = ports(&["80", "8000-8999", "22-22"]).unwrap();
        assert_eq!(all.to_string(), "80, 8000-8999, 22");
        assert_eq!(Ports::parse(&all.to_string()), ports(&["80", "8000-8999", "22"]).ok());
        assert_eq!(Ports::parse("80, x"), None);
    }
}
