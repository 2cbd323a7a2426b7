//! Tracking ids, and the reason phrases that carry them.

use std::fmt;
use std::time::SystemTime;

use uuid::Uuid;

use crate::time::clock;

/// The longest id that is taken from a client.
const LONGEST: usize = 128;

/// The tracking id of a request: its client's, or a new one.
#[derive(Clone, Debug)]
pub(super) struct TrackingId(String);

impl TrackingId {
    /// The id that a client gave, up to the first `_`: the service appends the nodes that a request passes \[D].
    pub(super) fn new(given: Option<&str>) -> Self {
        let given = given.map_or("", base);
        let is_usable =
            !given.is_empty() && given.len() <= LONGEST && given.bytes().all(|b| b.is_ascii_graphic());
        Self(if is_usable { given.to_owned() } else { Uuid::new_v4().to_string() })
    }

    /// The id at the node that answers.
    pub(super) fn here(&self) -> String {
        format!("{}_G1", self.0)
    }

    /// The id of a stream, which has passed a second node.
    pub(super) fn of_stream(&self) -> String {
        format!("{}_G0_G1", self.0)
    }
}

impl fmt::Display for TrackingId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// An id without the nodes.
pub(super) fn base(id: &str) -> &str {
    id.split_once('_').map_or(id, |(base, _)| base)
}

/// What the service appends to every explanation \[D].
pub(super) fn suffix(id: &TrackingId, resource: &str, now: SystemTime) -> String {
    format!("TrackingId:{}, SystemTracker:{resource}, Timestamp:{}", id.here(), timestamp(now))
}

/// `5/7/2018 5:51:25 PM`.
fn timestamp(now: SystemTime) -> String {
    let text = clock::iso8601(now);
    let number = |from: usize| text[from..from + 2].parse::<u32>().unwrap_or_default();
    let hour = number(11);
    let (hour, half) = (if hour % 12 == 0 { 12 } else { hour % 12 }, if hour < 12 { "AM" } else { "PM" });
    format!("{}/{}/{} {hour}:{} {half}", number(5), number(8), &text[..4], &text[14..19])
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, UNIX_EPOCH};

    use super::*;

    #[test]
    fn a_clients_id_loses_its_nodes() {
        assert_eq!(TrackingId::new(Some("ab-1_G0_G1")).here(), "ab-1_G1");
        assert_eq!(TrackingId::new(Some("ab-1")).of_stream(), "ab-1_G0_G1");
        for unusable in [None, Some(""), Some("_G1"), Some("a b"), Some("a\r\nb"), Some(&*"x".repeat(129))] {
            assert_eq!(TrackingId::new(unusable).to_string().len(), 36, "{unusable:?}");
        }
    }

    #[test]
    fn times_are_written_as_the_service_does() {
        let at = |seconds| timestamp(UNIX_EPOCH + Duration::from_secs(seconds));
        assert_eq!(at(1_525_715_485), "5/7/2018 5:51:25 PM");
        assert_eq!(at(0), "1/1/1970 12:00:00 AM");
        assert_eq!(at(12 * 3600), "1/1/1970 12:00:00 PM");
    }
}
