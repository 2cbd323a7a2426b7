//! Stream offers to a device and its answers, both carried wholly in MQTT topics with empty payloads [S][I].

use std::fmt;

use percent_encoding::percent_decode_str;

use super::{Malformed, encode};
use crate::secret::Secret;

/// The filters a device subscribes to, at QoS 0; the second is never used by the hub, and every SDK subscribes to it [S].
pub const SUBSCRIPTIONS: [&str; 2] = ["$iothub/streams/POST/#", "$iothub/streams/res/#"];

const OFFER_PREFIX: &str = "$iothub/streams/POST/";
const ANSWER_PREFIX: &str = "$iothub/streams/res/";

/// Longest request id taken from a hub. The C SDK keeps 6 characters [S]; an opaque id may well be longer.
const MAX_REQUEST_ID: usize = 128;

/// A request for a stream: `$iothub/streams/POST/{name}/?$rid={rid}&$url={pct(wss URL)}&$auth={token}` [I].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Offer {
    /// Opaque; seen as a small decimal counter [I].
    pub request_id: String,
    pub stream: String,
    /// Where the device joins the stream, decoded and otherwise opaque.
    pub url: String,
    /// The bearer token to join with.
    pub token: Secret,
}

impl Offer {
    /// Reads the topic of a PUBLISH; `None` when it is not about a stream offer at all.
    ///
    /// # Errors
    /// What is missing, doubled or malformed. Properties with other names are passed over: early previews sent `$ip` [S].
    pub fn parse(topic: &str) -> Option<Result<Self, Malformed>> {
        topic.strip_prefix(OFFER_PREFIX).map(Self::parse_rest)
    }

    fn parse_rest(rest: &str) -> Result<Self, Malformed> {
        let wrong = |problem: &str| Malformed::new(format!("the stream offer {problem}"));
        let (stream, properties) = rest.split_once("/?").ok_or_else(|| wrong("is cut short"))?;
        if stream.is_empty() || stream.contains('/') {
            return Err(wrong("names no stream"));
        }
        let (mut rid, mut url, mut token) = (None, None, None);
        for property in properties.split('&') {
            let (name, value) =
                property.split_once('=').ok_or_else(|| wrong("has a property without '='"))?;
            let slot = match name {
                "$rid" => &mut rid,
                "$url" => &mut url,
                "$auth" => &mut token,
                _ => continue,
            };
            if slot.replace(value).is_some() {
                return Err(wrong(&format!("has {name} twice")));
            }
        }
        let present = |value: Option<&str>, name| match value {
            Some(value) if !value.is_empty() => Ok(value.to_owned()),
            _ => Err(wrong(&format!("has no {name}"))),
        };
        let request_id = present(rid, "$rid")?;
        // The id goes back in a topic of ours: what would change that topic's meaning is refused.
        if request_id.len() > MAX_REQUEST_ID
            || !request_id.bytes().all(|b| b.is_ascii_graphic() && !b"/+#&".contains(&b))
        {
            return Err(wrong("has a $rid that cannot be answered"));
        }
        let url = present(url, "$url")?;
        let url =
            percent_decode_str(&url).decode_utf8().map_err(|_| wrong("has no text in $url"))?.into_owned();
        let token = present(token, "$auth")?;
        if !token.bytes().all(|b| b.is_ascii_graphic()) {
            return Err(wrong("has a $auth that cannot go into a header"));
        }
        Ok(Self { request_id, stream: stream.to_owned(), url, token: Secret::new(token) })
    }

    /// The topic as the hub publishes it: only the URL is encoded, in upper-case hex [I]. The C# SDK wants exactly
    /// five parts between slashes, so neither name, token nor id may hold one [S].
    pub fn topic(&self) -> String {
        let Self { request_id, stream, url, token } = self;
        format!("{OFFER_PREFIX}{stream}/?$rid={request_id}&$url={}&$auth={}", encode(url), token.expose())
    }

    /// The topic of the device's answer to this offer.
    pub fn answer(&self, decision: Decision) -> String {
        format!("{ANSWER_PREFIX}{decision}/?$rid={}", self.request_id)
    }
}

/// A device's answer: 200 accepts, 400 rejects [S][M].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decision {
    Accept,
    Reject,
}

impl fmt::Display for Decision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Decision::Accept => "200",
            Decision::Reject => "400",
        })
    }
}

