//! Offers to a device and its answers. Both are MQTT topics with empty payloads \[S]\[I].

use std::fmt;

use percent_encoding::percent_decode_str;

use super::{Malformed, encode};
use crate::secret::Secret;

/// The filters of a device's subscription, at QoS 0. The hub never uses the second, but every SDK subscribes to it \[S].
pub(crate) const SUBSCRIPTIONS: [&str; 2] = ["$iothub/streams/POST/#", "$iothub/streams/res/#"];

const OFFER_PREFIX: &str = "$iothub/streams/POST/";
const ANSWER_PREFIX: &str = "$iothub/streams/res/";

/// The longest accepted request id. The C SDK keeps 6 characters \[S], but the id is opaque and may be longer.
const MAX_REQUEST_ID: usize = 128;

/// An offer of a stream: `$iothub/streams/POST/{name}/?$rid={rid}&$url={pct(wss URL)}&$auth={token}` \[I].
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Offer {
    /// Opaque. Traces show small decimal counters \[I].
    pub request_id: String,
    /// The stream's name.
    pub stream: String,
    /// The stream's URL at the gateway, decoded and otherwise opaque.
    pub url: String,
    /// The bearer token for the gateway.
    pub token: Secret,
}

/// An unusable offer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct BadOffer {
    /// The stream's name, as far as it can be parsed.
    pub stream: String,
    /// The problem.
    pub problem: Malformed,
    /// Set if the offer can be answered.
    request_id: Option<String>,
}

impl BadOffer {
    /// The topic that rejects the offer, if it can be answered, so that the caller does not wait for a timeout.
    pub(crate) fn rejection(&self) -> Option<String> {
        self.request_id.as_deref().map(|rid| answer(Decision::Reject, rid))
    }
}

impl Offer {
    /// Parses the topic of a PUBLISH; `None` if it is not an offer. Ignores other properties: early previews sent `$ip`
    /// \[S].
    ///
    /// # Errors
    /// Returns [`BadOffer`] with the missing, duplicate or malformed property.
    pub(crate) fn parse(topic: &str) -> Option<Result<Self, BadOffer>> {
        let rest = topic.strip_prefix(OFFER_PREFIX)?;
        let (stream, properties) = rest.split_once("/?").unwrap_or((rest, ""));
        let offer = Properties::read(properties).and_then(|properties| properties.offer(stream));
        Some(offer.map_err(|problem| BadOffer {
            stream: stream.to_owned(),
            problem: Malformed(format!("the stream offer {problem}")),
            request_id: Properties::lenient(properties).request_id().ok().map(str::to_owned),
        }))
    }

    /// This offer as an unusable one.
    pub(crate) fn bad(&self, problem: String) -> BadOffer {
        let request_id = Some(self.request_id.clone());
        BadOffer { stream: self.stream.clone(), problem: Malformed(problem), request_id }
    }

    /// The hub's topic. Only the URL is encoded, in upper-case hex \[I]. The C# SDK requires exactly five parts between
    /// slashes, so neither name, token nor id may contain one \[S].
    pub(crate) fn topic(&self) -> String {
        let Self { request_id, stream, url, token } = self;
        format!("{OFFER_PREFIX}{stream}/?$rid={request_id}&$url={}&$auth={}", encode(url), token.expose())
    }

    /// The topic of the device's answer to this offer.
    pub(crate) fn answer(&self, decision: Decision) -> String {
        answer(decision, &self.request_id)
    }
}

fn answer(decision: Decision, request_id: &str) -> String {
    format!("{ANSWER_PREFIX}{decision}/?$rid={request_id}")
}

/// The properties behind an offer's `?`.
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

    /// Only the request id, if it is unambiguous.
    fn lenient(text: &'a str) -> Self {
        let mut ids = text.split('&').filter_map(|property| property.strip_prefix("$rid="));
        Self { rid: ids.next().filter(|_| ids.next().is_none()), ..Self::default() }
    }

    /// The id, which becomes part of the answer's topic and must not change its meaning.
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

/// A device's answer: 200 accepts, 400 rejects \[S]\[M].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Decision {
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

/// Parses the topic of a device's answer into decision and request id; `None` if it is not an answer.
pub(crate) fn parse_decision(topic: &str) -> Option<(Decision, &str)> {
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

    /// A trace of the real service, 2019-02, token shortened (azure-iot-sdk-c#820) \[I].
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
    fn refuses_truncated_and_hostile_offers() {
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
    fn an_unusable_offer_is_rejected_if_it_can_be_answered() {
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
        fn parsing_never_panics(text in any::<String>()) {
            let _ = Offer::parse(&format!("{OFFER_PREFIX}{text}"));
            let _ = parse_decision(&format!("{ANSWER_PREFIX}{text}"));
        }
    }
}
