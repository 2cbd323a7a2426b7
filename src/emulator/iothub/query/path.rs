//! Where a value is in a twin.

use serde_json::Value;

/// The names that lead to a value: `properties.reported.x`.
#[derive(Debug, PartialEq)]
pub(super) struct Path(Vec<String>);

impl Path {
    /// Reads a path; `None` where a name in it is empty.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let names: Vec<_> = text.split('.').map(str::to_owned).collect();
        names.iter().all(|name| !name.is_empty()).then_some(Self(names))
    }

    /// The value in a twin, and its key there.
    ///
    /// The hub's own names are found in any case, and answers have them as the twin does \[D]: `DeviceId` is `deviceId`.
    pub(super) fn find<'a>(&self, twin: &'a Value) -> Option<(&'a str, &'a Value)> {
        let mut found = ("", twin);
        let mut of_hub = true;
        for name in &self.0 {
            let mut entries = found.1.as_object()?.iter();
            let (key, value) = entries
                .find(|(key, _)| if of_hub { key.eq_ignore_ascii_case(name) } else { *key == name })?;
            of_hub = of_hub && found.0.is_empty() && key == "properties";
            found = (key, value);
        }
        Some(found)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn names_of_the_hub_are_found_in_any_case() {
        let twin = json!({ "deviceId": "a", "tags": { "properties": { "x": 1 } },
            "properties": { "reported": { "deep": { "x": 2 } } } });
        let find = |text: &str| {
            let path = Path::parse(text).unwrap();
            path.find(&twin).map(|(key, value)| (key.to_owned(), value.clone()))
        };
        assert_eq!(find("DEVICEID"), Some(("deviceId".into(), json!("a"))));
        assert_eq!(find("Properties.Reported.deep.x"), Some(("x".into(), json!(2))));
        assert_eq!(find("Tags.properties.x"), Some(("x".into(), json!(1))));
        for text in ["properties.reported.Deep.x", "tags.Properties.x", "deviceId.x", "nothing"] {
            assert_eq!(find(text), None, "{text}");
        }
        assert_eq!(Path::parse("a..b"), None);
    }
}
