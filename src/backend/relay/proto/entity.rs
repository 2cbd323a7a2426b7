//! The path of a hybrid connection.

use std::fmt;

use percent_encoding::percent_decode_str;

use super::{Malformed, encode};

/// The longest path in characters \[D].
const LONGEST: usize = 260;

/// The placeholder of a device id in a template.
const DEVICE: &str = "{device}";

/// The path of a hybrid connection: segments, which may contain any character.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Entity(Vec<String>);

impl Entity {
    /// Parses a path such as `factory/gw-07`.
    ///
    /// # Errors
    /// Returns [`Malformed`] if it is empty or too long, or a segment is empty, `.` or `..`, which URLs resolve.
    pub(crate) fn parse(path: &str) -> Result<Self, Malformed> {
        Self::new(path.trim_matches('/').split('/').map(str::to_owned).collect())
    }

    fn new(segments: Vec<String>) -> Result<Self, Malformed> {
        let wrong = |problem: String| Err(Malformed::new(format!("the hybrid connection's name {problem}")));
        if segments.iter().map(String::len).sum::<usize>() + segments.len() > LONGEST + 1 {
            return wrong(format!("is longer than {LONGEST} characters"));
        }
        match segments.iter().find(|segment| matches!(segment.as_str(), "" | "." | "..")) {
            None => Ok(Self(segments)),
            Some(segment) if segment.is_empty() => wrong("has an empty part".into()),
            Some(segment) => wrong(format!("has a part '{segment}'")),
        }
    }

    /// The path with each segment percent-encoded.
    pub(crate) fn encoded(&self) -> String {
        self.0.iter().map(|segment| encode(segment).to_string()).collect::<Vec<_>>().join("/")
    }

    /// The last segment, which usually is the device id.
    pub(crate) fn last(&self) -> &str {
        self.0.last().map_or("", String::as_str)
    }

    /// What follows this path in the percent-encoded `path`, decoded: `""` for the same path. `None` if `path` does not
    /// begin with this path. Clients send the slashes of a path as they are or as `%2F` \[A], and the service ignores its
    /// case \[~].
    pub(crate) fn suffix_in(&self, path: &str) -> Option<String> {
        let path = percent_decode_str(path.trim_matches('/')).decode_utf8().ok()?;
        let own = self.to_string();
        let (start, rest) = (path.get(..own.len())?, path.get(own.len()..)?);
        if !start.eq_ignore_ascii_case(&own) {
            return None;
        }
        if rest.is_empty() { Some(String::new()) } else { rest.strip_prefix('/').map(str::to_owned) }
    }
}

impl fmt::Display for Entity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.join("/"))
    }
}

/// A path with the device's place in it, such as `factory/{device}`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Template(String);

impl Template {
    /// Parses a template.
    ///
    /// # Errors
    /// Returns [`Malformed`] if a path from it would be invalid.
    pub(crate) fn parse(text: &str) -> Result<Self, Malformed> {
        let template = Self(text.trim_matches('/').to_owned());
        template.entity("x").map(|_| template)
    }

    /// One path for each device.
    pub(crate) fn per_device() -> Self {
        Self(DEVICE.into())
    }

    /// The path for `device`, which is part of one segment.
    ///
    /// # Errors
    /// Returns [`Malformed`] if `device` makes the path invalid.
    pub(crate) fn entity(&self, device: &str) -> Result<Entity, Malformed> {
        Entity::new(self.0.split('/').map(|segment| segment.replace(DEVICE, device)).collect())
    }

    /// Whether devices share one path.
    pub(crate) fn is_shared(&self) -> bool {
        !self.0.contains(DEVICE)
    }

    /// The device of `path`; `None` if the path is not from this template.
    pub(crate) fn device(&self, path: &str) -> Option<String> {
        let (before, after) = self.0.split_once(DEVICE)?;
        let device = path.strip_prefix(before)?.strip_suffix(after)?;
        let is_segment = !device.is_empty() && !device.contains(|c: char| c == '/' || c.is_control());
        is_segment.then(|| device.to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_device_is_one_encoded_segment() {
        let path = |template: &str, device: &str| {
            Template::parse(template).and_then(|template| template.entity(device)).map(|path| path.encoded())
        };
        assert_eq!(path("{device}", "gw-07"), Ok("gw-07".into()));
        assert_eq!(path("factory/{device}", "Line(3)/Press"), Ok("factory/Line%283%29%2FPress".into()));
        assert_eq!(path("/a/gw-{device}-x/", "7"), Ok("a/gw-7-x".into()));
        assert_eq!(path("shared", "7"), Ok("shared".into()));
        for (template, device) in
            [("{device}", "."), ("{device}", ".."), ("a/{device}", ""), ("a//b", "x"), ("", "x")]
        {
            assert!(path(template, device).is_err(), "{template} {device}");
        }
        assert!(path("{device}", &"x".repeat(261)).is_err());
        assert!(path("{device}", &"x".repeat(260)).is_ok());
        assert!(Template::parse("a").unwrap().is_shared());
    }

    #[test]
    fn finds_the_device_of_a_path() {
        let device = |template: &str, path: &str| Template::parse(template).unwrap().device(path);
        for (template, path, found) in [
            ("{device}", "gw-07", Some("gw-07")),
            ("{device}", "a/gw-07", None),
            ("factory/gw-{device}-x", "factory/gw-7-x", Some("7")),
            ("factory/{device}", "factory/", None),
            ("factory/{device}", "office/7", None),
            ("aa{device}aa", "aaa", None),
            ("shared", "shared", None),
        ] {
            assert_eq!(device(template, path).as_deref(), found, "{template} {path}");
        }
    }

    #[test]
    fn finds_the_suffix_of_a_path() {
        let entity = Entity::parse("factory/GW-07").unwrap();
        assert_eq!(entity.last(), "GW-07");
        for (path, suffix) in [
            ("factory/GW-07", Some("")),
            ("Factory%2Fgw-07/", Some("")),
            ("factory/gw-07/ssh", Some("ssh")),
            ("factory/gw-07/a%2Fb", Some("a/b")),
            ("factory/gw-070", None),
            ("factory", None),
            ("factory/gw-0%ff", None),
        ] {
            assert_eq!(entity.suffix_in(path).as_deref(), suffix, "{path}");
        }
    }
}
