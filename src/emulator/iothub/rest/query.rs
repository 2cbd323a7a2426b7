//! `POST /devices/query`: the one query that lists all devices.

use hyper::header::{HeaderMap, HeaderName, HeaderValue};
use serde_json::Value;

use super::answers::json_answer;
use crate::backend::iothub::proto::Code;
use crate::emulator::iothub::hub::Hub;
use crate::emulator::server::Answer;

/// The largest page.
const MAX_PAGE: usize = 1000;
/// The page where the request does not say.
const PAGE: usize = 100;
const MAX_ITEM_COUNT: &str = "x-ms-max-item-count";
const CONTINUATION: HeaderName = HeaderName::from_static("x-ms-continuation");
/// Without it, .NET's client does not read the answer to a query \[C].
const ITEM_TYPE: HeaderName = HeaderName::from_static("x-ms-item-type");

impl Hub {
    /// Answers with one page; the continuation token is the last id of the page before.
    pub(super) fn query(&self, headers: &HeaderMap, body: &[u8]) -> Answer {
        let description: Value = serde_json::from_slice(body).unwrap_or_default();
        let words = description["query"].as_str().unwrap_or_default().to_ascii_lowercase();
        if words.split_whitespace().collect::<Vec<_>>() != ["select", "*", "from", "devices"] {
            let message = "The emulator knows one query: SELECT * FROM devices.";
            return self.problem(400, Some(Code::ARGUMENT_INVALID), message);
        }
        let page = match headers.get(MAX_ITEM_COUNT).map(|count| count.to_str().unwrap_or_default().parse()) {
            None => PAGE,
            Some(Ok(count @ 1..)) => MAX_PAGE.min(count),
            Some(_) => {
                return self.problem(
                    400,
                    Some(Code::ARGUMENT_INVALID),
                    "x-ms-max-item-count is not a count.",
                );
            }
        };
        let last = match headers.get(CONTINUATION).map(HeaderValue::as_bytes) {
            None | Some(b"") => None,
            Some(token) => {
                let last = data_encoding::BASE64URL_NOPAD.decode(token).ok();
                match last.and_then(|last| String::from_utf8(last).ok()) {
                    Some(last) => Some(last),
                    None => {
                        return self.problem(
                            400,
                            Some(Code::ARGUMENT_INVALID),
                            "The continuation token is invalid.",
                        );
                    }
                }
            }
        };
        let mut devices = self.registry.devices(last.as_deref(), page + 1);
        let more = devices.len() > page;
        devices.truncate(page);
        let mut answer = json_answer(&devices.iter().map(|(id, device)| self.describe(id, device)).collect());
        answer.headers_mut().insert(ITEM_TYPE, HeaderValue::from_static("Twin"));
        if let (true, Some((last, _))) = (more, devices.last()) {
            let token = data_encoding::BASE64URL_NOPAD.encode(last.device().as_bytes());
            if let Ok(token) = HeaderValue::from_str(&token) {
                answer.headers_mut().insert(CONTINUATION, token);
            }
        }
        answer
    }
}
