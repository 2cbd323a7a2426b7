//! The network settings from options, configuration file and environment.

use std::path::Path;

use crate::error::{Error, Result};
use crate::net::{Network, PROXY_FORM, Proxies, Tls};
use crate::secret::Secret;

/// A network that trusts `ca_file` and uses the proxy of the first that sets one: `--proxy`, the file at `path`, the
/// environment.
///
/// # Errors
/// Returns an error that names the invalid setting.
pub(crate) fn network(
    ca_file: Option<&Path>,
    option: Option<&str>,
    path: &Path,
    in_file: Option<&Secret>,
) -> Result<Network> {
    // An empty variable or key counts as unset.
    let option = option.filter(|url| !url.trim().is_empty());
    let in_file = in_file.filter(|url| !url.expose().trim().is_empty());
    let proxies = match (option, in_file) {
        (Some(url), _) => Proxies::all(&Secret::new(url))
            .map_err(|problem| Error::usage(format!("--proxy or IOTSTREAM_PROXY: {problem}"), PROXY_FORM))?,
        (None, Some(url)) => {
            Proxies::all(url).map_err(|problem| Error::file(path, format!("proxy: {problem}"), PROXY_FORM))?
        }
        (None, None) => Proxies::from_environment()?,
    };
    Ok(Network::new(Tls::new(ca_file)?, proxies))
}
