//! The refusal of a sender: a status, and an explanation in the reason phrase.

/// What our agent's rejections begin with.
pub(crate) const REJECTION: &str = "iotstream: ";

/// The status of a rejection by the agent of another device.
pub(crate) const OTHER_DEVICE: u16 = 409;

/// Who refused a sender, and why, as far as the answer tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Cause {
    /// Our agent rejected the stream. Its status is its own.
    Agent,
    /// Another program's listener rejected the stream.
    Listener,
    /// The hybrid connection does not exist.
    NoEntity,
    /// No listener is connected that the sender allows.
    NoAllowedListener,
    /// No listener is connected, or the hybrid connection does not exist: the status is the same \[D]\[A].
    NoListener,
    /// The listener did not come in time \[D].
    LateListener,
    /// The namespace's IP firewall.
    Firewall,
    /// Something on the path has removed the headers of the upgrade.
    NotWebSocket,
    /// The token.
    Token,
    /// An answer without the service's tracking id, by a listener or by something on the path.
    Foreign,
    /// Too many requests.
    Throttled,
    /// A failure of the service, which may pass \[A].
    Trouble,
    /// Any other answer.
    Other,
}

impl Cause {
    /// Reads an answer other than 101. The service's phrases carry a tracking id \[P]\[D]; those of listeners are their own
    /// text \[D].
    pub(crate) fn of(status: u16, reason: &str) -> Self {
        let says = |part: &str| reason.to_ascii_lowercase().contains(part);
        let is_tracked = says("trackingid:");
        match status {
            _ if reason.starts_with(REJECTION) => Self::Agent,
            400 if says("only for web-socket requests") => Self::NotWebSocket,
            400 if says("rejected by user code") => Self::Listener,
            401 | 403 if says("ip has been prevented") => Self::Firewall,
            400 | 401 | 403 if !is_tracked && !is_usual(status, reason) => Self::Foreign,
            401 | 403 => Self::Token,
            404 if says("allowedlisteners") => Self::NoAllowedListener,
            404 if says("endpoint does not exist") => Self::NoEntity,
            404 => Self::NoListener,
            408 | 504 => Self::LateListener,
            429 => Self::Throttled,
            500..=503 => Self::Trouble,
            402..=499 if !is_tracked && !is_usual(status, reason) => Self::Listener,
            _ => Self::Other,
        }
    }
}

/// Whether the phrase says no more than the status.
pub(crate) fn is_usual(status: u16, reason: &str) -> bool {
    let usual = hyper::StatusCode::from_u16(status).ok().and_then(|status| status.canonical_reason());
    reason.trim().is_empty() || usual.is_some_and(|usual| usual.eq_ignore_ascii_case(reason.trim()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn tells_the_service_from_listeners_and_proxies() {
        let tracked = " TrackingId:5c1b_G52, SystemTracker:sb://ns/hyco, Timestamp:5/7/2018 5:51:25 PM";
        for (status, reason, cause) in [
            (403, "iotstream: no target has that name".to_owned(), Cause::Agent),
            (500, "iotstream: x".to_owned(), Cause::Agent),
            (404, format!("Endpoint does not exist.{tracked}"), Cause::NoEntity),
            (404, format!("There are no listeners connected for the endpoint.{tracked}"), Cause::NoListener),
            (404, "Not Found".to_owned(), Cause::NoListener),
            (
                404,
                "None of the connected listeners meet the AllowedListeners/DisallowedListeners criteria"
                    .to_owned(),
                Cause::NoAllowedListener,
            ),
            (401, format!("The token has an invalid signature.{tracked}"), Cause::Token),
            (403, "Forbidden".to_owned(), Cause::Token),
            (401, String::new(), Cause::Token),
            (401, "Ip has been prevented to connect to the endpoint".to_owned(), Cause::Firewall),
            (401, "Who are you?".to_owned(), Cause::Foreign),
            (400, "This endpoint is only for web-socket requests".to_owned(), Cause::NotWebSocket),
            (400, "Rejected by user code".to_owned(), Cause::Listener),
            (400, "Bad Request".to_owned(), Cause::Other),
            (418, "no coffee".to_owned(), Cause::Listener),
            (418, format!("no coffee.{tracked}"), Cause::Other),
            (504, String::new(), Cause::LateListener),
            (502, "crashed".to_owned(), Cause::Trouble),
            (429, String::new(), Cause::Throttled),
            (302, "Found".to_owned(), Cause::Other),
        ] {
            assert_eq!(Cause::of(status, &reason), cause, "{status} {reason}");
        }
    }

    proptest! {
        #[test]
        fn never_panics(status in any::<u16>(), reason in ".*") {
            let _ = Cause::of(status, &reason);
        }
    }
}
