//! The path and query of a request to a hybrid connection.

use hyper::Uri;
use percent_encoding::percent_decode_str;

/// The paths of hybrid connections are below these. Some clients encode the `$`.
const PREFIXES: [&str; 2] = ["/$hc/", "/%24hc/"];
/// Names of parameters with this prefix are the service's \[P].
const RESERVED: &str = "sb-hc-";

/// What a request is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Action {
    Listen,
    /// The default \[D].
    Connect,
    Accept,
}

/// The path and query of a request.
#[derive(Debug)]
pub(super) struct HybridRequest {
    /// The path of the entity and what follows it, as sent.
    pub(super) path: String,
    /// The service's parameters, decoded.
    parameters: Vec<(String, String)>,
    /// The other parts of the query, as sent.
    query: Vec<String>,
}

/// The path below `/$hc/`, as sent.
pub(super) fn below_prefix(path: &str) -> Option<&str> {
    PREFIXES.iter().find_map(|prefix| {
        let start = path.get(..prefix.len())?;
        start.eq_ignore_ascii_case(prefix).then(|| &path[prefix.len()..])
    })
}

impl HybridRequest {
    /// Reads a URL's path and query; one that is not below the prefix is of the HTTP mode.
    pub(super) fn parse(uri: &Uri) -> Self {
        let path = below_prefix(uri.path()).unwrap_or_else(|| uri.path());
        let (mut parameters, mut query) = (Vec::new(), Vec::new());
        for part in uri.query().unwrap_or_default().split('&').filter(|part| !part.is_empty()) {
            let (name, value) = part.split_once('=').unwrap_or((part, ""));
            let name = form_decoded(name).to_ascii_lowercase();
            if name.starts_with(RESERVED) {
                parameters.push((name, form_decoded(value)));
            } else {
                query.push(part.to_owned());
            }
        }
        Self { path: path.trim_matches('/').to_owned(), parameters, query }
    }

    /// What the request is for; `None` for an action that is not known.
    pub(super) fn action(&self) -> Option<Action> {
        match self.parameter("action") {
            None => Some(Action::Connect),
            Some(action) => {
                [("listen", Action::Listen), ("connect", Action::Connect), ("accept", Action::Accept)]
                    .into_iter()
                    .find_map(|(name, known)| action.eq_ignore_ascii_case(name).then_some(known))
            }
        }
    }

    /// A parameter of the service, named without `sb-hc-`.
    pub(super) fn parameter(&self, name: &str) -> Option<&str> {
        let found = self.parameters.iter().find(|(known, _)| known.strip_prefix(RESERVED) == Some(name));
        found.map(|(_, value)| value.as_str())
    }

    /// The sender's own part of the query, with a `&` after it; empty where there is none.
    pub(super) fn own_query(&self) -> String {
        self.query.iter().map(|part| format!("{part}&")).collect()
    }
}

/// Decodes a part of a form: `+` is a space \[C].
fn form_decoded(text: &str) -> String {
    percent_decode_str(&text.replace('+', " ")).decode_utf8_lossy().into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(uri: &str) -> HybridRequest {
        HybridRequest::parse(&uri.parse().unwrap())
    }

    #[test]
    fn the_services_parameters_are_told_from_the_senders() {
        let request = parse("/%24HC/a%2Fb/ssh/?x=1&SB-HC-Action=listen&sb-hc-token=a+b%2Bc&sb-hc-x&y");
        assert_eq!((request.path.as_str(), request.own_query().as_str()), ("a%2Fb/ssh", "x=1&y&"));
        assert_eq!(request.action(), Some(Action::Listen));
        assert_eq!(request.parameter("token"), Some("a b+c"));
        assert_eq!(parse("/$hc/a?sb-hc-token=x").action(), Some(Action::Connect));
        assert_eq!(parse("/$hc/a").action(), Some(Action::Connect));
        assert_eq!(parse("/$hc/a?sb-hc-action=other").action(), None);
        assert_eq!(below_prefix("/$hcx/a"), None);
    }
}
