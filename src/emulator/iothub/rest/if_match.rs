//! `If-Match`: the condition of a change.

use hyper::header::{HeaderMap, IF_MATCH};

/// Whether this etag meets `If-Match`; `None` where there is no such header.
pub(super) fn if_match(headers: &HeaderMap, etag: &str) -> Option<bool> {
    let wanted = headers.get(IF_MATCH)?.to_str().unwrap_or_default();
    // Microsoft's Python and Node clients quote the asterisk too.
    let wanted = wanted.trim().trim_start_matches("W/").trim_matches('"');
    Some(wanted == "*" || wanted == etag)
}

#[cfg(test)]
mod tests {
    use hyper::header::HeaderValue;

    use super::*;

    #[test]
    fn etags_are_quoted_or_not() {
        let met = |text: &'static str| {
            if_match(&HeaderMap::from_iter([(IF_MATCH, HeaderValue::from_static(text))]), "AAE=")
        };
        for text in ["*", "\"*\"", "AAE=", "\"AAE=\"", "W/\"AAE=\""] {
            assert_eq!(met(text), Some(true), "{text}");
        }
        for text in ["", "\"\"", "\"AAI=\""] {
            assert_eq!(met(text), Some(false), "{text}");
        }
        assert_eq!(if_match(&HeaderMap::new(), "AAE="), None);
    }
}
