//! The requests of senders and listeners.

use uuid::Uuid;

use super::{Entity, encode};

/// Names of headers.
pub(crate) mod header {
    /// The token of a sender or a listener: a shared access signature, or an Entra ID token without a scheme \[D]\[N]\[J].
    pub(crate) const TOKEN: &str = "servicebusauthorization";
    /// How clients name themselves \[D].
    pub(crate) const USER_AGENT: &str = "relay-user-agent";
    /// The ids of the listeners that may get a sender \[D].
    pub(crate) const ALLOWED_LISTENERS: &str = "microsoft-relay-allowedlisteners";
    /// The ids of the listeners that may not \[D].
    pub(crate) const DISALLOWED_LISTENERS: &str = "microsoft-relay-disallowedlisteners";
    /// The device that our sender asks for, percent-encoded, where devices share a hybrid connection.
    pub(crate) const DEVICE: &str = "iotstream-device";
    /// Arc's token for the service's configuration \[Z].
    pub(crate) const SERVICE_CONFIGURATION: &str = "service-configuration-token";
    /// The address that Arc's agent connects to \[Z].
    pub(crate) const ARC_TARGET: &str = "microsoft-guestgateway-target";
}

/// What a request is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Action {
    /// A listener opens its control channel.
    Listen,
    /// A sender opens a stream.
    Connect,
}

/// The path and query of a request: `/$hc/PATH[/SUFFIX]?sb-hc-action=…&sb-hc-id=…` \[P].
pub(crate) fn path(entity: &Entity, suffix: Option<&str>, action: Action, id: Uuid) -> String {
    let suffix = suffix.map_or_else(String::new, |suffix| format!("/{}", encode(suffix)));
    let action = match action {
        Action::Listen => "listen",
        Action::Connect => "connect",
    };
    format!("/$hc/{}{suffix}?sb-hc-action={action}&sb-hc-id={id}", entity.encoded())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stream_is_one_segment_behind_the_path() {
        let entity = Entity::parse("factory/gw 7").unwrap();
        let id = Uuid::nil();
        assert_eq!(
            path(&entity, Some("a/b"), Action::Connect, id),
            format!("/$hc/factory/gw%207/a%2Fb?sb-hc-action=connect&sb-hc-id={id}")
        );
        assert_eq!(
            path(&entity, None, Action::Listen, id),
            format!("/$hc/factory/gw%207?sb-hc-action=listen&sb-hc-id={id}")
        );
    }
}
