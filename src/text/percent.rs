//! Percent-encoding of one component of a URL.

use std::fmt;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

/// All but RFC 3986's unreserved characters, because ids may contain `%`, `#`, `?` and `+` \[S].
const COMPONENT: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// Percent-encodes one component of a URL's path or query, in upper-case hex.
pub(crate) fn encode(component: &str) -> impl fmt::Display + '_ {
    utf8_percent_encode(component, COMPONENT)
}
