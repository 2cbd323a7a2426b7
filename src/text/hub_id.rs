//! Ids of devices and modules at an IoT Hub.

/// Checks an id: `^[A-Za-z0-9\-:.+%_#*?!(),=@;$']{1,128}$` \[S]; case matters. `kind` is what it is the id of.
///
/// # Errors
/// Returns the problem in words.
pub(crate) fn check(kind: &str, id: &str) -> Result<(), String> {
    if !(1..=128).contains(&id.len()) {
        return Err(format!("a {kind} id has 1 to 128 characters, this one has {}", id.len()));
    }
    let allowed = |c: char| c.is_ascii_alphanumeric() || "-:.+%_#*?!(),=@;$'".contains(c);
    match id.chars().find(|&c| !allowed(c)) {
        Some(c) => Err(format!("{c:?} cannot be part of a {kind} id")),
        None => Ok(()),
    }
}
