//! Azure Resource Manager's list of a namespace's hybrid connections.

use hyper::Uri;
use serde::Deserialize;

use super::{Malformed, encode};
use crate::net::request_target;

/// The version of the API.
const API_VERSION: &str = "2021-11-01";

/// The path of the list's first page. `resource` is the namespace's resource id.
///
/// # Errors
/// Returns [`Malformed`] if it is another kind of resource.
pub(crate) fn list_path(resource: &str) -> Result<String, Malformed> {
    let segments: Vec<&str> = resource.trim_matches('/').split('/').collect();
    let is_at = |at: usize, name: &str| segments.get(at).is_some_and(|part| part.eq_ignore_ascii_case(name));
    let is_namespace = segments.len() == 8
        && is_at(0, "subscriptions")
        && is_at(2, "resourceGroups")
        && is_at(4, "providers")
        && is_at(5, "Microsoft.Relay")
        && is_at(6, "namespaces");
    if !is_namespace || segments.iter().any(|part| matches!(*part, "" | "." | "..")) {
        return Err(Malformed::new("resource is not a namespace's resource id"));
    }
    let path: String = segments.iter().map(|part| format!("/{}", encode(part))).collect();
    Ok(format!("{path}/hybridConnections?api-version={API_VERSION}"))
}

/// A page of the list.
#[derive(Debug, Deserialize)]
pub(crate) struct Page {
    /// The hybrid connections.
    pub value: Vec<HybridConnection>,
    /// The URL of the next page.
    #[serde(rename = "nextLink")]
    next: Option<String>,
}

/// A hybrid connection in the list.
#[derive(Debug, Deserialize)]
pub(crate) struct HybridConnection {
    name: String,
    #[serde(default)]
    properties: Properties,
}

#[derive(Debug, Default, Deserialize)]
struct Properties {
    #[serde(rename = "listenerCount")]
    listener_count: Option<u32>,
}

impl Page {
    /// Parses a page.
    ///
    /// # Errors
    /// Returns [`Malformed`] for anything else.
    pub(crate) fn parse(body: &[u8]) -> Result<Self, Malformed> {
        serde_json::from_slice(body).map_err(|error| {
            Malformed::new(format!("its list of hybrid connections cannot be read: {error}"))
        })
    }

    /// The path and query of the next page, which is on the same server.
    ///
    /// # Errors
    /// Returns [`Malformed`] if the next page is elsewhere: the token is for `authority` alone.
    pub(crate) fn next_path(&self, authority: &str) -> Result<Option<String>, Malformed> {
        let Some(next) = self.next.as_deref().filter(|next| !next.is_empty()) else { return Ok(None) };
        let elsewhere = || Malformed::new("the next page of its list is on another server");
        let uri: Uri = next.parse().map_err(|_| elsewhere())?;
        let same = |found: &str| found.trim_end_matches(":443").eq_ignore_ascii_case(authority);
        let is_here = uri.scheme_str() == Some("https")
            && uri.authority().is_some_and(|authority| same(authority.as_str()));
        if is_here { Ok(Some(request_target(&uri))) } else { Err(elsewhere()) }
    }
}

impl HybridConnection {
    /// The path. Resource Manager writes a slash in it as a tilde \[~].
    pub(crate) fn path(&self) -> String {
        self.name.replace('~', "/")
    }

    /// Whether a listener is connected.
    pub(crate) fn has_listener(&self) -> bool {
        self.properties.listener_count.is_some_and(|count| count > 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_namespaces_resource_id_is_a_path() {
        let id = "/subscriptions/0-1/resourceGroups/my (rg)/providers/Microsoft.Relay/namespaces/contoso";
        assert_eq!(
            list_path(id).unwrap(),
            "/subscriptions/0-1/resourceGroups/my%20%28rg%29/providers/Microsoft.Relay/namespaces/contoso/hybridConnections?api-version=2021-11-01"
        );
        for wrong in
            ["", "contoso", &id.replace("Relay", "Devices"), &format!("{id}/x"), &id.replace("contoso", "..")]
        {
            assert!(list_path(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn reads_the_documented_page() {
        let page = Page::parse(
            br#"{"value":[{"id":"/subscriptions/x/hybridConnections/a","name":"gw-07","type":"Microsoft.Relay/Namespaces/HybridConnections",
                "properties":{"createdAt":"2017-05-03T00:05:23.9Z","listenerCount":2,"requiresClientAuthorization":true}},
                {"name":"factory~gw-08"}],"nextLink":"https://Management.azure.com:443/x?$skip=2"}"#,
        )
        .unwrap();
        let found: Vec<_> = page.value.iter().map(|one| (one.path(), one.has_listener())).collect();
        assert_eq!(found, [("gw-07".into(), true), ("factory/gw-08".into(), false)]);
        assert_eq!(page.next_path("management.azure.com"), Ok(Some("/x?$skip=2".into())));
        assert!(page.next_path("other.example").is_err());
    }

    #[test]
    fn a_next_page_elsewhere_is_refused() {
        let next = |link: &str| Page { value: vec![], next: Some(link.into()) }.next_path("h:8443");
        assert_eq!(next("https://h:8443/a"), Ok(Some("/a".into())));
        assert_eq!(next("https://h:8443?a=b/c"), Ok(Some("/?a=b/c".into())));
        assert_eq!(next(""), Ok(None));
        for wrong in
            ["http://h:8443/a", "https://h/a", "/a", "https://evil.example/a", "https://h:8443@evil/a"]
        {
            assert!(next(wrong).is_err(), "{wrong}");
        }
    }

    proptest! {
        #[test]
        fn never_panics(text in ".*", link in "(https://h)?.{0,20}") {
            let _ = list_path(&text);
            let _ = Page::parse(text.as_bytes());
            let _ = Page { value: vec![], next: Some(link) }.next_path("h");
        }
    }
}
