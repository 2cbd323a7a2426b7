//! The name of this machine.

use crate::error::{Problem, escape};

/// Names that many machines have.
const DEFAULTS: [&str; 3] = ["", "(none)", "localhost"];

/// The host name.
///
/// # Errors
/// Returns an error if it is one that many machines have.
pub(crate) fn host_name() -> Result<String, Problem> {
    distinct(&rustix::system::uname().nodename().to_string_lossy())
}

fn distinct(name: &str) -> Result<String, Problem> {
    let first = name.split('.').next().unwrap_or_default();
    if DEFAULTS.contains(&first.to_ascii_lowercase().as_str()) {
        return Err(format!("the host name is '{}', as on other machines", escape(name)).into());
    }
    Ok(name.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_default_name_is_refused() {
        assert_eq!(distinct("gw-07.example").unwrap(), "gw-07.example");
        for name in ["", "(none)", "localhost", "LocalHost.localdomain"] {
            assert!(distinct(name).unwrap_err().to_string().contains(name), "{name}");
        }
    }
}
