//! Connection strings and shared access signatures, written from the protocol: nothing here is the project's own.

use std::time::{SystemTime, UNIX_EPOCH};

use data_encoding::BASE64;
use hmac::{Hmac, KeyInit, Mac};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use sha2::Sha256;

const UNRESERVED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

pub fn percent_encoded(text: &str) -> String {
    utf8_percent_encode(text, UNRESERVED).to_string()
}

/// A field of a connection string.
pub fn field<'a>(connection_string: &'a str, name: &str) -> &'a str {
    let fields = connection_string.trim().split(';').filter_map(|field| field.split_once('='));
    let mut found = fields.filter(|(found, _)| *found == name).map(|(_, value)| value);
    found.next().unwrap_or_else(|| panic!("no {name} in the connection string"))
}

pub fn unix_seconds() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs()
}

pub fn in_an_hour() -> u64 {
    unix_seconds() + 3600
}

/// The base64 signature over `sr`, encoded as it is sent, and the expiry.
pub fn signature(key: &str, sr: &str, expiry: u64) -> String {
    let mut mac = Hmac::<Sha256>::new_from_slice(&BASE64.decode(key.as_bytes()).unwrap()).unwrap();
    mac.update(format!("{sr}\n{expiry}").as_bytes());
    BASE64.encode(&mac.finalize().into_bytes())
}

/// A token for `resource`, signed with a policy's key or with a device's own.
pub fn token(resource: &str, key: &str, expiry: u64, policy: Option<&str>) -> String {
    let sr = percent_encoded(resource);
    let sig = percent_encoded(&signature(key, &sr, expiry));
    let policy = policy.map(|policy| format!("&skn={policy}")).unwrap_or_default();
    format!("SharedAccessSignature sr={sr}&sig={sig}&se={expiry}{policy}")
}
