//! Which of the host keys that a device reports are trusted.

use crate::backend::ReportedKey;
use crate::profile::HostKeyPolicy;
use crate::state::pinned_host_keys::Pin;
use crate::text::public_key::PublicKey;

/// Why no key is trusted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Refusal {
    /// The device has reported no keys.
    Unreported,
    /// The device reports none of its pinned keys, and no others.
    Withdrawn,
    /// The device reports other keys than the pinned ones; since when, if the service tells.
    Changed(Option<String>),
}

/// The keys that ssh may trust; under [`HostKeyPolicy::Pin`] without `pins`, all that are to be pinned.
///
/// # Errors
/// Returns why there are none.
pub(super) fn trusted(
    policy: HostKeyPolicy,
    reported: &[ReportedKey],
    pins: Option<&[Pin]>,
) -> Result<Vec<PublicKey>, Refusal> {
    let pins = pins.filter(|_| policy == HostKeyPolicy::Pin);
    if reported.is_empty() {
        return Err(if pins.is_some() { Refusal::Withdrawn } else { Refusal::Unreported });
    }
    let is_trusted = |key: &PublicKey| pins.is_none_or(|pins| pins.iter().any(|pin| pin.key == *key));
    let keys = reported.iter().map(|reported| &reported.key);
    let keys: Vec<PublicKey> = keys.filter(|key| is_trusted(key)).cloned().collect();
    if keys.is_empty() { Err(Refusal::Changed(since(reported.iter()))) } else { Ok(keys) }
}

/// When the first of `reported` was reported, for people.
pub(super) fn since<'a>(reported: impl Iterator<Item = &'a ReportedKey>) -> Option<String> {
    let times: Option<Vec<String>> = reported.map(|key| minute(key.since.as_deref()?)).collect();
    times?.into_iter().min()
}

/// `2026-11-26 10:00 UTC`, from the service's `2026-11-26T10:00:30.1234567Z`.
pub(super) fn minute(time: &str) -> Option<String> {
    let (date, clock) = (time.get(..10)?, time.get(11..16)?);
    let is = |text: &str, form: &str| {
        text.chars()
            .zip(form.chars())
            .all(|(c, form)| if form == '0' { c.is_ascii_digit() } else { c == form })
    };
    let is_utc = time.as_bytes()[10] == b'T' && time.ends_with('Z');
    (is_utc && is(date, "0000-00-00") && is(clock, "00:00")).then(|| format!("{date} {clock} UTC"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn key(number: u8) -> PublicKey {
        PublicKey::of_blob(&[&[0, 0, 0, 11][..], b"ssh-ed25519", &[number]].concat()).unwrap()
    }

    fn reported(number: u8, since: &str) -> ReportedKey {
        ReportedKey { key: key(number), since: Some(since.into()) }
    }

    fn pin(number: u8) -> Pin {
        Pin { key: key(number), since: None }
    }

    #[test]
    fn the_policy_decides_among_the_reported_keys() {
        use HostKeyPolicy::{Follow, Pin};
        let two = [reported(1, "2026-11-26T10:00:30.5Z"), reported(2, "2026-11-25T09:00:00Z")];
        let changed = Err(Refusal::Changed(Some("2026-11-25 09:00 UTC".into())));
        for (policy, reported, pins, expected) in [
            (Pin, &two[..], None, Ok(vec![key(1), key(2)])),
            (Pin, &two, Some(&[pin(1)][..]), Ok(vec![key(1)])),
            (Pin, &two, Some(&[pin(1), pin(3)]), Ok(vec![key(1)])),
            (Pin, &two, Some(&[pin(3)]), changed),
            (Pin, &[], Some(&[pin(3)]), Err(Refusal::Withdrawn)),
            (Pin, &[], None, Err(Refusal::Unreported)),
            (Follow, &two, Some(&[pin(3)]), Ok(vec![key(1), key(2)])),
            (Follow, &[], Some(&[pin(3)]), Err(Refusal::Unreported)),
        ] {
            assert_eq!(trusted(policy, reported, pins), expected);
        }
    }

    #[test]
    fn a_time_is_shown_if_it_is_one() {
        assert_eq!(minute("2026-11-26T10:00:30.1234567Z").as_deref(), Some("2026-11-26 10:00 UTC"));
        for time in [
            "",
            "Z",
            "2026-11-26",
            "2026-11-26 10:00:30Z",
            "2026-11-26T10:00",
            "2026-11-2xT10:00:00Z",
            "é026-11-26T10:00:00Z",
        ] {
            assert_eq!(minute(time), None, "{time}");
        }
        let unknown = ReportedKey { since: None, ..reported(1, "") };
        assert_eq!(since([reported(1, "2026-11-26T10:00:30Z"), unknown].iter()), None);
    }

    proptest! {
        #[test]
        fn no_time_panics(time in any::<String>()) {
            minute(&time);
        }
    }
}
