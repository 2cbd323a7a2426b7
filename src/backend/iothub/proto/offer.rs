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

/// An offer that no stream can come of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BadOffer {
    /// As far as it can be told.
    pub stream: String,
    pub problem: Malformed,
    /// Where it is one that can be answered.
    request_id: Option<String>,
}

impl BadOffer {
    /// The topic that rejects it, if it can be answered at all: whoever waits is not to wait in vain.
    pub fn rejection(&self) -> Option<String> {
        self.request_id.as_deref().map(|rid| answer(Decision::Reject, rid))
    }
}

impl Offer {
    /// Reads the topic of a PUBLISH; `None` when it is not about a stream offer at all.
    ///
    /// # Errors
    /// What is missing, doubled or malformed. Properties with other names are passed over: early previews sent `$ip` [S].
    pub fn parse(topic: &str) -> Option<Result<Self, BadOffer>> {
        let rest = topic.strip_prefix(OFFER_PREFIX)?;
        let (stream, properties) = rest.split_once("/?").unwrap_or((rest, ""));
        let offer = Properties::read(properties).and_then(|properties| properties.offer(stream));
        Some(offer.map_err(|problem| BadOffer {
            stream: stream.to_owned(),
            problem: Malformed(format!("the stream offer {problem}")),
            request_id: Properties::lenient(properties).request_id().ok().map(str::to_owned),
        }))
    }

    /// The offer, judged as one that no stream can come of.
    pub fn bad(&self, problem: String) -> BadOffer {
        let request_id = Some(self.request_id.clone());
        BadOffer { stream: self.stream.clone(), problem: Malformed(problem), request_id }
    }

    /// The topic as the hub publishes it: only the URL is encoded, in upper-case hex [I]. The C# SDK wants exactly
    /// five parts between slashes, so neither name, token nor id may hold one [S].
    pub fn topic(&self) -> String {
        let Self { request_id, stream, url, token } = self;
        format!("{OFFER_PREFIX}{stream}/?$rid={request_id}&$url={}&$auth={}", encode(url), token.expose())
    }

    /// The topic of the device's answer to this offer.
    pub fn answer(&self, decision: Decision) -> String {
        answer(decision, &self.request_id)
    }
}

fn answer(decision: Decision, request_id: &str) -> String {
    format!("{ANSWER_PREFIX}{decision}/?$rid={request_id}")
}

/// What stands behind an offer's `?`, by name.
#[derive(Default)]
struct Properties<'a> {
    rid: Option<&'a str>,
    url: Option<&'a str>,
    token: Option<&'a str>,
}

impl<'a> Properties<'a> {
    fn slot(&mut self, name: &str) -> Option<&mut Option<&'a str>> {
        match name {
            "$rid" => Some(&mut self.rid),
            "$url" => Some(&mut self.url),
            "$auth" => Some(&mut self.token),
            _ => None,
        }
    }

    fn read(text: &'a str) -> Result<Self, String> {
        let mut found = Self::default();
        for property in text.split('&') {
            let (name, value) = property.split_once('=').ok_or("has a property without '='")?;
            if found.slot(name).is_some_and(|slot| slot.replace(value).is_some()) {
                return Err(format!("has {name} twice"));
            }
        }
        Ok(found)
    }

    /// As far as it can be read; the request id only where there is no doubt about it.
    fn lenient(text: &'a str) -> Self {
        let mut ids = text.split('&').filter_map(|property| property.strip_prefix("$rid="));
        Self { rid: ids.next().filter(|_| ids.next().is_none()), ..Self::default() }
    }

    /// The id goes back in a topic of ours: what would change that topic's meaning is refused.
    fn request_id(&self) -> Result<&'a str, String> {
        let id = present(self.rid, "$rid")?;
        let is_plain = id.bytes().all(|b| b.is_ascii_graphic() && !b"/+#&".contains(&b));
        if id.len() > MAX_REQUEST_ID || !is_plain {
            return Err("has a $rid that cannot be answered".into());
        }
        Ok(id)
    }

    fn offer(&self, stream: &str) -> Result<Offer, String> {
        if stream.is_empty() || stream.contains('/') {
            return Err("names no stream".into());
        }
        let request_id = self.request_id()?.to_owned();
        let url = percent_decode_str(present(self.url, "$url")?).decode_utf8();
        let url = url.map_err(|_| "has no text in $url")?.into_owned();
        let token = present(self.token, "$auth")?;
        if !token.bytes().all(|b| b.is_ascii_graphic()) {
            return Err("has a $auth that cannot go into a header".into());
        }
        Ok(Offer { request_id, stream: stream.to_owned(), url, token: Secret::new(token) })
    }
}

fn present<'a>(value: Option<&'a str>, name: &str) -> Result<&'a str, String> {
    value.filter(|value| !value.is_empty()).ok_or_else(|| format!("has no {name}"))
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
    fn what_no_stream_can_come_of_is_rejected_where_it_can_be_answered() {
        let rejection = |rest: &str| {
            let bad = Offer::parse(&format!("{OFFER_PREFIX}{rest}")).unwrap().unwrap_err();
            bad.rejection()
        };
        for rest in [
            "ssh/?$rid=1",
            "ssh/?$rid=1&$url=a",
            "ssh/?$auth=b&$rid=1",
            "ssh/?$rid=1&$url=&$auth=b",
            "ssh/?$rid=1&$url=%FF&$auth=b",
            "ssh/?$rid=1&$url=a&$auth=\u{e4}",
            "ssh/?$rid=1&$url=a&$url=b&$auth=c",
            "ssh/?$rid=1&$url",
            "/?$rid=1&$url=a&$auth=b",
            "a/b/?$rid=1&$url=a&$auth=b",
        ] {
            assert_eq!(rejection(rest).as_deref(), Some("$iothub/streams/res/400/?$rid=1"), "{rest}");
        }
        for rest in ["ssh", "ssh/?", "ssh/?$rid=", "ssh/?$rid=1/../200", "ssh/?$rid=1&$rid=2&$url=a"] {
            assert_eq!(rejection(rest), None, "{rest}");
        }
        let offer = Offer::parse(TRACE).unwrap().unwrap();
        assert_eq!(offer.bad("why".into()).rejection(), Some(offer.answer(Decision::Reject)));
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
