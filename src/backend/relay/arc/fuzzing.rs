//! What fuzzing runs of this folder: what `az ssh` writes.

use super::RelayInfo;

/// The credentials of a relay, in base64 or as JSON. The problem of ones that cannot be read is returned.
pub fn info(text: &str) -> Option<String> {
    let read = RelayInfo::decode(text).or_else(|_| RelayInfo::parse(text));
    let info = match read {
        Ok(info) => info,
        Err(problem) => return Some(problem.0),
    };
    let (token, shown) = (info.token.expose(), format!("{info:?}"));
    assert!(token.len() < 32 || !shown.contains(token), "the token is shown");
    if info.check_cloud("servicebus.windows.net").is_ok() {
        let host = &info.namespace.host;
        let is_loopback = host == "localhost" || host.starts_with("127.") || host == "::1";
        assert!(
            is_loopback || *host == "servicebus.windows.net" || host.ends_with(".servicebus.windows.net"),
            "{host}"
        );
    }
    None
}
