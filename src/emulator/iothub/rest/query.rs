//! `POST /devices/query`: a service queries twins.

use hyper::header::{HeaderMap, HeaderName, HeaderValue};
use serde_json::Value;

use super::answers::json_answer;
use crate::backend::iothub::proto::{Code, Identity};
use crate::emulator::iothub::hub::Hub;
use crate::emulator::iothub::query::{Collection, Statement};
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
    /// Answers with one page; the continuation token is the last identity of the page before.
    pub(super) fn query(&self, headers: &HeaderMap, body: &[u8]) -> Answer {
        match self.try_query(headers, body) {
            Ok(answer) => answer,
            Err(problem) => self.problem(400, Some(Code::ARGUMENT_INVALID), &problem),
        }
    }

    fn try_query(&self, headers: &HeaderMap, body: &[u8]) -> Result<Answer, String> {
        let body: Value = serde_json::from_slice(body).unwrap_or_default();
        let query = body["query"].as_str().ok_or("The body is not JSON with a query.")?;
        let statement = Statement::parse(query)?;
        let page = match headers.get(MAX_ITEM_COUNT).map(|count| count.to_str().unwrap_or_default().parse()) {
            None => PAGE,
            Some(Ok(count @ 1..)) => MAX_PAGE.min(count),
            Some(_) => return Err("x-ms-max-item-count is not a count.".into()),
        };
        let last = match headers.get(CONTINUATION).map(HeaderValue::as_bytes) {
            None | Some(b"") => None,
            Some(token) => Some(identity_of(token).ok_or("The continuation token is invalid.")?),
        };
        let mut found = self.registry.find(last.as_ref(), page + 1, |identity, registration| {
            let of_module = statement.from == Collection::Modules;
            (identity.module().is_some() == of_module)
                .then(|| statement.row(self.describe(identity, registration)))
                .flatten()
        });
        let more = found.len() > page;
        found.truncate(page);
        let last = found.last().map(|(identity, _)| token_of(identity)).filter(|_| more);
        let mut answer = json_answer(&found.into_iter().map(|(_, row)| row).collect());
        let kind = if statement.selects_twins() { "Twin" } else { "Raw" };
        answer.headers_mut().insert(ITEM_TYPE, HeaderValue::from_static(kind));
        if let Some(token) = last.and_then(|token| HeaderValue::from_str(&token).ok()) {
            answer.headers_mut().insert(CONTINUATION, token);
        }
        Ok(answer)
    }
}

fn token_of(identity: &Identity) -> String {
    data_encoding::BASE64URL_NOPAD.encode(identity.client_id().as_bytes())
}

fn identity_of(token: &[u8]) -> Option<Identity> {
    let text = String::from_utf8(data_encoding::BASE64URL_NOPAD.decode(token).ok()?).ok()?;
    let (device, module) =
        text.split_once('/').map_or((&*text, None), |(device, module)| (device, Some(module)));
    Identity::new(device, module).ok()
}
