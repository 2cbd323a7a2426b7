//! Percent-encoding of one component of a URL.

use std::fmt;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

/// Everything but RFC 3986's unreserved characters, in upper-case hex: ids may hold `%`, `#`, `?`, `+` [S].
const COMPONENT: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// Percent-encodes one component of a URL path or of a query.
pub fn encode(component: &str) -> impl fmt::Display + '_ {
    utf8_percent_encode(component, COMPONENT)
}
