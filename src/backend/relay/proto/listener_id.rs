//! The id of a listener, by which a sender chooses it.

use uuid::Uuid;

use super::{Entity, Namespace};

/// The id of the listener of `device` where several devices share one hybrid connection. Both ends derive it: a UUID of
/// version 5 in the namespace of URLs, of `sb://HOST/PATH#DEVICE` in lower case. It stays the same over restarts.
pub(crate) fn listener_id(namespace: &Namespace, entity: &Entity, device: &str) -> Uuid {
    let name = format!("sb://{}/{entity}#{device}", namespace.host).to_lowercase();
    Uuid::new_v5(&Uuid::NAMESPACE_URL, name.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_case_of_names_and_the_port_do_not_matter() {
        let id = |host: &str, entity: &str, device: &str| {
            listener_id(&Namespace::parse(host, "x").unwrap(), &Entity::parse(entity).unwrap(), device)
                .to_string()
        };
        // Computed with Python's uuid.uuid5.
        assert_eq!(id("ns.example", "shared", "gw-07"), "e06aa8e6-c4b5-5c56-84c9-a9c052de1506");
        assert_eq!(id("NS.example:8443", "Shared", "GW-07"), id("ns.example", "shared", "gw-07"));
        assert_ne!(id("ns.example", "shared", "gw-08"), id("ns.example", "shared", "gw-07"));
    }
}
