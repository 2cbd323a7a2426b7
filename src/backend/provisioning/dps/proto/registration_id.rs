//! The id under which a device registers.

use std::fmt;
use std::hash::{Hash, Hasher};
use std::str::FromStr;

use crate::backend::malformed::Malformed;

const MOST: usize = 128;

/// A registration id. It keeps its case, which the key of a group's device depends on, but ids that differ in nothing
/// else are the same \[D].
#[derive(Clone, Debug)]
pub(crate) struct RegistrationId(String);

impl RegistrationId {
    /// The id as it was written.
    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for RegistrationId {
    type Err = Malformed;

    /// Checks an id: 1 to 128 letters, digits and `-._:`, the last one a letter, a digit or `-` \[D].
    fn from_str(text: &str) -> Result<Self, Malformed> {
        if !(1..=MOST).contains(&text.len()) {
            let count = text.chars().count();
            return Err(Malformed::new(format!(
                "a registration id has 1 to {MOST} characters, this one has {count}"
            )));
        }
        let allowed = |c: char| c.is_ascii_alphanumeric() || "-._:".contains(c);
        if let Some(c) = text.chars().find(|&c| !allowed(c)) {
            return Err(Malformed::new(format!("{c:?} cannot be part of a registration id")));
        }
        match text.chars().next_back() {
            Some(last @ ('.' | '_' | ':')) => {
                Err(Malformed::new(format!("a registration id cannot end with {last:?}")))
            }
            _ => Ok(Self(text.to_owned())),
        }
    }
}

impl fmt::Display for RegistrationId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl PartialEq for RegistrationId {
    fn eq(&self, other: &Self) -> bool {
        self.0.eq_ignore_ascii_case(&other.0)
    }
}

impl Eq for RegistrationId {}

impl Hash for RegistrationId {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.0.to_ascii_lowercase().hash(state);
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn ids_are_checked() {
        for id in ["a", "GW-07", "a.b_c:d-", "-", "7", &"x".repeat(128)] {
            assert_eq!(id.parse::<RegistrationId>().unwrap().as_str(), id);
        }
        for (id, problem) in [
            ("", "1 to 128"),
            (&"x".repeat(129), "has 129"),
            ("a b", "' '"),
            ("a/b", "'/'"),
            ("gé", "'é'"),
            ("a\n", "'\\n'"),
            ("a.", "end with '.'"),
            ("a_", "end with '_'"),
            ("a:", "end with ':'"),
        ] {
            let found = id.parse::<RegistrationId>().unwrap_err().0;
            assert!(found.contains(problem), "{id}: {found}");
        }
    }

    #[test]
    fn case_does_not_distinguish_ids() {
        let id = |text: &str| text.parse::<RegistrationId>().unwrap();
        assert_eq!(id("GW-07"), id("gw-07"));
        assert_ne!(id("gw-07"), id("gw-08"));
        assert!(HashSet::from([id("GW-07")]).contains(&id("gw-07")));
        assert_eq!(id("GW-07").to_string(), "GW-07");
    }
}
