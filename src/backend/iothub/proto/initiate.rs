//! The request for a stream and the hub's answer.

use std::time::Duration;

use hyper::HeaderMap;

use super::{HubFailure, Identity, Malformed, encode};
use crate::secret::Secret;

/// The version of the last C# preview \[S]. Other clients use other versions, and a profile may override it.
pub(crate) const DEFAULT_API_VERSION: &str = "2020-09-30";

/// The names of the headers of a stream's request and answer \[S].
pub(crate) mod headers {
    /// Decimal seconds that the hub waits for an offline device \[S].
    pub(crate) const CONNECT_TIMEOUT: &str = "iothub-streaming-connect-timeout-in-seconds";
    /// Decimal seconds that the hub waits for the device's answer \[S].
    pub(crate) const RESPONSE_TIMEOUT: &str = "iothub-streaming-response-timeout-in-seconds";
    /// `True` or `False`, capitalized: Node and the C test compare the exact string \[S].
    pub(crate) const IS_ACCEPTED: &str = "iothub-streaming-is-accepted";
    /// The stream's URL at the gateway.
    pub(crate) const URL: &str = "iothub-streaming-url";
    /// The token for the gateway.
    pub(crate) const AUTH_TOKEN: &str = "iothub-streaming-auth-token";
}

/// A request for a stream. It has no body \[M].
#[derive(Clone, Debug)]
pub(crate) struct Initiate {
    /// The device or module.
    pub identity: Identity,
    /// The stream's name.
    pub stream: String,
    /// The version of the REST API.
    pub api_version: String,
    /// How long the hub waits for the device to come online; zero is the hub's default.
    pub connect_timeout: Duration,
    /// How long the hub waits for the device's answer; zero is the hub's default.
    pub response_timeout: Duration,
}

impl Initiate {
    /// `/twins/{id}[/modules/{id}]/streams/{name}?api-version={V}` \[S].
    pub(crate) fn path(&self) -> String {
        let twin = self.identity.twin();
        format!("{twin}/streams/{}?api-version={}", encode(&self.stream), encode(&self.api_version))
    }

    /// The timeout headers with a value above zero, as in C# \[S].
    pub(crate) fn timeouts(&self) -> impl Iterator<Item = (&'static str, String)> {
        [(headers::CONNECT_TIMEOUT, self.connect_timeout), (headers::RESPONSE_TIMEOUT, self.response_timeout)]
            .into_iter()
            .filter(|(_, timeout)| !timeout.is_zero())
            .map(|(name, timeout)| (name, timeout.as_secs().max(1).to_string()))
    }
}

/// The hub's answer to [`Initiate`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    /// The device accepted.
    Accepted {
        /// The stream's URL at the gateway.
        url: String,
        /// The bearer token for the gateway.
        token: Secret,
    },
    /// The device rejected: status 200 with `False` \[S].
    Rejected,
    /// The hub answered with an error.
    Failed(HubFailure),
}

impl Answer {
    /// Parses an answer. The result of a success is in the headers only \[S].
    ///
    /// # Errors
    /// Returns [`Malformed`] for a success with a missing or invalid header.
    pub(crate) fn parse(status: u16, headers: &HeaderMap, body: &[u8]) -> Result<Self, Malformed> {
        let get = |name: &str| headers.get(name).and_then(|value| value.to_str().ok()).map(str::trim);
        // C# also accepts 202 [S].
        if !matches!(status, 200 | 202) {
            return Ok(Self::Failed(HubFailure::of(status, headers, body)));
        }
        let present = |name: &str| {
            get(name)
                .filter(|value| !value.is_empty())
                .ok_or_else(|| Malformed::new(format!("the answer has no header {name}")))
        };
        let accepted = present(headers::IS_ACCEPTED)?;
        if accepted.eq_ignore_ascii_case("false") {
            return Ok(Self::Rejected);
        }
        if !accepted.eq_ignore_ascii_case("true") {
            return Err(Malformed::new(format!(
                "the header {} is neither True nor False",
                headers::IS_ACCEPTED
            )));
        }
        Ok(Self::Accepted {
            url: present(headers::URL)?.to_owned(),
            token: Secret::new(present(headers::AUTH_TOKEN)?),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backend::iothub::proto::ERROR_CODE;
    use hyper::header::{HeaderName, HeaderValue};

    fn initiate(device: &str, module: Option<&str>) -> Initiate {
        Initiate {
            identity: Identity::new(device, module).unwrap(),
            stream: "TestStream".into(),
            api_version: "2018-10-20-preview".into(),
            connect_timeout: Duration::from_secs(30),
            response_timeout: Duration::from_secs(30),
        }
    }

    fn answer(status: u16, pairs: &[(&'static str, &'static str)]) -> Result<Answer, Malformed> {
        let map = pairs.iter().map(|(n, v)| (HeaderName::from_static(n), HeaderValue::from_static(v)));
        Answer::parse(status, &map.collect(), b"")
    }

    /// The request line and headers of Microsoft's Node client \[M].
    #[test]
    fn sends_the_node_clients_request() {
        let request = initiate("dev-1", None);
        assert_eq!(request.path(), "/twins/dev-1/streams/TestStream?api-version=2018-10-20-preview");
        let sent: Vec<_> = request.timeouts().collect();
        assert_eq!(
            sent,
            [
                ("iothub-streaming-connect-timeout-in-seconds", "30".to_owned()),
                ("iothub-streaming-response-timeout-in-seconds", "30".to_owned())
            ]
        );
        assert_eq!(
            initiate("a/b".replace('/', "#").as_str(), Some("m?")).path(),
            "/twins/a%23b/modules/m%3F/streams/TestStream?api-version=2018-10-20-preview"
        );
        let unset = Initiate { connect_timeout: Duration::ZERO, ..request };
        assert_eq!(unset.timeouts().count(), 1);
    }

    #[test]
    fn reads_accept_and_reject() {
        let accept =
            [(headers::IS_ACCEPTED, "True"), (headers::URL, "wss://g/x?y"), (headers::AUTH_TOKEN, "t")];
        assert_eq!(
            answer(200, &accept),
            Ok(Answer::Accepted { url: "wss://g/x?y".into(), token: Secret::new("t") })
        );
        assert_eq!(answer(200, &[(headers::IS_ACCEPTED, "False")]), Ok(Answer::Rejected));
        assert!(matches!(answer(404, &[(ERROR_CODE, "DeviceNotFound")]), Ok(Answer::Failed(_))));
    }

    #[test]
    fn a_success_without_its_headers_is_malformed() {
        for pairs in [
            &[][..],
            &[(headers::IS_ACCEPTED, "")],
            &[(headers::IS_ACCEPTED, "yes")],
            &[(headers::IS_ACCEPTED, "True")],
            &[(headers::IS_ACCEPTED, "True"), (headers::URL, "wss://g")],
            &[(headers::IS_ACCEPTED, "True"), (headers::AUTH_TOKEN, "t")],
        ] {
            assert!(answer(200, pairs).is_err(), "{pairs:?}");
        }
    }
}
