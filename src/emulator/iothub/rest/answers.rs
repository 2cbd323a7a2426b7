//! The form of the REST API's answers: JSON, and errors.

use std::time::Duration;

use http_body_util::Full;
use hyper::header::{CONTENT_TYPE, ETAG, HeaderValue, RETRY_AFTER};
use hyper::{Response, StatusCode};
use serde_json::Value;

use crate::backend::iothub::proto::{Code, ERROR_CODE, HubFailure};
use crate::emulator::iothub::hub::Hub;
use crate::emulator::iothub::random_id::random_id;
use crate::emulator::server::Answer;
use crate::time::clock;

const JSON: HeaderValue = HeaderValue::from_static("application/json; charset=utf-8");

/// An answer of 200.
pub(super) fn json_answer(value: &Value) -> Answer {
    let mut answer = Response::new(Full::from(value.to_string()));
    answer.headers_mut().insert(CONTENT_TYPE, JSON);
    answer
}

/// The same, with an etag.
pub(super) fn tagged_answer(value: &Value, etag: &str) -> Answer {
    let mut answer = json_answer(value);
    if let Ok(etag) = HeaderValue::from_str(&format!("\"{etag}\"")) {
        answer.headers_mut().insert(ETAG, etag);
    }
    answer
}

/// An error with a code, whose first digits are the status \[D].
pub(super) fn refused(code: Code, message: &str) -> HubFailure {
    let status = u16::try_from(code.0 / 1000).unwrap_or(500);
    HubFailure { status, code: Some(code), message: Some(message.to_owned()), ..HubFailure::default() }
}

/// The error where there is no such device, or no such module.
pub(super) fn not_registered(module: Option<&str>) -> HubFailure {
    let code = if module.is_some() { Code::MODULE_NOT_FOUND } else { Code::DEVICE_NOT_FOUND };
    refused(code, "It is not registered.")
}

/// The error where the etag of a request differs.
pub(super) fn has_changed() -> HubFailure {
    refused(Code(412_001), "It has changed: its etag differs.")
}

impl Hub {
    /// An error answer with a message for people.
    pub(super) fn problem(&self, status: u16, code: Option<Code>, message: &str) -> Answer {
        let failure = HubFailure { status, code, message: Some(message.to_owned()), ..HubFailure::default() };
        self.failure(failure, None)
    }

    /// An error answer, in the newer of its two forms \[I]. `waited` is how long the hub waited for the device.
    pub(super) fn failure(&self, mut failure: HubFailure, waited: Option<Duration>) -> Answer {
        let now = self.faults.clock.now();
        let id = random_id().unwrap_or_default();
        failure.tracking_id = Some(format!("{id}-G:0-TimeStamp:{}", clock::us_date(now)));
        let mut answer = Response::new(Full::from(failure.body(&clock::iso8601(now), waited)));
        *answer.status_mut() =
            StatusCode::from_u16(failure.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let headers = answer.headers_mut();
        headers.insert(CONTENT_TYPE, JSON);
        if let Some(name) = failure.code.and_then(Code::name) {
            headers.insert(ERROR_CODE, HeaderValue::from_static(name));
        }
        answer
    }

    /// The answer that `--inject` asks for with a status; a 404 carries the code `not_found`.
    pub(super) fn injected(&self, status: StatusCode, not_found: Code) -> Answer {
        let code = match status.as_u16() {
            401 => Some(Code::UNAUTHORIZED_ACCESS),
            404 => Some(not_found),
            429 => Some(Code::THROTTLED),
            500 => Some(Code(500_001)),
            503 => Some(Code(503_001)),
            504 => Some(Code::GATEWAY_TIMEOUT),
            _ => None,
        };
        let mut answer = self.problem(status.as_u16(), code, "The emulator injects this fault.");
        let retry_after = match status {
            StatusCode::TOO_MANY_REQUESTS => Some(self.faults.retry_after.unwrap_or(1)),
            StatusCode::SERVICE_UNAVAILABLE => self.faults.retry_after,
            _ => None,
        };
        if let Some(seconds) = retry_after {
            answer.headers_mut().insert(RETRY_AFTER, seconds.into());
        }
        answer
    }
}