/// Reads the topic of a device's answer into the decision and the request id; `None` when it is none.
pub fn parse_decision(topic: &str) -> Option<(Decision, &str)> {
    let (status, properties) = topic.strip_prefix(ANSWER_PREFIX)?.split_once("/?")?;
    let decision = match status {
        "200" => Decision::Accept,
        "400" => Decision::Reject,
        _ => return None,
    };
    let rid = properties.split('&').find_map(|property| property.strip_prefix("$rid="))?;
    Some((decision, rid))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// A trace of the real service, 2019-02, token shortened (azure-iot-sdk-c#820) [I].
    const TRACE: &str = "$iothub/streams/POST/TestStream/?$rid=1&$url=wss%3A%2F%2Feastus2euap.eastus2euap-001.streams.azure-devices.net%3A443%2Fbridges%2FIoTHubDeviceStreams%2Fdevice1%2F37114208d0e448989afe1ea20300cd0e&$auth=eyJ0eX";

    #[test]
    fn reads_the_real_services_offer() {
        let offer = Offer::parse(TRACE).unwrap().unwrap();
        assert_eq!(offer.request_id, "1");
        assert_eq!(offer.stream, "TestStream");
        assert_eq!(
            offer.url,
            "wss://eastus2euap.eastus2euap-001.streams.azure-devices.net:443/bridges/IoTHubDeviceStreams/device1/37114208d0e448989afe1ea20300cd0e"
        );
        assert_eq!(offer.token.expose(), "eyJ0eX");
        assert_eq!(offer.topic(), TRACE);
        assert_eq!(offer.answer(Decision::Accept), "$iothub/streams/res/200/?$rid=1");
        assert_eq!(offer.answer(Decision::Reject), "$iothub/streams/res/400/?$rid=1");
    }

    #[test]
    fn refuses_cut_and_hostile_offers() {
        for rest in [
            "",
            "ssh",
            "ssh/",
            "/?$rid=1&$url=a&$auth=b",
            "a/b/?$rid=1&$url=a&$auth=b",
            "ssh/?",
            "ssh/?$rid=1",
            "ssh/?$rid=1&$url=a",
            "ssh/?$rid=1&$url=&$auth=b",
            "ssh/?$rid=&$url=a&$auth=b",
            "ssh/?$rid=1&$rid=2&$url=a&$auth=b",
            "ssh/?$rid=1/../200&$url=a&$auth=b",
            "ssh/?$rid=#&$url=a&$auth=b",
            "ssh/?$rid=1&$url=%FF&$auth=b",
            "ssh/?$rid=1&$url=a&$auth=b\r\nX: y",
            "ssh/?$rid",
        ] {
            assert!(Offer::parse(&format!("{OFFER_PREFIX}{rest}")).unwrap().is_err(), "{rest}");
        }
        assert!(Offer::parse("devices/d/messages").is_none());
        let unknown = Offer::parse("$iothub/streams/POST/ssh/?$ip=10.0.0.1&$auth=b&$url=a&$rid=1").unwrap();
        assert_eq!(unknown.unwrap().stream, "ssh");
    }

    #[test]
    fn reads_answers() {
        assert_eq!(parse_decision("$iothub/streams/res/200/?$rid=1"), Some((Decision::Accept, "1")));
        assert_eq!(parse_decision("$iothub/streams/res/400/?$rid=ab"), Some((Decision::Reject, "ab")));
        for topic in
            ["", "$iothub/streams/res/", "$iothub/streams/res/500/?$rid=1", "$iothub/streams/res/200/?x=1"]
        {
            assert_eq!(parse_decision(topic), None, "{topic}");
        }
    }

    proptest! {
        #[test]
        fn offers_round_trip(rid in "[0-9]{1,6}", stream in "[^/+#\0]{1,40}", url in "wss://.{0,80}", token in "[A-Za-z0-9_.-]{1,80}") {
            prop_assume!(!stream.contains("/?"));
            let offer = Offer { request_id: rid, stream, url, token: Secret::new(token) };
            prop_assert_eq!(Offer::parse(&offer.topic()), Some(Ok(offer)));
        }

        #[test]
        fn nothing_panics(text in any::<String>()) {
            let _ = Offer::parse(&format!("{OFFER_PREFIX}{text}"));
            let _ = parse_decision(&format!("{ANSWER_PREFIX}{text}"));
        }
    }
}
