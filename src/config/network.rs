//! The way out that options, files and the environment choose.

use std::path::Path;

use crate::error::{Error, Result};
use crate::net::{Network, PROXY_FORM, Proxies, Tls};
use crate::secret::Secret;

/// A network with the trust in `ca_file` and the proxy of `--proxy`, else of the file at `path`, else of the environment.
///
/// # Errors
/// Which of them is of no use.
pub(crate) fn network(
    ca_file: Option<&Path>,
    option: Option<&str>,
    path: &Path,
    in_file: Option<&Secret>,
) -> Result<Network> {
    // An empty variable is as good as none, and so is an empty key.
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
